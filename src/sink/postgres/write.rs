//! Statements that write many rows, and what the server refuses of them.
//!
//! Values go as text, an array for each column, and are cast to the columns' types there: one statement for a thousand rows, whatever their types. If the
//! server refuses it for a row's sake, the savepoint before it is gone back to and the rows are tried in halves, down to the one.

use std::collections::BTreeSet;

use super::error;
use super::found::FoundColumn;
use super::load::load;
use super::sql::{self, Values};
use super::tables::Table;
use crate::postgres::PostgresError;
use crate::postgres::connection::Connection;
use crate::sink::SinkError;

/// Rows of one statement, and about how long it is.
const ROWS_MAX: usize = 5_000;
const BYTES_MAX: usize = 8 << 20;
/// The server reads no longer statement, and escapes may double what is in it.
const ROW_BYTES_MAX: usize = 400 << 20;

/// What a statement does with the rows it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    /// Makes them, or gives those that are there these values.
    Upsert,
    /// Gives those that are there these values, and leaves their other columns untouched.
    Update,
    /// Removes them.
    Delete,
}

/// A statement but for its rows.
pub(super) struct Statement<'a> {
    pub(super) verb: Verb,
    pub(super) table: &'a Table,
    /// The columns that the rows bring, the key's among them.
    pub(super) columns: Vec<&'a FoundColumn>,
}

/// A row for a statement.
#[derive(Clone, Debug)]
pub(super) struct Record<'a> {
    /// Where in the run it stands.
    pub(super) at: usize,
    /// In the order of the statement's columns.
    pub(super) values: Values<'a>,
}

impl Record<'_> {
    pub(super) fn bytes(&self) -> usize {
        self.values.iter().map(|value| value.as_ref().map_or(4, |value| value.len().saturating_add(3))).sum()
    }
}

/// What became of the rows.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Those that were there, of an [`Verb::Update`].
    pub(super) met: BTreeSet<usize>,
    /// Those that the server refuses, and why.
    pub(super) refused: Vec<(usize, String)>,
}

/// Writes rows of different keys, in the transaction that is open.
pub(super) async fn write(
    connection: &mut Connection,
    statement: &Statement<'_>,
    records: Vec<Record<'_>>,
    target: &str,
) -> Result<Written, SinkError> {
    let mut written = Written::default();
    for records in cut(records) {
        if !load(connection, statement, &records, target).await? {
            write_by_halves(connection, statement, records, target, &mut written).await?;
        }
    }
    Ok(written)
}

async fn write_by_halves(
    connection: &mut Connection,
    statement: &Statement<'_>,
    records: Vec<Record<'_>>,
    target: &str,
    written: &mut Written,
) -> Result<(), SinkError> {
    let mut waiting = vec![records];
    while let Some(records) = waiting.pop() {
        if let [record] = records.as_slice()
            && record.bytes() > ROW_BYTES_MAX
        {
            written
                .refused
                .push((record.at, format!("it is longer than the {ROW_BYTES_MAX} bytes that go into a statement")));
            continue;
        }
        let asked = format!("SAVEPOINT walbridge; {}; RELEASE SAVEPOINT walbridge", statement.sql(&records));
        match connection.query("writing rows", &asked).await {
            Ok(rows) => {
                let number =
                    |row: &Vec<Option<bytes::Bytes>>| std::str::from_utf8(row.first()?.as_deref()?).ok()?.parse().ok();
                let met =
                    rows.iter().filter_map(number).filter_map(|number: usize| records.get(number.checked_sub(1)?));
                written.met.extend(met.map(|record| record.at));
            }
            Err(PostgresError::Server { source, .. }) if error::refuses_row(&source) => {
                let back = "ROLLBACK TO SAVEPOINT walbridge; RELEASE SAVEPOINT walbridge";
                let done = connection.query("going back to before the rows", back).await;
                done.map_err(|cause| error::judge(target, cause))?;
                halve(records, source.to_string(), &mut waiting, written);
            }
            Err(cause) => return Err(error::judge(target, cause)),
        }
    }
    Ok(())
}

