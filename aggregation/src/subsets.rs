//! Subsets of a fixed size: how many there are, and all of them in lexicographic order.

/// n choose k; `u64::MAX` when it is larger.
pub(crate) fn binomial(n: u64, k: u64) -> u64 {
    if k > n {
        return 0;
    }
    let mut result = 1_u128;
    for i in 0..k.min(n - k) {
        // Exact: the product of i + 1 consecutive numbers is divisible by (i + 1)!.
        result = result * u128::from(n - i) / u128::from(i + 1);
        if result > u128::from(u64::MAX) {
            return u64::MAX;
        }
    }
    result as u64
}

/// All subsets of `0..n` with `k` members, members ascending, subsets in lexicographic order.
pub(crate) fn subsets(n: usize, k: usize) -> Vec<Vec<usize>> {
    let mut all = Vec::new();
    let mut current: Vec<usize> = (0..k).collect();
    if k > n {
        return all;
    }
    loop {
        all.push(current.clone());
        // The last member that can still move up.
        let Some(at) = (0..k).rev().find(|&at| current[at] < n - k + at) else {
            return all;
        };
        let first = current[at] + 1;
        for (offset, member) in current[at..].iter_mut().enumerate() {
            *member = first + offset;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_subsets_as_the_binomial_says_and_they_ascend() {
        for n in 0..10 {
            for k in 0..=n + 1 {
                let all = subsets(n, k);
                assert_eq!(all.len() as u64, binomial(n as u64, k as u64), "{n} {k}");
                assert!(all.windows(2).all(|pair| pair[0] < pair[1]));
                assert!(all.iter().all(|s| s.windows(2).all(|p| p[0] < p[1])));
            }
        }
        assert_eq!(binomial(32, 5), 201_376);
        assert_eq!(binomial(1024, 1), 1024);
        assert_eq!(binomial(1024, 512), u64::MAX);
        assert_eq!(binomial(u64::MAX, 3), u64::MAX);
    }
}
