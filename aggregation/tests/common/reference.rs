//! Every stage as its paper defines it, in float64 on whole vectors and without any cleverness.

use cifer_aggregation::{Pipeline, PreAggregator, Rule};

type Vectors = Vec<Vec<f64>>;

/// The result of a pipeline without bucketing, for equal weights.
pub fn pipeline_reference(pipeline: &Pipeline, vectors: &[Vec<f32>]) -> Vec<f64> {
    let mut rows: Vectors = vectors
        .iter()
        .map(|v| v.iter().map(|x| f64::from(*x)).collect())
        .collect();
    for stage in &pipeline.pre {
        rows = pre(*stage, &rows);
    }
    rule(pipeline.rule, &rows)
}

fn pre(stage: PreAggregator, rows: &Vectors) -> Vectors {
    let n = rows.len();
    let clip = |radius: f64| -> Vectors {
        let factor = |row: &[f64]| (radius / norm(row)).min(1.0);
        rows.iter().map(|row| scaled(row, factor(row))).collect()
    };
    match stage {
        PreAggregator::Clip { radius_ppm } => clip(radius_ppm as f64 / 1e6),
        PreAggregator::Arc { f } => {
            let mut norms: Vec<f64> = rows.iter().map(|row| norm(row)).collect();
            norms.sort_by(f64::total_cmp);
            let k = 2 * f as usize * (n - f as usize) / n;
            clip(norms[n - k - 1])
        }
        PreAggregator::Nnm { f } => (0..n)
            .map(|i| mean_at(rows, &nearest(rows, &rows[i], n - f as usize)))
            .collect(),
        other => unreachable!("{other} has no reference"),
    }
}

fn rule(rule: Rule, rows: &Vectors) -> Vec<f64> {
    let n = rows.len();
    let all: Vec<usize> = (0..n).collect();
    match rule {
        Rule::FedAvg { .. } => mean_at(rows, &all),
        Rule::Median => columns(rows, |mut column| {
            column.sort_by(f64::total_cmp);
            (column[(n - 1) / 2] + column[n / 2]) / 2.0
        }),
        Rule::TrimmedMean { f } => columns(rows, |mut column| {
            column.sort_by(f64::total_cmp);
            mean(&column[f as usize..n - f as usize])
        }),
        Rule::Meamed { f } => columns(rows, |column| around_median(column, n - f as usize)),
        Rule::SignMajority => columns(rows, |column| {
            let votes: f64 = column
                .iter()
                .filter(|x| **x != 0.0)
                .map(|x| x.signum())
                .sum();
            if votes == 0.0 { 0.0 } else { votes.signum() }
        }),
        Rule::Krum { f } => mean_at(rows, &krum(rows, &all, f as usize, 1)),
        Rule::MultiKrum { f, m } => mean_at(rows, &krum(rows, &all, f as usize, m as usize)),
        Rule::Bulyan { f } => {
            let f = f as usize;
            let (mut left, mut chosen) = (all, Vec::new());
            while chosen.len() < n - 2 * f {
                let winner = krum(rows, &left, f, 1)[0];
                left.retain(|&i| i != winner);
                chosen.push(rows[winner].clone());
            }
            let keep = chosen.len() - 2 * f;
            columns(&chosen, |column| around_median(column, keep))
        }
        Rule::GeometricMedian { nu_ppm, steps } => {
            let mut z = vec![0.0; rows[0].len()];
            for _ in 0..steps {
                let weights: Vec<f64> = rows
                    .iter()
                    .map(|row| 1.0 / norm(&minus(row, &z)).max(nu_ppm as f64 / 1e6))
                    .collect();
                z = weighted(rows, &weights);
            }
            z
        }
        Rule::CenteredClipping { radius_ppm, steps } => {
            let mut v = vec![0.0; rows[0].len()];
            for _ in 0..steps {
                let pulls: Vectors = rows
                    .iter()
                    .map(|row| {
                        let d = minus(row, &v);
                        scaled(&d, (radius_ppm as f64 / 1e6 / norm(&d)).min(1.0))
                    })
                    .collect();
                let pull = mean_at(&pulls, &all);
                v.iter_mut().zip(&pull).for_each(|(v, p)| *v += p);
            }
            v
        }
        Rule::NormClippedMean { radius_ppm } => {
            mean_at(&pre(PreAggregator::Clip { radius_ppm }, rows), &all)
        }
        Rule::Monna { f, pivot } => {
            mean_at(rows, &nearest(rows, &rows[pivot as usize], n - f as usize))
        }
        Rule::Mda { f } => mean_at(
            rows,
            &best_set(n, n - f as usize, |set| {
                let pairs = set.iter().flat_map(|&i| set.iter().map(move |&j| (i, j)));
                pairs
                    .map(|(i, j)| norm(&minus(&rows[i], &rows[j])))
                    .fold(0.0, f64::max)
            }),
        ),
        Rule::Smea { f } => mean_at(
            rows,
            &best_set(n, n - f as usize, |set| {
                let members: Vectors = set.iter().map(|&i| rows[i].clone()).collect();
                principal(&members, &vec![1.0; members.len()]).0
            }),
        ),
        Rule::Caf { f } => caf(rows, f as usize),
        other => unreachable!("{other} has no reference"),
    }
}

