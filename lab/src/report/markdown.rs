//! Tables for people.

use std::fmt::Write;

use crate::report::summary::{Score, Summary};
use crate::store::Finished;

/// Worst cases by heterogeneity and attackers for each defence, accuracy without attackers beside them, and
/// every attack on its own.
#[must_use]
pub fn markdown(finished: &[Finished], summary: &Summary) -> String {
    let mut out = String::new();
    if let Some(first) = finished.first() {
        let (cell, training) = (&first.cell, &first.cell.training);
        let seconds: f64 = finished
            .iter()
            .map(|finished| finished.outcome.seconds)
            .sum();
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "{}, {}, {} honest contributors, {} rounds of batches of {}, rate {}, momentum {}, weight decay {}; \
             {} trainings, {seconds:.0} s in all.\n",
            cell.dataset,
            cell.model,
            cell.honest,
            training.rounds,
            training.batch_size,
            training.learning_rate,
            training.momentum,
            training.weight_decay,
            finished.len(),
        );
    }
    worst(&mut out, summary, "Worst attack, best look", |score| {
        score.best
    });
    worst(
        &mut out,
        summary,
        "Worst attack, after the last round",
        |score| score.last,
    );
    attacks(&mut out, summary);
    out
}

fn worst(out: &mut String, summary: &Summary, title: &str, by: fn(&Score) -> f64) {
    let _ = writeln!(out, "## {title}\n");
    let f: Vec<String> = summary
        .tolerated
        .iter()
        .map(|f| format!("f = {f}"))
        .collect();
    let plain: Vec<String> = f.iter().map(|f| format!("{f}, nobody attacks")).collect();
    let unattacked = summary.attacks.iter().any(|attack| attack == "none");
    let attacked = summary.attacks.iter().any(|attack| attack != "none");
    let mut header = vec!["defence".to_owned(), "partition".to_owned()];
    header.extend(f.into_iter().filter(|_| attacked));
    header.extend(plain.into_iter().filter(|_| unattacked));
    row(out, &header);
    rule(out, header.len());
    for (d, defence) in summary.defences.iter().enumerate() {
        for (p, partition) in summary.partitions.iter().enumerate() {
            let mut cells = vec![format!("`{defence}`"), partition.clone()];
            let columns = 0..summary.tolerated.len();
            if attacked {
                cells.extend(columns.clone().map(|f| match summary.worst(d, p, f, by) {
                    Some((score, attack)) => {
                        format!("{} ({})", share(Some(by(&score))), summary.attacks[attack])
                    }
                    None => share(None),
                }));
            }
            if unattacked {
                cells.extend(columns.map(|f| share(summary.unattacked(d, p, f).map(|s| by(&s)))));
            }
            row(out, &cells);
        }
    }
    out.push('\n');
}

fn attacks(out: &mut String, summary: &Summary) {
    out.push_str("## Every attack, best look\n\n");
    let mut header = vec!["defence".to_owned(), "partition".to_owned(), "f".to_owned()];
    header.extend(summary.attacks.iter().cloned());
    row(out, &header);
    rule(out, header.len());
    for (d, defence) in summary.defences.iter().enumerate() {
        for (p, partition) in summary.partitions.iter().enumerate() {
            for (f, tolerated) in summary.tolerated.iter().enumerate() {
                let mut cells = vec![
                    format!("`{defence}`"),
                    partition.clone(),
                    tolerated.to_string(),
                ];
                cells.extend(
                    (0..summary.attacks.len())
                        .map(|a| share(summary.score(d, p, f, a).map(|score| score.best))),
                );
                row(out, &cells);
            }
        }
    }
}

fn share(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{share:.3}"))
}

fn row(out: &mut String, cells: &[String]) {
    let _ = writeln!(out, "| {} |", cells.join(" | "));
}

fn rule(out: &mut String, columns: usize) {
    let _ = writeln!(out, "|{}", "---|".repeat(columns));
}
