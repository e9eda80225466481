//! Rows that are new to their table, by `COPY`, which need not look for each row first: what the first copy of a table consists of.
//!
//! Whether they are new is a guess, from a few of their keys. If it was wrong, or the server refuses a row, it has all of them back at the savepoint, and they are
//! written like any others. Where that happens the next guesses are left out, twice as many each time.

use std::sync::atomic::{AtomicU32, Ordering};

use super::error;
use super::sql;
use super::write::{Record, Statement, Verb};
use crate::postgres::PostgresError;
use crate::postgres::connection::Connection;
use crate::sink::SinkError;

/// With fewer rows the guess costs more than it is worth.
const ROWS_MIN: usize = 100;
/// So many keys are looked for.
const PROBES: usize = 16;
/// No more guesses than this are left out before the next.
const SPARED_MAX: u32 = 256;

/// How guesses about a table have gone.
#[derive(Debug, Default)]
pub(super) struct Guesses {
    /// So many are left out before the next.
    left: AtomicU32,
    /// So many were, after the last one that was wrong.
    spared: AtomicU32,
}

impl Guesses {
    fn is_due(&self) -> bool {
        let left = self.left.load(Ordering::Relaxed);
        self.left.store(left.saturating_sub(1), Ordering::Relaxed);
        left == 0
    }

    fn was(&self, right: bool) {
        let spared = if right { 0 } else { (self.spared.load(Ordering::Relaxed) * 2).clamp(1, SPARED_MAX) };
        self.spared.store(spared, Ordering::Relaxed);
        self.left.store(spared, Ordering::Relaxed);
    }
}

/// Writes rows that are to be upserted, if they are new; whether they have been. If not, nothing has changed.
pub(super) async fn load(
    connection: &mut Connection,
    statement: &Statement<'_>,
    records: &[Record<'_>],
    target: &str,
) -> Result<bool, SinkError> {
    let guesses = &statement.table.guesses;
    if statement.verb != Verb::Upsert || records.len() < ROWS_MIN || !guesses.is_due() {
        return Ok(false);
    }
    if !seem_new(connection, statement, records, target).await? {
        guesses.was(false);
        return Ok(false);
    }
    let (table, names) = (sql::table(&statement.table.place), statement.names());
    // While rows are sent nothing is read, so what a trigger says must not fill the way back.
    let asked = format!(
        "SAVEPOINT walbridge; SET LOCAL client_min_messages = error; COPY {table} ({names}) FROM STDIN; RELEASE SAVEPOINT walbridge"
    );
    let copied = connection.copy_in("copying rows", &asked, &lines(records)).await;
    guesses.was(copied.is_ok());
    match copied {
        Ok(()) => Ok(true),
        Err(PostgresError::Server { .. }) => {
            let back = "ROLLBACK TO SAVEPOINT walbridge; RELEASE SAVEPOINT walbridge";
            let done = connection.query("going back to before the rows", back).await;
            done.map_err(|cause| error::judge(target, cause))?;
            Ok(false)
        }
        Err(cause) => Err(error::judge(target, cause)),
    }
}

/// Whether none of a few of them is there.
async fn seem_new(
    connection: &mut Connection,
    statement: &Statement<'_>,
    records: &[Record<'_>],
    target: &str,
) -> Result<bool, SinkError> {
    let Some(columns) = statement.table.key_columns() else { return Ok(false) };
    let keys = Statement { verb: Verb::Delete, table: statement.table, columns };
    let some = records.iter().step_by(records.len().div_ceil(PROBES)).filter_map(|record| statement.key_of(record));
    let asked = format!("SELECT EXISTS ({})", keys.select(&some.collect::<Vec<_>>(), &[]));
    let rows = connection.query("looking for rows", &asked).await.map_err(|cause| error::judge(target, cause))?;
    Ok(rows.first().and_then(|row| row.first()).and_then(Option::as_deref) == Some(b"f"))
}

/// In `COPY`'s text form.
fn lines(records: &[Record<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(records.iter().map(Record::bytes).sum());
    for record in records {
        for (index, value) in record.values.iter().enumerate() {
            if index > 0 {
                out.push(b'\t');
            }
            let Some(value) = value else {
                out.extend_from_slice(b"\\N");
                continue;
            };
            for &byte in value.iter() {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    b'\r' => out.extend_from_slice(b"\\r"),
                    b'\t' => out.extend_from_slice(b"\\t"),
                    byte => out.push(byte),
                }
            }
        }
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    #[test]
    fn no_value_ends_a_column_or_a_row_early() {
        let values = [Some(&b"a\tb\nc\rd\\N"[..]), None, Some(b""), Some(b"\\.")];
        let record = Record { at: 0, values: values.into_iter().map(|value| value.map(Cow::Borrowed)).collect() };
        let text = String::from_utf8(lines(&[record.clone(), record])).expect("UTF-8");
        assert_eq!(text, "a\\tb\\nc\\rd\\\\N\t\\N\t\t\\\\.\n".repeat(2));
    }

    #[test]
    fn guesses_that_are_wrong_are_left_out_and_one_that_is_right_is_followed_by_another() {
        let guesses = Guesses::default();
        let mut made = Vec::new();
        for turn in 0..40 {
            if guesses.is_due() {
                made.push(turn);
                guesses.was(false);
            }
        }
        assert_eq!(made, [0, 2, 5, 10, 19, 36]);
        guesses.was(true);
        assert!(guesses.is_due() && guesses.is_due());
    }
}
