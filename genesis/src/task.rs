//! Sizes of a task's model.

use crate::{
    document::{Dtype, RoundPolicy, RuleSpec, Task, Tensor},
    primitives::{ModelRoot, TaskId},
};

impl Dtype {
    /// Bytes of one element.
    #[must_use]
    pub const fn size_bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
        }
    }
}

impl Tensor {
    /// A tensor of 32-bit floats.
    #[must_use]
    pub fn f32(name: impl Into<String>, shape: &[u64]) -> Self {
        Self {
            name: name.into(),
            shape: shape.to_vec(),
            dtype: Dtype::F32,
        }
    }

    /// Number of elements, 1 for a scalar; `None` when it overflows.
    #[must_use]
    pub fn elements(&self) -> Option<u64> {
        self.shape
            .iter()
            .try_fold(1_u64, |product, dimension| product.checked_mul(*dimension))
    }

    /// Bytes of all elements; `None` when it overflows.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        self.elements()?.checked_mul(self.dtype.size_bytes())
    }
}

impl Task {
    /// A task with the usual server step (1.0) and range of coordinates.
    #[must_use]
    pub fn new(
        id: TaskId,
        name: impl Into<String>,
        tensors: Vec<Tensor>,
        initial_model: ModelRoot,
        rule: RuleSpec,
        rounds: RoundPolicy,
    ) -> Self {
        Self {
            id,
            name: name.into(),
            initial_model,
            rule,
            privacy: None,
            noise: None,
            server_lr_ppm: crate::document::one_million(),
            max_abs_update: crate::document::default_max_abs(),
            rounds,
            tensors,
        }
    }

    /// Coordinates of the model (`d`): elements of all tensors. Exact in a valid document,
    /// saturating otherwise.
    #[must_use]
    pub fn coordinates(&self) -> u64 {
        let elements = self.tensors.iter().map(Tensor::elements);
        checked_sum(elements).unwrap_or(u64::MAX)
    }

    /// Length of a model and of an update, in bytes. Exact in a valid document, saturating otherwise.
    #[must_use]
    pub fn payload_bytes(&self) -> u64 {
        self.checked_payload_bytes().unwrap_or(u64::MAX)
    }

    /// As [`Task::payload_bytes`]; `None` when it overflows.
    #[must_use]
    pub fn checked_payload_bytes(&self) -> Option<u64> {
        checked_sum(self.tensors.iter().map(Tensor::size_bytes))
    }
}

fn checked_sum(terms: impl Iterator<Item = Option<u64>>) -> Option<u64> {
    terms
        .into_iter()
        .try_fold(0_u64, |sum, term| sum.checked_add(term?))
}
