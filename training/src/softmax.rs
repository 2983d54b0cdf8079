//! Multinomial logistic regression.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

use crate::model::{Batch, BatchMetrics, Model, Scratch, TensorSpec, softmax_cross_entropy};

/// Softmax regression: `weights` `[features, classes]`, `bias` `[classes]`.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxRegression {
    features: usize,
    classes: usize,
}

impl SoftmaxRegression {
    /// For rows of `features` and `classes` classes (at most 256).
    #[must_use]
    pub const fn new(features: usize, classes: usize) -> Self {
        Self { features, classes }
    }
}

impl Model for SoftmaxRegression {
    fn features(&self) -> usize {
        self.features
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn manifest(&self) -> Vec<TensorSpec> {
        vec![
            TensorSpec::new("weights", &[self.features, self.classes]),
            TensorSpec::new("bias", &[self.classes]),
        ]
    }

    /// Zeros: the loss is convex, so that nothing is gained by a random start.
    fn init(&self, _seed: u64) -> Vec<f32> {
        vec![0.0; self.parameter_count()]
    }

    fn scratch(&self, max_samples: usize) -> Scratch {
        Scratch {
            hidden: Vec::new(),
            hidden_gradient: Vec::new(),
            logits: vec![0.0; max_samples * self.classes],
        }
    }

    fn forward(&self, params: &[f32], features: ArrayView2<'_, f32>, scratch: &mut Scratch) {
        let logits = &mut scratch.logits[..features.nrows() * self.classes];
        dense(features, params, self.classes, logits);
    }

    fn loss_and_gradient(
        &self,
        params: &[f32],
        batch: Batch<'_>,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) -> BatchMetrics {
        self.forward(params, batch.features, scratch);
        let logits = &mut scratch.logits[..batch.labels.len() * self.classes];
        let metrics = softmax_cross_entropy(logits, batch.labels, batch.logit_offsets);
        dense_gradient(batch.features, logits, self.classes, gradient);
        metrics
    }
}

/// `output = input * weights + bias`, where `layer` holds the weights `[inputs, outputs]` and the bias.
pub(crate) fn dense(input: ArrayView2<'_, f32>, layer: &[f32], outputs: usize, output: &mut [f32]) {
    let (weights, bias) = layer.split_at(input.ncols() * outputs);
    for row in output.chunks_exact_mut(outputs) {
        row.copy_from_slice(bias);
    }
    let weights = view(weights, outputs);
    general_mat_mul(1.0, &input, &weights, 1.0, &mut view_mut(output, outputs));
}

/// The mean gradient of a dense layer, given each row's gradient of its output.
pub(crate) fn dense_gradient(
    input: ArrayView2<'_, f32>,
    output_gradient: &[f32],
    outputs: usize,
    layer_gradient: &mut [f32],
) {
    let scale = 1.0 / input.nrows() as f32;
    let (weights, bias) = layer_gradient.split_at_mut(input.ncols() * outputs);
    let upstream = view(output_gradient, outputs);
    general_mat_mul(
        scale,
        &input.t(),
        &upstream,
        0.0,
        &mut view_mut(weights, outputs),
    );
    bias.fill(0.0);
    for row in output_gradient.chunks_exact(outputs) {
        for (sum, value) in bias.iter_mut().zip(row) {
            *sum += value;
        }
    }
    bias.iter_mut().for_each(|value| *value *= scale);
}

/// `values` as rows of `columns`.
pub(crate) fn view(values: &[f32], columns: usize) -> ArrayView2<'_, f32> {
    ArrayView2::from_shape((values.len() / columns, columns), values)
        .expect("the length is rows * columns")
}

/// `values` as rows of `columns`, mutable.
pub(crate) fn view_mut(values: &mut [f32], columns: usize) -> ArrayViewMut2<'_, f32> {
    ArrayViewMut2::from_shape((values.len() / columns, columns), values)
        .expect("the length is rows * columns")
}
