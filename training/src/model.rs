//! What a model is: a manifest of tensors, a flat parameter vector, a loss and its gradient.
//!
//! Parameters are one `[f32]`: the tensors of the manifest in order, each row-major, nothing between
//! them. This is also the order of an update's bytes on the network.

use std::fmt;
use std::str::FromStr;

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::error::TrainingError;
use crate::mlp::Mlp;
use crate::softmax::SoftmaxRegression;

/// Name and shape of one tensor of `f32`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Unique within the model.
    pub name: String,
    /// Row-major.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    pub(crate) fn new(name: &str, shape: &[usize]) -> Self {
        Self {
            name: name.to_owned(),
            shape: shape.to_vec(),
        }
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// A minibatch: `features` has a row for each of `labels`.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// Shape `[samples, features]`, standard layout, values in `[0, 1]`.
    pub features: ArrayView2<'a, f32>,
    /// The class of each row.
    pub labels: &'a [u8],
    /// What the loss adds to each class's logit, one a class; see [`crate::Hyperparameters`]. Minus
    /// infinity takes a class out, but never that of a label in the batch.
    pub logit_offsets: &'a [f32],
}

/// Loss and hits over one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BatchMetrics {
    /// Sum of the samples' cross-entropies, in nats.
    pub loss_sum: f64,
    /// Samples whose predicted class is their label.
    pub correct: u64,
}

/// Buffers that a model needs for batches up to a given size; made once, used for every batch.
#[derive(Clone, Debug)]
pub struct Scratch {
    pub(crate) hidden: Vec<f32>,
    pub(crate) hidden_gradient: Vec<f32>,
    pub(crate) logits: Vec<f32>,
}

impl Scratch {
    /// The logits of the last forward pass over `samples` rows, row-major `[samples, classes]`.
    #[must_use]
    pub fn logits(&self, samples: usize, classes: usize) -> &[f32] {
        &self.logits[..samples * classes]
    }
}

/// A classifier with flat parameters.
///
/// The methods that take `params` panic where it, the batch or the scratch has another size than the
/// model's; [`crate::train`] and [`crate::evaluate`] check first and return errors.
pub trait Model: fmt::Debug + Send + Sync {
    /// Length of an input row.
    fn features(&self) -> usize;

    /// Number of classes.
    fn classes(&self) -> usize;

    /// The tensors in the order of the flat parameters.
    fn manifest(&self) -> Vec<TensorSpec>;

    /// The initial parameters, the same bits on every machine.
    fn init(&self, seed: u64) -> Vec<f32>;

    /// Buffers for batches of at most `max_samples`.
    fn scratch(&self, max_samples: usize) -> Scratch;

    /// Computes the logits of `features` into `scratch`.
    fn forward(&self, params: &[f32], features: ArrayView2<'_, f32>, scratch: &mut Scratch);

    /// Overwrites `gradient` with that of the batch's mean cross-entropy.
    fn loss_and_gradient(
        &self,
        params: &[f32],
        batch: Batch<'_>,
        scratch: &mut Scratch,
        gradient: &mut [f32],
    ) -> BatchMetrics;

    /// Number of parameters.
    fn parameter_count(&self) -> usize {
        self.manifest().iter().map(TensorSpec::elements).sum()
    }

    /// The class of each row of `features`; a tie goes to the lower class.
    fn predict(&self, params: &[f32], features: ArrayView2<'_, f32>) -> Vec<u8> {
        let mut scratch = self.scratch(features.nrows());
        self.forward(params, features, &mut scratch);
        scratch
            .logits(features.nrows(), self.classes())
            .chunks_exact(self.classes())
            .map(|row| argmax(row) as u8)
            .collect()
    }
}

/// The models this crate can build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ModelKind {
    /// Multinomial logistic regression.
    Softmax,
    /// One hidden layer of ReLU units.
    Mlp {
        /// Hidden units; none means the data set's default (64 for digits, 128 for MNIST).
        hidden: Option<u32>,
    },
}

/// 1,024 hidden units over MNIST are 814,090 parameters, 3.3 MB.
const MAX_HIDDEN: u32 = 1_024;

impl ModelKind {
    /// Builds the model for rows of `features` and `classes` classes.
    ///
    /// # Errors
    /// If the number of hidden units is out of range.
    pub fn build(
        self,
        features: usize,
        classes: usize,
        default_hidden: u32,
    ) -> Result<Box<dyn Model>, TrainingError> {
        match self {
            Self::Softmax => Ok(Box::new(SoftmaxRegression::new(features, classes))),
            Self::Mlp { hidden } => {
                let hidden = hidden.unwrap_or(default_hidden);
                check_hidden(hidden)?;
                Ok(Box::new(Mlp::new(features, hidden as usize, classes)))
            }
        }
    }
}

fn check_hidden(hidden: u32) -> Result<(), TrainingError> {
    if (1..=MAX_HIDDEN).contains(&hidden) {
        return Ok(());
    }
    Err(TrainingError::out_of_range(
        "hidden units",
        hidden,
        format!("1..={MAX_HIDDEN}"),
    ))
}

impl FromStr for ModelKind {
    type Err = TrainingError;

    /// `softmax`, `mlp`, or `mlp:96` with the number of hidden units.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || TrainingError::Unknown {
            what: "model",
            found: text.to_owned(),
            known: "`softmax`, `mlp`, `mlp:<hidden units>`",
        };
        match text {
            "softmax" => Ok(Self::Softmax),
            "mlp" => Ok(Self::Mlp { hidden: None }),
            _ => {
                let hidden = text.strip_prefix("mlp:").ok_or_else(unknown)?;
                let hidden = hidden.parse().map_err(|_| unknown())?;
                check_hidden(hidden)?;
                Ok(Self::Mlp {
                    hidden: Some(hidden),
                })
            }
        }
    }
}

impl fmt::Display for ModelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Softmax => f.write_str("softmax"),
            Self::Mlp { hidden: None } => f.write_str("mlp"),
            Self::Mlp {
                hidden: Some(hidden),
            } => write!(f, "mlp:{hidden}"),
        }
    }
}

impl TryFrom<String> for ModelKind {
    type Error = TrainingError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ModelKind> for String {
    fn from(kind: ModelKind) -> Self {
        kind.to_string()
    }
}

/// Replaces each row of `logits` by the gradient of its cross-entropy, `softmax(row + offsets) -
/// one_hot(label)`. Predictions are counted without the offsets.
pub(crate) fn softmax_cross_entropy(
    logits: &mut [f32],
    labels: &[u8],
    offsets: &[f32],
) -> BatchMetrics {
    debug_assert_eq!(logits.len(), labels.len() * offsets.len());
    let mut metrics = BatchMetrics::default();
    for (row, &label) in logits.chunks_exact_mut(offsets.len()).zip(labels) {
        let label = usize::from(label);
        metrics.correct += u64::from(argmax(row) == label);
        row.iter_mut()
            .zip(offsets)
            .for_each(|(value, offset)| *value += offset);
        // Shifting by the maximum keeps `exp` from overflowing.
        let max = row[argmax(row)];
        let target = row[label] - max;
        let mut sum = 0.0;
        for value in row.iter_mut() {
            *value = (*value - max).exp();
            sum += *value;
        }
        row.iter_mut().for_each(|value| *value /= sum);
        row[label] -= 1.0;
        metrics.loss_sum += f64::from(sum.ln() - target);
    }
    metrics
}

/// The index of the largest value; a tie goes to the lower one.
fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (index, &value) in row.iter().enumerate() {
        if value > row[best] {
            best = index;
        }
    }
    best
}
