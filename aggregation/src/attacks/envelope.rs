//! Min-max and min-sum: as far along `-deviation` as the spread of the honest updates hides.
//!
//! Both ask for the largest gamma at which the squared distances of `mean - gamma * deviation` to the
//! honest updates stay within a bound. A squared distance is quadratic in gamma, so the largest
//! gamma is a root; the paper's step-halving search (its algorithm 1) approaches the same number.

use super::Knowledge;
use super::honest::{mean_and_deviation, per_coordinate};

/// The largest distance to an honest update is the largest distance between two of them.
pub(super) fn min_max(known: &Knowledge<'_>) -> Vec<f32> {
    let spread = Spread::of(known);
    let bound = (0..known.honest.len())
        .flat_map(|i| spread.row(known, i))
        .fold(0.0, f64::max);
    let roots = spread
        .along
        .iter()
        .zip(&spread.squared)
        .map(|(&along, &squared)| largest_root(spread.deviation_squared, along, squared - bound));
    let gamma = roots.fold(f64::INFINITY, f64::min);
    spread.forge(gamma)
}

/// The sum of squared distances is the largest such sum of an honest update.
pub(super) fn min_sum(known: &Knowledge<'_>) -> Vec<f32> {
    let spread = Spread::of(known);
    let count = known.honest.len() as f64;
    let bound = (0..known.honest.len())
        .map(|i| spread.row(known, i).sum())
        .fold(0.0, f64::max);
    let gamma = largest_root(
        count * spread.deviation_squared,
        spread.along.iter().sum(),
        spread.squared.iter().sum::<f64>() - bound,
    );
    spread.forge(gamma)
}

/// The larger root of `a g² - 2 b g + c`, zero when nothing above zero is within the bound or the honest
/// updates do not deviate at all.
fn largest_root(a: f64, b: f64, c: f64) -> f64 {
    let discriminant = b * b - a * c;
    if a > 0.0 && discriminant > 0.0 {
        ((b + discriminant.sqrt()) / a).max(0.0)
    } else {
        0.0
    }
}

/// The honest updates as seen from their mean. For update x: `|mean - g·dev - x|²` is
/// `g² |dev|² - 2 g dev·(mean - x) + |mean - x|²`.
struct Spread {
    /// Mean and deviation of every coordinate.
    moments: Vec<(f64, f64)>,
    /// `|dev|²`.
    deviation_squared: f64,
    /// `dev·(mean - x)` of every honest update.
    along: Vec<f64>,
    /// `|mean - x|²` of every honest update.
    squared: Vec<f64>,
}

impl Spread {
    fn of(known: &Knowledge<'_>) -> Self {
        let moments: Vec<(f64, f64)> = per_coordinate(known, mean_and_deviation).collect();
        let against = |update: &[f32], term: fn(f64, f64) -> f64| -> f64 {
            let terms = moments
                .iter()
                .zip(update)
                .map(|((mean, deviation), x)| term(*deviation, mean - f64::from(*x)));
            terms.sum()
        };
        let of_all = |term| known.honest.iter().map(|x| against(x, term)).collect();
        Self {
            deviation_squared: moments.iter().map(|(_, dev)| dev * dev).sum(),
            along: of_all(|deviation, off| deviation * off),
            squared: of_all(|_, off| off * off),
            moments,
        }
    }

    /// Squared distances of honest update `i` to all honest updates.
    fn row<'a>(&self, known: &Knowledge<'a>, i: usize) -> impl Iterator<Item = f64> + use<'a> {
        let honest = known.honest;
        honest.iter().map(move |other| {
            let pairs = honest[i].iter().zip(other);
            pairs
                .map(|(a, b)| f64::from(*a) - f64::from(*b))
                .map(|off| off * off)
                .sum()
        })
    }

    fn forge(&self, gamma: f64) -> Vec<f32> {
        self.moments
            .iter()
            .map(|(mean, deviation)| (mean - gamma * deviation) as f32)
            .collect()
    }
}
