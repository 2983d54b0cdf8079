//! Cells of one defence, partition, number of attackers and attack, averaged over the seeds.

use std::collections::BTreeMap;

use crate::cell::Cell;
use crate::history::History;
use crate::report::heatmap::Panel;
use crate::store::Finished;

/// Accuracy over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    /// The best look of the mean curve, as in ByzFL's tables.
    pub best: f64,
    /// The mean after the last round.
    pub last: f64,
    /// Seeds.
    pub seeds: usize,
}

/// Everything by defence, partition, f and attack. Names are in the order in which the cells have them.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Pipeline and history.
    pub defences: Vec<String>,
    /// Partitions.
    pub partitions: Vec<String>,
    /// Attackers that the pipelines tolerate.
    pub tolerated: Vec<u32>,
    /// Attacks, `none` among them if there are such cells.
    pub attacks: Vec<String>,
    scores: BTreeMap<[usize; 4], Score>,
}

impl Summary {
    /// Averages the cells, all of one [`Matrix`](crate::Matrix): what else than the above and the seed
    /// differs between cells is not told apart. Cells that were refused have no score.
    #[must_use]
    pub fn of(finished: &[Finished]) -> Self {
        let mut summary = Self {
            defences: Vec::new(),
            partitions: Vec::new(),
            tolerated: Vec::new(),
            attacks: Vec::new(),
            scores: BTreeMap::new(),
        };
        let mut curves: BTreeMap<[usize; 4], Vec<&[f64]>> = BTreeMap::new();
        for Finished { cell, outcome } in finished {
            let key = [
                position(&mut summary.defences, defence(cell)),
                position(&mut summary.partitions, cell.partition.to_string()),
                position(&mut summary.tolerated, cell.tolerated),
                position(&mut summary.attacks, cell.attack.to_string()),
            ];
            if !outcome.accuracy.is_empty() {
                curves.entry(key).or_default().push(&outcome.accuracy);
            }
        }
        summary.scores = curves
            .into_iter()
            .map(|(key, curves)| (key, score(&curves)))
            .collect();
        summary
    }

    /// The score of one attack.
    #[must_use]
    pub fn score(
        &self,
        defence: usize,
        partition: usize,
        f: usize,
        attack: usize,
    ) -> Option<Score> {
        self.scores.get(&[defence, partition, f, attack]).copied()
    }

    /// The score without attackers.
    #[must_use]
    pub fn unattacked(&self, defence: usize, partition: usize, f: usize) -> Option<Score> {
        let none = self.attacks.iter().position(|attack| attack == "none")?;
        self.score(defence, partition, f, none)
    }

    /// The lowest score by `by` over all attacks, and the attack's position.
    #[must_use]
    pub fn worst(
        &self,
        defence: usize,
        partition: usize,
        f: usize,
        by: fn(&Score) -> f64,
    ) -> Option<(Score, usize)> {
        let attacks = (0..self.attacks.len()).filter(|&attack| self.attacks[attack] != "none");
        let scores =
            attacks.filter_map(|attack| Some((self.score(defence, partition, f, attack)?, attack)));
        scores.min_by(|(a, _), (b, _)| by(a).total_cmp(&by(b)))
    }

    /// A panel for each defence: partitions by attackers.
    pub(crate) fn worst_panels(&self) -> Vec<Panel> {
        let panel = |defence: usize| {
            let worst = |p, f| Some(self.worst(defence, p, f, |score| score.best)?.0.best);
            Panel {
                title: self.defences[defence].clone(),
                rows: self.partitions.clone(),
                columns: self.tolerated.iter().map(|f| format!("f = {f}")).collect(),
                values: (0..self.partitions.len())
                    .map(|p| (0..self.tolerated.len()).map(|f| worst(p, f)).collect())
                    .collect(),
            }
        };
        (0..self.defences.len()).map(panel).collect()
    }

    /// A panel for each partition and number of attackers: defences by attacks.
    pub(crate) fn attack_panels(&self) -> Vec<Panel> {
        let panel = |p: usize, f: usize| {
            let best = |d, a| Some(self.score(d, p, f, a)?.best);
            Panel {
                title: format!("{}, f = {}", self.partitions[p], self.tolerated[f]),
                rows: self.defences.clone(),
                columns: self.attacks.clone(),
                values: (0..self.defences.len())
                    .map(|d| (0..self.attacks.len()).map(|a| best(d, a)).collect())
                    .collect(),
            }
        };
        let partitions = 0..self.partitions.len();
        partitions
            .flat_map(|p| (0..self.tolerated.len()).map(move |f| (p, f)))
            .map(|(p, f)| panel(p, f))
            .collect()
    }
}

/// Where `value` is in the list, at the end of which it is put if it is new.
fn position<T: PartialEq>(list: &mut Vec<T>, value: T) -> usize {
    list.iter()
        .position(|known| *known == value)
        .unwrap_or_else(|| {
            list.push(value);
            list.len() - 1
        })
}

fn score(curves: &[&[f64]]) -> Score {
    let looks = curves.iter().map(|curve| curve.len()).min().unwrap_or(0);
    let mean = |at: &dyn Fn(&[f64]) -> f64| {
        curves.iter().map(|curve| at(curve)).sum::<f64>() / curves.len() as f64
    };
    Score {
        best: (0..looks)
            .map(|look| mean(&|curve| curve[look]))
            .fold(0.0, f64::max),
        last: mean(&|curve| curve.last().copied().unwrap_or(0.0)),
        seeds: curves.len(),
    }
}

fn defence(cell: &Cell) -> String {
    match cell.history {
        History::None => cell.pipeline.clone(),
        history => format!("{}; history {history}", cell.pipeline),
    }
}
