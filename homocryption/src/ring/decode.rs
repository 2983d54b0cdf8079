//! Reed-Solomon decoding of many words that are wrong, if at all, in the same places.
//!
//! Every column (a coefficient of the key sum) is one word; a row is what one validator said. Columns are checked against the
//! polynomial through the first t + 1 good rows; the first column that disagrees is decoded on its own (Gao, "A new algorithm for
//! decoding Reed-Solomon codes", 2003), which names rows that are wrong; they are left out and the check starts again. Each turn
//! finds at least one, so no random combination is needed that a liar could search around.

use super::error::RingError;
use super::field::{Fe, add_scaled, evaluate, lagrange};

/// The values at zero of all columns, and the places of the rows that were wrong.
///
/// `rows[i]` are the values at `points[i]`. Up to `(rows - t - 1) / 2` wrong rows are corrected.
///
/// # Errors
/// [`RingError::NotDecodable`].
pub(super) fn decode(
    points: &[Fe],
    rows: &[&[Fe]],
    threshold: u32,
) -> Result<(Vec<Fe>, Vec<usize>), RingError> {
    let needed = threshold as usize + 1;
    let refused = |wrong| RingError::NotDecodable {
        points: points.len(),
        wrong,
        threshold,
    };
    let capacity = points.len().checked_sub(needed).ok_or_else(|| refused(0))? / 2;
    let mut wrong = Vec::new();
    loop {
        let good: Vec<usize> = (0..points.len())
            .filter(|place| !wrong.contains(place))
            .collect();
        let at: Vec<Fe> = good.iter().map(|place| points[*place]).collect();
        let Some(column) = first_inconsistent(&at, &good, rows, needed) else {
            let weights = lagrange(&at[..needed], Fe::ZERO);
            wrong.sort_unstable();
            return Ok((combine(&weights, &good, rows), wrong));
        };
        let word: Vec<Fe> = good.iter().map(|place| rows[*place][column]).collect();
        let errors = locate(&at, &word, needed).ok_or_else(|| refused(wrong.len()))?;
        wrong.extend(errors.into_iter().map(|error| good[error]));
        if wrong.len() > capacity {
            return Err(refused(wrong.len()));
        }
    }
}

/// `sum of weights[i] * rows[good[i]]`.
fn combine(weights: &[Fe], good: &[usize], rows: &[&[Fe]]) -> Vec<Fe> {
    let mut out = vec![Fe::ZERO; rows[good[0]].len()];
    for (weight, place) in weights.iter().zip(good) {
        add_scaled(&mut out, *weight, rows[*place]);
    }
    out
}

/// The first column, seen by the first row that has one, that is not of one polynomial with the first `needed` rows.
fn first_inconsistent(at: &[Fe], good: &[usize], rows: &[&[Fe]], needed: usize) -> Option<usize> {
    good.iter().zip(at).skip(needed).find_map(|(place, point)| {
        let expected = combine(&lagrange(&at[..needed], *point), good, rows);
        expected
            .iter()
            .zip(rows[*place])
            .position(|(expected, found)| expected != found)
    })
}

/// The places where `word` differs from the one polynomial of degree below `needed` that is near enough. None where none is.
fn locate(at: &[Fe], word: &[Fe], needed: usize) -> Option<Vec<usize>> {
    let mut vanishing = vec![Fe::ONE];
    for point in at {
        vanishing = multiply(&vanishing, &[Fe::ZERO - *point, Fe::ONE]);
    }
    let (mut before, mut now) = (vanishing, interpolate(at, word));
    let (mut factor_before, mut factor) = (Vec::new(), vec![Fe::ONE]);
    // Stop at the first remainder of degree below (m + k) / 2.
    while 2 * now.len() > at.len() + needed + 1 {
        let (quotient, rest) = divide(&before, &now);
        let next = subtract(&factor_before, &multiply(&quotient, &factor));
        (before, now) = (now, rest);
        (factor_before, factor) = (factor, next);
    }
    let (message, rest) = divide(&now, &factor);
    if !rest.is_empty() || message.len() > needed {
        return None;
    }
    let differs = |place: &usize| evaluate(&message, at[*place]) != word[*place];
    let errors: Vec<usize> = (0..at.len()).filter(differs).collect();
    (!errors.is_empty() && errors.len() <= (at.len() - needed) / 2).then_some(errors)
}

/// Coefficients lowest first, without leading zeros; the zero polynomial is empty.
type Polynomial = Vec<Fe>;

fn trimmed(mut polynomial: Polynomial) -> Polynomial {
    while polynomial.last() == Some(&Fe::ZERO) {
        polynomial.pop();
    }
    polynomial
}

fn multiply(left: &[Fe], right: &[Fe]) -> Polynomial {
    if left.is_empty() || right.is_empty() {
        return Vec::new();
    }
    let mut out = vec![Fe::ZERO; left.len() + right.len() - 1];
    for (shift, factor) in left.iter().enumerate() {
        add_scaled(&mut out[shift..shift + right.len()], *factor, right);
    }
    trimmed(out)
}

fn subtract(left: &[Fe], right: &[Fe]) -> Polynomial {
    let mut out = left.to_vec();
    out.resize(left.len().max(right.len()), Fe::ZERO);
    add_scaled(&mut out, Fe::ZERO - Fe::ONE, right);
    trimmed(out)
}

