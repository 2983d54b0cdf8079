//! Every combination of some choices, as cells.

use cifer_training::{DatasetKind, ModelKind, Partition};

use crate::attack::AttackSpec;
use crate::cell::{Cell, Training};
use crate::history::History;

/// The choices. Each list is one dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    /// The data.
    pub dataset: DatasetKind,
    /// The model.
    pub model: ModelKind,
    /// Honest contributors.
    pub honest: u32,
    /// How contributors train.
    pub training: Training,
    /// Heterogeneity.
    pub partitions: Vec<Partition>,
    /// Attackers beside the honest contributors; the pipelines are made for this f.
    pub byzantine: Vec<u32>,
    /// What the validators run.
    pub pipelines: Vec<String>,
    /// What they do with earlier rounds.
    pub histories: Vec<History>,
    /// What attackers do. With [`AttackSpec::NONE`] there are none, and pipelines still tolerate f.
    pub attacks: Vec<AttackSpec>,
    /// One training for each.
    pub seeds: Vec<u64>,
}

impl Matrix {
    /// The cells, in an order in which the early ones say something: seeds last, attackers before that.
    #[must_use]
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for &seed in &self.seeds {
            for &partition in &self.partitions {
                for &history in &self.histories {
                    for pipeline in &self.pipelines {
                        for &tolerated in &self.byzantine {
                            for &attack in &self.attacks {
                                cells.push(Cell {
                                    dataset: self.dataset,
                                    model: self.model,
                                    partition,
                                    honest: self.honest,
                                    byzantine: if attack.is_none() { 0 } else { tolerated },
                                    tolerated,
                                    pipeline: pipeline.clone(),
                                    history,
                                    attack,
                                    training: self.training,
                                    seed,
                                });
                            }
                        }
                    }
                }
            }
        }
        cells
    }
}
