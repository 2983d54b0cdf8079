//! Labelled images, kept as bytes.
//!
//! Pixels stay `u8` and are scaled to `[0, 1]` only as a batch is gathered: MNIST then takes 47 MB a
//! process instead of 188 MB. Invariants: `pixels.len() == labels.len() * features`, every pixel is at
//! most `max_pixel`, every label is below `classes`, scale and shift are finite.

use rand::seq::SliceRandom;

use crate::error::{TrainingError, expect};
use crate::seed::{Stream, rng};

/// Labelled images of one size.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pixels: Vec<u8>,
    labels: Vec<u8>,
    features: usize,
    classes: u8,
    max_pixel: u8,
    // A feature is `pixel * scale + shift`.
    scale: f32,
    shift: f32,
}

/// A data set in two parts with no image in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// To be partitioned over the contributors.
    pub train: Dataset,
    /// Held out: no contributor trains on it.
    pub test: Dataset,
}

impl Dataset {
    /// Images of `features` pixels each, one after another, and their labels.
    ///
    /// # Errors
    /// If a length, a pixel or a label breaks the invariants of this module.
    pub fn new(
        features: usize,
        classes: u8,
        max_pixel: u8,
        pixels: Vec<u8>,
        labels: Vec<u8>,
    ) -> Result<Self, TrainingError> {
        if features == 0 || classes == 0 || max_pixel == 0 {
            let found = format!("{features}, {classes}, {max_pixel}");
            return Err(TrainingError::out_of_range(
                "features, classes, max_pixel",
                found,
                "at least 1 each",
            ));
        }
        let expected = (labels.len() as u64).saturating_mul(features as u64);
        expect("number of pixels", pixels.len() as u64, expected)?;
        if let Some(pixel) = pixels.iter().find(|&&pixel| pixel > max_pixel) {
            return Err(TrainingError::out_of_range(
                "pixel",
                pixel,
                format!("0..={max_pixel}"),
            ));
        }
        if let Some(label) = labels.iter().find(|&&label| label >= classes) {
            return Err(TrainingError::out_of_range(
                "label",
                label,
                format!("0..{classes}"),
            ));
        }
        Ok(Self {
            pixels,
            labels,
            features,
            classes,
            max_pixel,
            scale: 1.0 / f32::from(max_pixel),
            shift: 0.0,
        })
    }

    /// The same images with features `(x - mean) / deviation` instead of x in `[0, 1]`: steps of one
    /// size then suit all of them better. MNIST's mean and deviation are 0.1307 and 0.3081.
    ///
    /// # Errors
    /// If the mean is outside `[0, 1]`, or the deviation not in 0.001..=1.
    pub fn standardised(mut self, mean: f32, deviation: f32) -> Result<Self, TrainingError> {
        if !(0.0..=1.0).contains(&mean) {
            return Err(TrainingError::out_of_range("mean", mean, "0..=1"));
        }
        if !(0.001..=1.0).contains(&deviation) {
            let allowed = "0.001..=1";
            return Err(TrainingError::out_of_range("deviation", deviation, allowed));
        }
        self.scale = 1.0 / (f32::from(self.max_pixel) * deviation);
        self.shift = -mean / deviation;
        Ok(self)
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Pixels of an image.
    #[must_use]
    pub const fn features(&self) -> usize {
        self.features
    }

    /// Number of classes; labels are below it.
    #[must_use]
    pub const fn classes(&self) -> usize {
        self.classes as usize
    }

    /// The labels, one an image.
    #[must_use]
    pub fn labels(&self) -> &[u8] {
        &self.labels
    }

    /// The raw pixels of image `index`.
    ///
    /// # Panics
    /// If there is no such image.
    #[must_use]
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.features..(index + 1) * self.features]
    }

    /// Writes the images `indices` to the rows of `features`, scaled to `[0, 1]` or standardised, and
    /// their labels to `labels`; both must have room for exactly them.
    ///
    /// # Panics
    /// If an index or a length is out of range.
    pub fn gather(&self, indices: &[u32], features: &mut [f32], labels: &mut [u8]) {
        assert_eq!(features.len(), indices.len() * self.features);
        assert_eq!(labels.len(), indices.len());
        let (scale, shift) = (self.scale, self.shift);
        for ((&index, row), label) in indices
            .iter()
            .zip(features.chunks_exact_mut(self.features))
            .zip(labels)
        {
            for (value, &pixel) in row.iter_mut().zip(self.image(index as usize)) {
                *value = f32::from(pixel) * scale + shift;
            }
            *label = self.labels[index as usize];
        }
    }

    /// The images `indices`, in that order.
    ///
    /// # Panics
    /// If an index is out of range.
    #[must_use]
    pub fn select(&self, indices: &[u32]) -> Self {
        let mut pixels = Vec::with_capacity(indices.len() * self.features);
        for &index in indices {
            pixels.extend_from_slice(self.image(index as usize));
        }
        let labels = indices
            .iter()
            .map(|&index| self.labels[index as usize])
            .collect();
        Self {
            pixels,
            labels,
            ..*self
        }
    }

    /// Holds out one image in five (rounded down), chosen by a shuffle that depends on `seed` alone.
    #[must_use]
    pub fn split(&self, seed: u64) -> Split {
        let mut indices: Vec<u32> = (0..self.len() as u32).collect();
        indices.shuffle(&mut rng(seed, Stream::Split, 0, 0));
        let (test, train) = indices.split_at(self.len() / 5);
        Split {
            train: self.select(train),
            test: self.select(test),
        }
    }

    /// Label-flipping data poisoning: label `l` becomes `classes - 1 - l` (9 - l for digits), as in
    /// Fang et al., "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning" (USENIX
    /// Security 2020, section 4). Twice is the identity.
    #[must_use]
    pub fn with_flipped_labels(mut self) -> Self {
        for label in &mut self.labels {
            *label = self.classes - 1 - *label;
        }
        self
    }
}