/// Quotient and remainder; the divisor is not zero.
fn divide(dividend: &[Fe], divisor: &[Fe]) -> (Polynomial, Polynomial) {
    let mut rest = dividend.to_vec();
    let Some(steps) = (dividend.len() + 1)
        .checked_sub(divisor.len())
        .filter(|steps| *steps > 0)
    else {
        return (Vec::new(), trimmed(rest));
    };
    let mut quotient = vec![Fe::ZERO; steps];
    let lead = divisor.last().copied().unwrap_or(Fe::ONE).inverse();
    for shift in (0..steps).rev() {
        let factor = rest[shift + divisor.len() - 1] * lead;
        quotient[shift] = factor;
        add_scaled(
            &mut rest[shift..shift + divisor.len()],
            Fe::ZERO - factor,
            divisor,
        );
    }
    (trimmed(quotient), trimmed(rest))
}

/// Newton's form, multiplied out.
fn interpolate(at: &[Fe], values: &[Fe]) -> Polynomial {
    let (mut out, mut basis) = (Vec::new(), vec![Fe::ONE]);
    for (point, value) in at.iter().zip(values) {
        let missing = *value - evaluate(&out, *point);
        let factor = missing * evaluate(&basis, *point).inverse();
        out.resize(basis.len(), Fe::ZERO);
        add_scaled(&mut out, factor, &basis);
        basis = multiply(&basis, &[Fe::ZERO - *point, Fe::ONE]);
    }
    trimmed(out)
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha20Rng;
    use rand_core::{RngCore, SeedableRng};

    use super::*;

    const COLUMNS: usize = 9;

    fn element(rng: &mut ChaCha20Rng) -> Fe {
        Fe::from_canonical(rng.next_u32() >> 2).unwrap()
    }

    fn rows(points: &[Fe], threshold: u32, rng: &mut ChaCha20Rng) -> (Vec<Fe>, Vec<Vec<Fe>>) {
        let polynomials: Vec<Vec<Fe>> = (0..COLUMNS)
            .map(|_| (0..=threshold).map(|_| element(rng)).collect())
            .collect();
        let row = |point: &Fe| {
            polynomials
                .iter()
                .map(|polynomial| evaluate(polynomial, *point))
                .collect()
        };
        (
            polynomials.iter().map(|polynomial| polynomial[0]).collect(),
            points.iter().map(row).collect(),
        )
    }

    /// Every subset of validators missing or wrong, for every committee up to ten.
    #[test]
    fn every_pattern_up_to_the_bound_decodes() {
        let mut rng = ChaCha20Rng::seed_from_u64(11);
        for (count, threshold) in [(4_usize, 1), (5, 1), (7, 2), (8, 2), (10, 3)] {
            for pattern in 0..3_u32.pow(count as u32) {
                let state = |index: usize| pattern / 3_u32.pow(index as u32) % 3;
                let present: Vec<usize> = (0..count).filter(|index| state(*index) != 1).collect();
                let bad: Vec<usize> = (0..present.len())
                    .filter(|place| state(present[*place]) == 2)
                    .collect();
                let decodes = present.len() >= threshold as usize + 1 + 2 * bad.len();
                // All of the small committees, one in seven of the others.
                if count > 5 && pattern % 7 != 0 || !decodes {
                    continue;
                }
                let points: Vec<Fe> = present.iter().map(|index| Fe::point(*index)).collect();
                let (zero, mut rows) = rows(&points, threshold, &mut rng);
                for (which, place) in bad.iter().enumerate() {
                    // One column each, so that one column alone does not show all errors.
                    rows[*place][which % COLUMNS] = rows[*place][which % COLUMNS] + Fe::ONE;
                }
                let views: Vec<&[Fe]> = rows.iter().map(Vec::as_slice).collect();
                let (found, wrong) = decode(&points, &views, threshold).unwrap();
                assert!(found == zero, "{count} validators, pattern {pattern}");
                assert_eq!(wrong, bad);
            }
        }
    }

    #[test]
    fn more_errors_than_the_bound_are_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(12);
        for (count, threshold, bad) in [
            (4_usize, 1, 2),
            (7, 2, 3),
            (10, 3, 4),
            (10, 3, 5),
            (31, 10, 11),
        ] {
            for _ in 0..50 {
                let points: Vec<Fe> = (0..count).map(Fe::point).collect();
                let (_, mut rows) = rows(&points, threshold, &mut rng);
                for row in rows.iter_mut().take(bad) {
                    row.fill_with(|| element(&mut rng));
                }
                let views: Vec<&[Fe]> = rows.iter().map(Vec::as_slice).collect();
                assert!(matches!(
                    decode(&points, &views, threshold),
                    Err(RingError::NotDecodable { .. })
                ));
            }
        }
    }

    #[test]
    fn too_few_rows_are_refused() {
        assert!(decode(&[Fe::point(0)], &[&[Fe::ONE]], 1).is_err());
        assert!(decode(&[], &[], 1).is_err());
    }

    #[test]
    fn the_largest_committee_decodes() {
        let mut rng = ChaCha20Rng::seed_from_u64(13);
        let points: Vec<Fe> = (0..128).map(Fe::point).collect();
        let (zero, mut rows) = rows(&points, 42, &mut rng);
        for place in (0..126).step_by(3) {
            rows[place].fill_with(|| element(&mut rng));
        }
        let views: Vec<&[Fe]> = rows.iter().map(Vec::as_slice).collect();
        let (found, wrong) = decode(&points, &views, 42).unwrap();
        assert!(found == zero);
        assert_eq!(wrong, (0..126).step_by(3).collect::<Vec<_>>());
    }
}
