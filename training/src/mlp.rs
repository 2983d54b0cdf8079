//! A multilayer perceptron with one hidden layer of rectified linear units.

use ndarray::ArrayView2;
use ndarray::linalg::general_mat_mul;
use rand::RngCore;

use crate::model::{Batch, BatchMetrics, Model, Scratch, TensorSpec, softmax_cross_entropy};
use crate::seed::{Stream, rng};
use crate::softmax::{dense, dense_gradient, view, view_mut};

/// features -> ReLU(hidden) -> classes. Tensors: `hidden.weights` `[features, hidden]`, `hidden.bias`
/// `[hidden]`, `output.weights` `[hidden, classes]`, `output.bias` `[classes]`.
#[derive(Clone, Copy, Debug)]
pub struct Mlp {
    features: usize,
    hidden: usize,
    classes: usize,
}

impl Mlp {
    /// For rows of `features`, `hidden` units and `classes` classes (at most 256).
    #[must_use]
    pub const fn new(features: usize, hidden: usize, classes: usize) -> Self {
        Self {
            features,
            hidden,
            classes,
        }
    }

    /// Where the output layer starts in the flat parameters.
    const fn output_offset(&self) -> usize {
        (self.features + 1) * self.hidden
    }
}

impl Model for Mlp {
    fn features(&self) -> usize {
        self.features
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn manifest(&self) -> Vec<TensorSpec> {
        vec![
            TensorSpec::new("hidden.weights", &[self.features, self.hidden]),
            TensorSpec::new("hidden.bias", &[self.hidden]),
            TensorSpec::new("output.weights", &[self.hidden, self.classes]),
            TensorSpec::new("output.bias", &[self.classes]),
        ]
    }

    /// Weights uniform in ±sqrt(6 / inputs), biases zero: He et al., "Delving Deep into Rectifiers"
    /// (ICCV 2015). Uniform rather than normal because it takes no `ln` or `cos`, whose last bit
    /// differs between machines.
    fn init(&self, seed: u64) -> Vec<f32> {
        let mut rng = rng(seed, Stream::Init, 0, 0);
        let mut params = vec![0.0; self.parameter_count()];
        let (hidden, output) = params.split_at_mut(self.output_offset());
        for (layer, inputs, outputs) in [
            (hidden, self.features, self.hidden),
            (output, self.hidden, self.classes),
        ] {
            let bound = (6.0 / inputs as f32).sqrt();
            for weight in &mut layer[..inputs * outputs] {
                // 24 random bits as a multiple of 2^-23 in [-1, 1): exact in f32.
                let unit = (rng.next_u32() >> 8) as f32 / 8_388_608.0 - 1.0;
                *weight = unit * bound;
            }
        }
        params
    }

    fn scratch(&self, max_samples: usize) -> Scratch {
        Scratch {
            hidden: vec![0.0; max_samples * self.hidden],
            hidden_gradient: vec![0.0; max_samples * self.hidden],
            logits: vec![0.0; max_samples * self.classes],
        }
    }

    fn forward(&self, params: &[f32], features: ArrayView2<'_, f32>, scratch: &mut Scratch) {
        let (hidden_layer, output_layer) = params.split_at(self.output_offset());
        let hidden = &mut scratch.hidden[..features.nrows() * self.hidden];
        dense(features, hidden_layer, self.hidden, hidden);
        hidden.iter_mut().for_each(|value| *value = value.max(0.0));
        let logits = &mut scratch.logits[..features.nrows() * self.classes];
        dense(
            view(hidden, self.hidden),
            output_layer,
            self.classes,
            logits,
        );
    }

    fn loss_and_gradient(
        &self,
        params: &[f32],
        batch: Batch<'_>,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) -> BatchMetrics {
        self.forward(params, batch.features, scratch);
        let samples = batch.labels.len();
        let hidden = &scratch.hidden[..samples * self.hidden];
        let hidden_gradient = &mut scratch.hidden_gradient[..samples * self.hidden];
        let logits = &mut scratch.logits[..samples * self.classes];
        let metrics = softmax_cross_entropy(logits, batch.labels, batch.logit_offsets);

        let output_weights = &params[self.output_offset()..][..self.hidden * self.classes];
        general_mat_mul(
            1.0,
            &view(logits, self.classes),
            &view(output_weights, self.classes).t(),
            0.0,
            &mut view_mut(hidden_gradient, self.hidden),
        );
        for (value, &activation) in hidden_gradient.iter_mut().zip(hidden) {
            if activation <= 0.0 {
                *value = 0.0;
            }
        }

        let (hidden_part, output_part) = gradient.split_at_mut(self.output_offset());
        dense_gradient(batch.features, hidden_gradient, self.hidden, hidden_part);
        dense_gradient(view(hidden, self.hidden), logits, self.classes, output_part);
        metrics
    }
}
