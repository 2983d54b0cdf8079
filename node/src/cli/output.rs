//! Results on standard output: text for people or JSON, and no panic when nobody reads it.

use std::fmt::Display;
use std::io::{self, Write};

use cifer_genesis::TimestampMs;
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

/// Block time as a date in UTC, to the millisecond.
pub(crate) fn time(TimestampMs(since_epoch): TimestampMs) -> String {
    let (seconds, milliseconds) = (since_epoch / 1_000, since_epoch % 1_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{milliseconds:03} UTC")
}

/// Year, month and day of a day since 1970-01-01 in the Gregorian calendar. Years are counted from
/// March, so that the leap day is the last one: H. Hinnant, *chrono-Compatible Low-Level Date
/// Algorithms*, 2013, `civil_from_days`.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let leap_days = day_of_era / 1_460 + day_of_era / 146_096 - day_of_era / 36_524;
    let year_of_era = (day_of_era - leap_days) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (milliseconds, date) in [
            (0, "1970-01-01 00:00:00.000 UTC"),
            (951_782_399_999, "2000-02-28 23:59:59.999 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00.000 UTC"),
            (951_868_800_000, "2000-03-01 00:00:00.000 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00.000 UTC"),
            (253_402_300_799_999, "9999-12-31 23:59:59.999 UTC"),
        ] {
            assert_eq!(time(TimestampMs(milliseconds)), date);
        }
        // A hostile gateway may claim any time.
        assert!(time(TimestampMs(u64::MAX)).ends_with(" UTC"));
    }

    #[test]
    fn tables_line_up_and_have_no_trailing_space() {
        let text = table(["a", "long"], [["1".to_owned(), "2".to_owned()]]);
        assert_eq!(text, "a  long\n1  2\n");
    }
}
