//! Percentiles of small samples.

/// The value below which `percent` of the samples lie (nearest rank); 0 for none.
pub(crate) fn percentile(samples: &[f64], percent: usize) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn nearest_rank() {
        let samples = [5.0, 1.0, 3.0, 2.0, 4.0];
        assert_eq!(percentile(&samples, 50), 3.0);
        assert_eq!(percentile(&samples, 95), 5.0);
        assert_eq!(percentile(&samples, 1), 1.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }
}
