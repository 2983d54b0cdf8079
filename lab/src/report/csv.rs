//! One line a cell, every field of it.

use std::fmt::Write;

use crate::cell::{Cell, Training};
use crate::store::Finished;

const HEADER: &str = "dataset,model,partition,honest,byzantine,tolerated,pipeline,history,attack,seed,\
                      rounds,batch_size,learning_rate,momentum,weight_decay,logit_adjustment,averaging,\
                      evaluate_every,search_every,search_coordinates,best,last,seconds,remark";

/// The cells in their order, with a header. Accuracies are shares; empty where a pipeline refuses its
/// numbers.
#[must_use]
pub fn csv(finished: &[Finished]) -> String {
    let mut out = format!("{HEADER}\n");
    for Finished { cell, outcome } in finished {
        let Cell {
            dataset,
            model,
            partition,
            honest,
            byzantine,
            tolerated,
            pipeline,
            history,
            attack,
            training,
            seed,
        } = cell;
        let Training {
            rounds,
            batch_size,
            learning_rate,
            momentum,
            weight_decay,
            logit_adjustment,
            averaging,
            evaluate_every,
            search_every,
            search_coordinates,
        } = training;
        let share = |share: Option<f64>| share.map_or_else(String::new, |x| format!("{x:.4}"));
        let (best, last) = (share(outcome.best()), share(outcome.last()));
        let pipeline = quoted(pipeline);
        let remark = quoted(outcome.remark.as_deref().unwrap_or_default());
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "{dataset},{model},{partition},{honest},{byzantine},{tolerated},{pipeline},{history},{attack},{seed},\
             {rounds},{batch_size},{learning_rate},{momentum},{weight_decay},{logit_adjustment},{averaging},\
             {evaluate_every},{search_every},{search_coordinates},{best},{last},{:.2},{remark}",
            outcome.seconds,
        );
    }
    out
}

/// RFC 4180: fields with commas, quotes or line breaks stand in quotes.
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}
