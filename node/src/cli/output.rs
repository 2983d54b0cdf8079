//! Results on standard output: text for people or JSON, and no panic when nobody reads it.

use std::fmt::Display;
use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// Standard output was closed by its reader; there is nothing left to say.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
pub(crate) struct ClosedOutput;

/// Writes one line or one block of lines.
pub(crate) fn print(text: impl Display) -> eyre::Result<()> {
    write_all(format!("{text}\n").as_bytes())
}

/// Writes bytes as they are.
pub(crate) fn write_all(bytes: &[u8]) -> eyre::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ClosedOutput.into()),
        result => Ok(result?),
    }
}

/// Writes a value as one line of JSON, or as text for people.
pub(crate) fn show<T: Serialize>(
    json: bool,
    value: &T,
    text: impl FnOnce(&T) -> String,
) -> eyre::Result<()> {
    if json {
        print(serde_json::to_string(value)?)
    } else {
        print(text(value).trim_end())
    }
}

/// A remark for people that is no result.
pub(crate) fn note(text: impl Display) {
    // Nobody may be listening.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A table with a header line and no frame, so that it can be cut with the usual tools.
pub(crate) fn table<const N: usize>(
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    trim_lines(&table.to_string())
}

/// Names and values, one a line.
pub(crate) fn fields<const N: usize>(fields: [(&str, String); N]) -> String {
    let width = fields
        .iter()
        .map(|(name, _)| name.len())
        .max()
        .unwrap_or_default();
    fields
        .iter()
        .map(|(name, value)| format!("{name:width$}  {value}\n"))
        .collect()
}

fn trim_lines(text: &str) -> String {
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// The first digits of a hash: enough to tell two apart by eye.
pub(crate) fn short(hash: impl Display) -> String {
    hash.to_string().chars().take(12).collect()
}

/// The value, or a dash.
pub(crate) fn or_dash(value: Option<impl Display>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Whether an answer was checked, in words.
pub(crate) fn trust(verified: bool) -> &'static str {
    if verified {
        "verified against genesis"
    } else {
        "not verified: the gateway's word"
    }
}
