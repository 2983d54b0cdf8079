//! What the finished cells say: CSV for machines, Markdown and heat maps for people.

mod csv;
mod heatmap;
mod markdown;
mod summary;

use std::path::{Path, PathBuf};

use crate::error::LabError;
use crate::store::Finished;

pub use csv::csv;
pub use heatmap::{Panel, heat_map};
pub use markdown::markdown;
pub use summary::{Score, Summary};

/// Writes `cells.csv`, `tables.md`, `worst.svg` (heterogeneity by attackers, the worst attack of each) and
/// `attacks.svg` (defence by attack) into `dir`, and returns their paths.
///
/// # Errors
/// If a file cannot be written.
pub fn write(dir: &Path, finished: &[Finished]) -> Result<Vec<PathBuf>, LabError> {
    let summary = Summary::of(finished);
    let files = [
        ("cells.csv", csv(finished)),
        ("tables.md", markdown(finished, &summary)),
        (
            "worst.svg",
            heat_map("Accuracy under the worst attack", &summary.worst_panels()),
        ),
        (
            "attacks.svg",
            heat_map("Accuracy under each attack", &summary.attack_panels()),
        ),
    ];
    let mut paths = Vec::new();
    for (name, text) in files {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|source| LabError::Io {
            path: path.clone(),
            source,
        })?;
        paths.push(path);
    }
    Ok(paths)
}
