//! How good a model is on data that nobody trained on.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::TrainingError;
use crate::model::{BatchMetrics, Model, softmax_cross_entropy};
use crate::sgd::check_fit;

/// Rows scored at once: 256 of MNIST take 0.8 MB.
const CHUNK: usize = 256;

/// Quality of a model on a test set.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Share of correct predictions, 0..=1.
    pub accuracy: f64,
    /// Mean cross-entropy in nats; NaN where the model's output is.
    pub loss: f64,
}

/// Scores `params` on `data`.
///
/// # Errors
/// If parameters, data and model do not fit together.
pub fn evaluate(
    model: &dyn Model,
    params: &[f32],
    data: &Dataset,
) -> Result<Evaluation, TrainingError> {
    check_fit(model, params, data)?;
    let features = data.features();
    let classes = data.classes();
    let offsets = vec![0.0; classes];
    let mut scratch = model.scratch(CHUNK);
    let mut rows = vec![0.0; CHUNK * features];
    let mut labels = vec![0; CHUNK];
    let mut total = BatchMetrics::default();
    let indices: Vec<u32> = (0..data.len() as u32).collect();
    for indices in indices.chunks(CHUNK) {
        let rows = &mut rows[..indices.len() * features];
        let labels = &mut labels[..indices.len()];
        data.gather(indices, rows, labels);
        let view = ArrayView2::from_shape((indices.len(), features), &*rows)
            .expect("the length is rows * columns");
        model.forward(params, view, &mut scratch);
        let logits = &mut scratch.logits[..indices.len() * classes];
        let metrics = softmax_cross_entropy(logits, labels, &offsets);
        total.loss_sum += metrics.loss_sum;
        total.correct += metrics.correct;
    }
    let samples = data.len() as f64;
    Ok(Evaluation {
        accuracy: total.correct as f64 / samples,
        loss: total.loss_sum / samples,
    })
}
