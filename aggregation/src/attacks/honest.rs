//! What several attacks compute from the honest updates, in f64 over contributors in order.

use super::{AttackError, Knowledge};

/// Refuses no honest updates, and updates of different lengths.
pub(super) fn check(attack: &'static str, known: &Knowledge<'_>) -> Result<(), AttackError> {
    let expected = known.own.len();
    if known.honest.is_empty() {
        return Err(AttackError::NoHonest(attack));
    }
    let uneven = known.honest.iter().position(|u| u.len() != expected);
    match uneven {
        Some(index) => Err(AttackError::Length {
            index,
            len: known.honest[index].len(),
            expected,
        }),
        None => Ok(()),
    }
}

/// Applies `forge` to the honest values of every coordinate.
pub(super) fn per_coordinate<T>(
    known: &Knowledge<'_>,
    forge: impl Fn(&[f64]) -> T,
) -> impl Iterator<Item = T> {
    let mut values = vec![0.0; known.honest.len()];
    (0..known.own.len()).map(move |k| {
        for (value, update) in values.iter_mut().zip(known.honest) {
            *value = f64::from(update[k]);
        }
        forge(&values)
    })
}

/// Mean and sample standard deviation (zero for one value).
pub(super) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = mean(values);
    if values.len() < 2 {
        return (mean, 0.0);
    }
    let squares: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    (mean, (squares / (count - 1.0)).sqrt())
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
