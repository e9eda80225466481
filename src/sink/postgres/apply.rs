//! A run of mutations, written in the transaction that is open.
//!
//! In a run each key is met once but for the delete of a row that moved, so what matters is that deletes come before puts, and that what a moved row
//! lacks is read before anything is written: the row that it was may be gone, or another's, after that. A truncation is a barrier.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::error;
use super::ledger::Ledger;
use super::sql::{self, Values};
use super::tables::{Table, Tables};
use super::write::{Record, Statement, Verb, write};
use crate::event::{Cell, Relation, Row, RowBuilder, TableName};
use crate::postgres::connection::{Connection, TextRow};
use crate::postgres::{PostgresError, ServerError};
use crate::project::key::plain;
use crate::project::mutation::{Document, Effect, Key, Mutation};
use crate::sink::{Rejection, SinkError, Staged};

/// What a run is written with.
pub(super) struct Writer<'a> {
    pub(super) connection: &'a mut Connection,
    pub(super) ledger: &'a Ledger,
    pub(super) tables: &'a mut Tables,
    /// For messages.
    pub(super) target: &'a str,
}

/// The puts of one version of a table, by their place in the run.
struct Group {
    relation: Arc<Relation>,
    puts: Vec<usize>,
}

impl Writer<'_> {
    /// Writes a coalesced run. Mutations that are left out (`false`) have been applied before.
    pub(super) async fn run(&mut self, run: &[Mutation], wanted: &[bool]) -> Result<Staged, SinkError> {
        let mut staged = Staged::default();
        let moved = self.complete_moved(run, wanted, &mut staged).await?;
        let all: Vec<usize> = (0..run.len()).filter(|&at| wanted.get(at) == Some(&true)).collect();
        let is_clear = |at: usize| matches!(run.get(at), Some(Mutation { effect: Effect::Clear(_), .. }));
        for stretch in all.chunk_by(|&one, &other| !is_clear(one) && !is_clear(other)) {
            match stretch.first().and_then(|&at| run.get(at)) {
                Some(Mutation { effect: Effect::Clear(table), .. }) => self.clear(table).await?,
                _ => self.stretch(run, stretch, &moved, &mut staged).await?,
            }
        }
        staged.incomplete.sort_unstable();
        Ok(staged)
    }

    /// Rows that moved, with what they lack, by their places in the run: it stands under keys that the run itself removes, so it is read before all else.
    async fn complete_moved(
        &mut self,
        run: &[Mutation],
        wanted: &[bool],
        staged: &mut Staged,
    ) -> Result<HashMap<usize, Row>, SinkError> {
        let mut moved = HashMap::new();
        for (at, mutation) in run.iter().enumerate().filter(|(at, _)| wanted.get(*at) == Some(&true)) {
            if let Effect::Put { document, moved_from: Some(from) } = &mutation.effect
                && document.row.lacks_values()
            {
                match self.completed(document, from).await? {
                    Some(row) => _ = moved.insert(at, row),
                    None => staged.incomplete.push(at),
                }
            }
        }
        Ok(moved)
    }

    /// Empties a table. One that others refer to can only be emptied row by row.
    async fn clear(&mut self, name: &TableName) -> Result<(), SinkError> {
        let Some(table) = self.tables.written(self.connection, name, self.target).await? else { return Ok(()) };
        let table = sql::table(&table.place);
        let asked = format!("SAVEPOINT walbridge; TRUNCATE {table}; RELEASE SAVEPOINT walbridge");
        match self.connection.query("emptying a table", &asked).await {
            Ok(_) => Ok(()),
            Err(PostgresError::Server { source: ServerError { sqlstate, .. }, .. })
                if matches!(sqlstate.as_str(), "0A000" | "42501") =>
            {
                let asked =
                    format!("ROLLBACK TO SAVEPOINT walbridge; RELEASE SAVEPOINT walbridge; DELETE FROM {table}");
                self.ask("emptying a table", &asked).await.map(drop)
            }
            Err(cause) => Err(error::judge(self.target, cause)),
        }
    }

    async fn stretch(
        &mut self,
        run: &[Mutation],
        stretch: &[usize],
        moved: &HashMap<usize, Row>,
        staged: &mut Staged,
    ) -> Result<(), SinkError> {
        let mut groups: Vec<Group> = Vec::new();
        let mut deletes: Vec<(TableName, Vec<(usize, &[u8])>)> = Vec::new();
        for &at in stretch {
            let Some(mutation) = run.get(at) else { continue };
            match &mutation.effect {
                Effect::Put { document, moved_from } => {
                    if moved_from.is_some() && document.row.lacks_values() && !moved.contains_key(&at) {
                        continue;
                    }
                    match groups.iter_mut().find(|group| Arc::ptr_eq(&group.relation, &document.relation)) {
                        Some(group) => group.puts.push(at),
                        None => groups.push(Group { relation: document.relation.clone(), puts: vec![at] }),
                    }
                }
                Effect::Delete => {
                    // A row that the target cannot hold by its key was never put there.
                    let Some((name, values)) = plain::table(&mutation.key) else { continue };
                    match deletes.iter_mut().find(|(table, _)| *table == name) {
                        Some((_, keys)) => keys.push((at, values)),
                        None => deletes.push((name, vec![(at, values)])),
                    }
                }
                Effect::Clear(_) | Effect::Sweep { .. } | Effect::Append(_) => {}
            }
        }
        for (name, keys) in deletes {
            self.delete(run, &name, keys, staged).await?;
        }
        for group in groups {
            self.put(run, &group, moved, staged).await?;
        }
        Ok(())
    }

    async fn delete(
        &mut self,
        run: &[Mutation],
        name: &TableName,
        keys: Vec<(usize, &[u8])>,
        staged: &mut Staged,
    ) -> Result<(), SinkError> {
        // Nothing was ever put into it.
        let Some(table) = self.tables.written(self.connection, name, self.target).await? else { return Ok(()) };
        let records = keys.into_iter().filter_map(|(at, text)| {
            let values = plain::values(text, table.key.len())?.into_iter().map(Some).collect();
            Some(Record { at, values })
        });
        let refused = self.remove(&table, records.collect()).await?;
        let rejections =
            refused.into_iter().filter_map(|(at, reason)| Some(Rejection { mutation: run.get(at)?.clone(), reason }));
        staged.rejected.extend(rejections);
        Ok(())
    }

    /// Removes rows by their keys' values; tells which the server refuses to remove.
    async fn remove(&mut self, table: &Table, records: Vec<Record<'_>>) -> Result<Vec<(usize, String)>, SinkError> {
        let columns = table.key_columns().ok_or_else(|| self.gone(table))?;
        let statement = Statement { verb: Verb::Delete, table, columns };
        Ok(write(self.connection, &statement, records, self.target).await?.refused)
    }

    /// Puts rows of one version of a table: first those that lack values, which only those that are there can be given.
    async fn put(
        &mut self,
        run: &[Mutation],
        group: &Group,
        moved: &HashMap<usize, Row>,
        staged: &mut Staged,
    ) -> Result<(), SinkError> {
        let table = self.tables.fit(self.connection, self.ledger, &group.relation, self.target).await?;
        // A column that the server computes is not written.
        let columns: Vec<_> = group.relation.columns.iter().map(|column| table.column(&column.name)).collect();
        let mut by_columns: Vec<(Vec<usize>, Vec<Record<'_>>)> = Vec::new();
        for &at in &group.puts {
            let Some(Mutation { effect: Effect::Put { document, .. }, .. }) = run.get(at) else { continue };
            let row = moved.get(&at).unwrap_or(&document.row);
            let (mut brought, mut values) = (Vec::new(), Values::new());
            let written = row.cells().enumerate().filter(|(index, _)| columns.get(*index).is_some_and(Option::is_some));
            for (index, cell) in written {
                values.push(match cell {
                    Cell::Unchanged => continue,
                    Cell::Null => None,
                    Cell::Text(value) | Cell::Binary(value) => Some(Cow::Borrowed(value)),
                });
                brought.push(index);
            }
            match by_columns.iter_mut().find(|(columns, _)| *columns == brought) {
                Some((_, records)) => records.push(Record { at, values }),
                None => by_columns.push((brought, vec![Record { at, values }])),
            }
        }
        let whole = columns.iter().flatten().count();
        by_columns.sort_by_key(|(columns, _)| columns.len());
        for (brought, records) in by_columns {
            let verb = if brought.len() == whole { Verb::Upsert } else { Verb::Update };
            let columns = brought.iter().filter_map(|&index| columns.get(index).copied().flatten()).collect();
            let statement = Statement { verb, table: &table, columns };
            self.put_records(run, &statement, records, staged).await?;
        }
        Ok(())
    }

    async fn put_records(
        &mut self,
        run: &[Mutation],
        statement: &Statement<'_>,
        records: Vec<Record<'_>>,
        staged: &mut Staged,
    ) -> Result<(), SinkError> {
        let is_update = statement.verb == Verb::Update;
        let written = write(self.connection, statement, records.clone(), self.target).await?;
        let refused: BTreeSet<usize> = written.refused.iter().map(|(at, _)| *at).collect();
        if is_update {
            let missing =
                records.iter().map(|record| record.at).filter(|at| !written.met.contains(at) && !refused.contains(at));
            staged.incomplete.extend(missing);
        }
        if refused.is_empty() {
            return Ok(());
        }
        // What a refused row was before must not stay: a later change would be completed from it. And rows may have been in each other's way: the
        // values that one gave up stood there until the other's turn, so each is tried once more when all of them are out of the way.
        let again: Vec<Record<'_>> = records.into_iter().filter(|record| refused.contains(&record.at)).collect();
        let keys = again.iter().filter_map(|record| statement.key_of(record)).collect();
        self.remove(statement.table, keys).await?;
        let still = if is_update {
            written.refused
        } else {
            write(self.connection, statement, again, self.target).await?.refused
        };
        let rejections =
            still.into_iter().filter_map(|(at, reason)| Some(Rejection { mutation: run.get(at)?.clone(), reason }));
        staged.rejected.extend(rejections);
        Ok(())
    }

    /// The row with the values that it lacks, from what stands under its former key; `None` if they are not there.
    async fn completed(&mut self, document: &Document, from: &Key) -> Result<Option<Row>, SinkError> {
        let name = &document.relation.name;
        let Some(table) = self.tables.written(self.connection, name, self.target).await? else { return Ok(None) };
        let read = || {
            let (_, text) = plain::table(from)?;
            let values = plain::values(text, table.key.len())?;
            let key = table.key_columns()?.into_iter().zip(values);
            let wheres = key.map(|(column, value)| {
                let value = sql::array([Some(&*value)].into_iter());
                format!("{} = (({value})::text[])[1]::{}", sql::identifier(&column.name), column.cast)
            });
            let lacking =
                document.relation.columns.iter().zip(document.row.cells()).filter(|(_, cell)| *cell == Cell::Unchanged);
            let columns = lacking.map(|(column, _)| {
                table.column(&column.name).map(|column| format!("{}::text", sql::identifier(&column.name)))
            });
            let (columns, wheres) =
                (columns.collect::<Option<Vec<_>>>()?.join(", "), wheres.collect::<Vec<_>>().join(" AND "));
            Some(format!("SELECT {columns} FROM {} WHERE {wheres}", sql::table(&table.place)))
        };
        let Some(asked) = read() else { return Ok(None) };
        let rows = self.ask("reading what a moved row keeps", &asked).await?;
        let Some(found) = rows.first() else { return Ok(None) };
        let (mut builder, mut found) = (RowBuilder::default(), found.iter());
        for cell in document.row.cells() {
            builder.push(match cell {
                Cell::Unchanged => found.next().and_then(Option::as_deref).map_or(Cell::Null, Cell::Text),
                brought => brought,
            });
        }
        Ok(Some(builder.finish()))
    }

    async fn ask(&mut self, doing: &'static str, asked: &str) -> Result<Vec<TextRow>, SinkError> {
        self.connection.query(doing, asked).await.map_err(|cause| error::judge(self.target, cause))
    }

    fn gone(&self, table: &Table) -> SinkError {
        let detail = format!("table {} has lost columns of its key", table.name);
        SinkError::Regressed { target: self.target.to_owned(), detail }
    }
}