/// The first half is tried first.
fn halve<'a>(mut records: Vec<Record<'a>>, why: String, waiting: &mut Vec<Vec<Record<'a>>>, written: &mut Written) {
    if let [record] = records.as_slice() {
        written.refused.push((record.at, why));
        return;
    }
    let rest = records.split_off(records.len() / 2);
    waiting.extend([rest, records]);
}

/// Into statements.
fn cut(mut records: Vec<Record<'_>>) -> Vec<Vec<Record<'_>>> {
    let mut pieces = Vec::new();
    while !records.is_empty() {
        let mut bytes = 0_usize;
        let fits = records.iter().take(ROWS_MAX).take_while(|record| {
            bytes = bytes.saturating_add(record.bytes());
            bytes <= BYTES_MAX
        });
        let rest = records.split_off(fits.count().max(1));
        pieces.push(std::mem::replace(&mut records, rest));
    }
    pieces
}

impl Statement<'_> {
    /// The columns' names, as SQL has them.
    pub(super) fn names(&self) -> String {
        sql::names(self.columns.iter().map(|column| column.name.as_str()))
    }

    /// The values of a record's key; `None`: one is NULL, or not brought.
    pub(super) fn key_of<'b>(&self, record: &Record<'b>) -> Option<Record<'b>> {
        let value = |name: &String| {
            let index = self.columns.iter().position(|column| column.name == *name)?;
            Some(Some(record.values.get(index)?.clone()?))
        };
        Some(Record { at: record.at, values: self.table.key.iter().map(value).collect::<Option<_>>()? })
    }

    fn sql(&self, records: &[Record<'_>]) -> String {
        let (table, rows) = (sql::table(&self.table.place), self.rows(records));
        let key = sql::names(self.table.key.iter().map(String::as_str));
        let names = self.names();
        let joined = |separator: &str, write: fn(&str) -> String| {
            self.columns.iter().map(|column| write(&sql::identifier(&column.name))).collect::<Vec<_>>().join(separator)
        };
        let is_row = self.is_row();
        match self.verb {
            Verb::Upsert => format!(
                "INSERT INTO {table} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {rows} ON CONFLICT ({key}) DO UPDATE SET {}",
                joined(", ", |name| format!("{name} = EXCLUDED.{name}"))
            ),
            Verb::Update => format!(
                "UPDATE {table} AS t SET {} FROM {rows} WHERE {is_row} RETURNING s.\"walbridge number\"",
                joined(", ", |name| format!("{name} = s.{name}"))
            ),
            Verb::Delete => format!("DELETE FROM {table} AS t USING {rows} WHERE {is_row}"),
        }
    }

    /// Reads these columns of the rows that are there, each behind its record's number from 1.
    pub(super) fn select(&self, records: &[Record<'_>], columns: &[String]) -> String {
        let columns: String = columns.iter().map(|name| format!(", t.{}", sql::identifier(name))).collect();
        let (table, rows) = (sql::table(&self.table.place), self.rows(records));
        format!("SELECT s.\"walbridge number\"{columns} FROM {rows} JOIN {table} AS t ON {}", self.is_row())
    }

    fn is_row(&self) -> String {
        let names = self.table.key.iter().map(|name| sql::identifier(name));
        names.map(|name| format!("t.{name} = s.{name}")).collect::<Vec<_>>().join(" AND ")
    }

    /// The rows as a table `s`, numbered from 1.
    fn rows(&self, records: &[Record<'_>]) -> String {
        let mut arrays = Vec::with_capacity(self.columns.len());
        let mut columns = Vec::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter().enumerate() {
            let values = records.iter().map(|record| record.values.get(index).and_then(Option::as_deref));
            arrays.push(format!("{}::text[]", sql::array(values)));
            columns.push(format!("x{index}::{} AS {}", column.cast, sql::identifier(&column.name)));
        }
        let (arrays, columns) = (arrays.join(", "), columns.join(", "));
        let names: Vec<String> = (0..self.columns.len()).map(|index| format!("x{index}")).collect();
        format!(
            "(SELECT {columns}, number AS \"walbridge number\" FROM unnest({arrays}) WITH ORDINALITY AS given({}, number)) AS s",
            names.join(", ")
        )
    }
}
