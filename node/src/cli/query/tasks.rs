//! `cifer query tasks`.

use super::super::client::ClientArgs;
use super::super::global::Global;
use super::super::output::{print, table};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    client: ClientArgs,
}

pub(crate) fn run(global: &Global, args: Args) -> eyre::Result<()> {
    let tasks = super::ask(
        global,
        &args.client,
        |c| async move { Ok(c.tasks().await?) },
    )?;
    if global.json {
        return tasks
            .iter()
            .try_for_each(|task| print(serde_json::to_string(task)?));
    }
    let rows = tasks.iter().map(|task| {
        [
            task.task.to_string(),
            task.name.clone(),
            task.rule.to_string(),
            task.current_round.to_string(),
            if task.finished {
                "finished".to_owned()
            } else {
                format!("{:?}", task.phase).to_lowercase()
            },
            task.model_bytes.to_string(),
            task.model_root.to_string(),
        ]
    });
    print(
        table(
            ["task", "name", "rule", "round", "phase", "bytes", "model"],
            rows,
        )
        .trim_end(),
    )
}