fn caf(rows: &Vectors, f: usize) -> Vec<f64> {
    let n = rows.len();
    let mut weights = vec![1.0; n];
    let mut best = (f64::INFINITY, vec![]);
    loop {
        let mu = weighted(rows, &weights);
        let (eigenvalue, vector) = principal(rows, &weights);
        if eigenvalue < best.0 {
            best = (eigenvalue, mu.clone());
        }
        let tau: Vec<f64> = rows
            .iter()
            .zip(&weights)
            .map(|(row, w)| {
                if *w > 0.0 {
                    dot(&minus(row, &mu), &vector).powi(2)
                } else {
                    0.0
                }
            })
            .collect();
        let largest = tau.iter().copied().fold(0.0, f64::max);
        if largest == 0.0 {
            return best.1;
        }
        for (w, t) in weights.iter_mut().zip(&tau) {
            *w *= 1.0 - t / largest;
        }
        if weights.iter().sum::<f64>() <= (n - 2 * f) as f64 {
            return best.1;
        }
    }
}

/// The largest eigenvalue of the weighted covariance and its vector, by a long power iteration in
/// the space of the coordinates.
fn principal(rows: &Vectors, weights: &[f64]) -> (f64, Vec<f64>) {
    let mu = weighted(rows, weights);
    let total: f64 = weights.iter().sum();
    let deviations: Vectors = rows.iter().map(|row| minus(row, &mu)).collect();
    let mut v: Vec<f64> = (0..mu.len()).map(|k| 1.0 + (k % 7) as f64 / 10.0).collect();
    let mut eigenvalue = 0.0;
    for _ in 0..20_000 {
        let mut next = vec![0.0; mu.len()];
        for (d, w) in deviations.iter().zip(weights) {
            let along = w * dot(d, &v) / total;
            next.iter_mut().zip(d).for_each(|(n, d)| *n += along * d);
        }
        eigenvalue = norm(&next);
        if eigenvalue == 0.0 {
            break;
        }
        let next = scaled(&next, 1.0 / eigenvalue);
        let moved = norm(&minus(&next, &v));
        v = next;
        if moved < 1e-12 {
            break;
        }
    }
    (eigenvalue, v)
}

/// The subset of k of 0..n with the smallest measure, the first of equals.
fn best_set(n: usize, k: usize, measure: impl Fn(&[usize]) -> f64) -> Vec<usize> {
    let mut best = (f64::INFINITY, vec![]);
    // Masks whose members, read from the highest bit as row 0, are in lexicographic order.
    for mask in (0_u64..1 << n)
        .rev()
        .filter(|mask| mask.count_ones() as usize == k)
    {
        let set: Vec<usize> = (0..n).filter(|i| mask >> (n - 1 - i) & 1 == 1).collect();
        let value = measure(&set);
        if value < best.0 {
            best = (value, set);
        }
    }
    best.1
}

fn krum(rows: &Vectors, among: &[usize], f: usize, m: usize) -> Vec<usize> {
    let count = among.len().saturating_sub(f + 2).max(1);
    let score = |i: usize| -> f64 {
        let others = among.iter().filter(|&&j| j != i);
        let mut row: Vec<f64> = others
            .map(|&j| norm(&minus(&rows[i], &rows[j])).powi(2))
            .collect();
        row.sort_by(f64::total_cmp);
        row.iter().take(count).sum()
    };
    let mut order: Vec<(f64, usize)> = among.iter().map(|&i| (score(i), i)).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    order.iter().take(m).map(|(_, i)| *i).collect()
}

fn nearest(rows: &Vectors, to: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rows.len()).collect();
    let distance = |i: usize| norm(&minus(&rows[i], to));
    order.sort_by(|&a, &b| distance(a).total_cmp(&distance(b)));
    order.truncate(k);
    order
}

fn around_median(mut column: Vec<f64>, keep: usize) -> f64 {
    let n = column.len();
    column.sort_by(f64::total_cmp);
    let median = (column[(n - 1) / 2] + column[n / 2]) / 2.0;
    column.sort_by(|a, b| (a - median).abs().total_cmp(&(b - median).abs()));
    mean(&column[..keep])
}

fn columns(rows: &Vectors, reduce: impl Fn(Vec<f64>) -> f64) -> Vec<f64> {
    (0..rows[0].len())
        .map(|k| reduce(rows.iter().map(|row| row[k]).collect()))
        .collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn mean_at(rows: &Vectors, at: &[usize]) -> Vec<f64> {
    columns(rows, |column| {
        mean(&at.iter().map(|&i| column[i]).collect::<Vec<f64>>())
    })
}

fn weighted(rows: &Vectors, weights: &[f64]) -> Vec<f64> {
    let total: f64 = weights.iter().sum();
    columns(rows, |column| {
        column.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>() / total
    })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn norm(a: &[f64]) -> f64 {
    dot(a, a).sqrt()
}

fn minus(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(x, y)| x - y).collect()
}

fn scaled(a: &[f64], factor: f64) -> Vec<f64> {
    a.iter().map(|x| x * factor).collect()
}
