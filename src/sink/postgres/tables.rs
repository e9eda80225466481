//! The tables that are written: made, adopted and followed as the versions of the source's come.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::error;
use super::found::{Found, FoundColumn, write_types};
use super::ledger::{Ledger, Noted};
use super::load::Guesses;
use super::plan::{self, Complaint, Definition};
use super::{Options, sql};
use crate::event::{Relation, TableName};
use crate::postgres::connection::Connection;
use crate::sink::SinkError;

/// A table whose columns change their types is written anew meanwhile, and nothing is said.
const REWRITE_TIME_MAX: Duration = Duration::from_hours(4);
/// As of every other statement.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// A table that is there, and fits the version of the source's that it is for.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: TableName,
    /// Where it is in the target.
    pub(super) place: TableName,
    found: Found,
    /// The names of the key's columns, in the order of the keys.
    pub(super) key: Vec<String>,
    /// The names of all columns of the version that was written last, as far as they are there.
    pub(super) columns: Vec<String>,
    /// That version; `None` until a row of it comes.
    relation: Option<Arc<Relation>>,
    /// Whether rows of it are new.
    pub(super) guesses: Guesses,
}

impl Table {
    fn of(
        [name, place]: [&TableName; 2],
        found: Found,
        definition: &Definition,
        relation: Option<Arc<Relation>>,
    ) -> Self {
        let names = definition.columns.iter().map(|(name, ..)| name);
        let columns = names.filter(|name| found.column(name).is_some()).cloned().collect();
        let (name, place, key) = (name.clone(), place.clone(), definition.key.clone());
        Table { name, place, found, key, columns, relation, guesses: Guesses::default() }
    }

    /// The column of that name, unless the server computes it.
    pub(super) fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.found.column(name).filter(|column| !column.generated)
    }

    /// The key's columns.
    pub(super) fn key_columns(&self) -> Option<Vec<&FoundColumn>> {
        self.key.iter().map(|name| self.found.column(name)).collect()
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Tables {
    noted: HashMap<TableName, Noted>,
    known: HashMap<TableName, Arc<Table>>,
    options: Options,
}

impl Tables {
    pub(super) async fn read(
        connection: &mut Connection,
        ledger: &Ledger,
        options: &Options,
        target: &str,
    ) -> Result<Self, SinkError> {
        let noted = ledger.tables(connection).await.map_err(|cause| error::judge(target, cause))?;
        Ok(Tables { noted, known: HashMap::new(), options: options.clone() })
    }

    /// What was noted, for somebody who changes nothing.
    pub(super) async fn look(connection: &mut Connection, options: &Options, target: &str) -> Result<Self, SinkError> {
        let peeked = Ledger::peek(connection, &options.noted_as()).await;
        let noted = peeked.map_err(|cause| error::judge(target, cause))?.unwrap_or_default();
        Ok(Tables { noted, known: HashMap::new(), options: options.clone() })
    }

    /// A table that was written before; `None` if it never was.
    pub(super) async fn written(
        &mut self,
        connection: &mut Connection,
        name: &TableName,
        target: &str,
    ) -> Result<Option<Arc<Table>>, SinkError> {
        if let Some(known) = self.known.get(name) {
            return Ok(Some(Arc::clone(known)));
        }
        let Some(noted) = self.noted.get(name) else { return Ok(None) };
        let place = self.options.place(name);
        let found = Found::look(connection, &place).await.map_err(|cause| error::judge(target, cause))?;
        let found = is_the_same(&place, noted, found, target)?;
        let table = Table::of([name, &place], found, &noted.definition, None);
        Ok(Some(self.keep(table)))
    }

    fn keep(&mut self, table: Table) -> Arc<Table> {
        let table = Arc::new(table);
        self.known.insert(table.name.clone(), Arc::clone(&table));
        table
    }

    /// The table for rows of this version, made or altered if need be in the transaction that is open.
    pub(super) async fn fit(
        &mut self,
        connection: &mut Connection,
        ledger: &Ledger,
        relation: &Arc<Relation>,
        target: &str,
    ) -> Result<Arc<Table>, SinkError> {
        let is_it =
            |known: &&Arc<Table>| known.relation.as_ref().is_some_and(|of| Arc::ptr_eq(of, relation) || of == relation);
        if let Some(known) = self.known.get(&relation.name).filter(is_it) {
            return Ok(Arc::clone(known));
        }
        let name = &relation.name;
        let judge = |cause| error::judge(target, cause);
        let statements = self.allowed(connection, relation, target).await?;
        connection.be_patient(REWRITE_TIME_MAX);
        for statement in &statements {
            tracing::info!(target, statement, "fitting the target's table to the source's");
            connection.query("fitting a table of the target to the source's", statement).await.map_err(judge)?;
        }
        connection.be_patient(ANSWER_TIME_MAX);
        let place = self.options.place(name);
        let gone = || SinkError::Regressed { target: target.to_owned(), detail: format!("table {place} is gone") };
        let found = Found::look(connection, &place).await.map_err(judge)?.ok_or_else(gone)?;
        let noted = Noted { oid: found.oid, definition: Definition::of(relation) };
        if self.noted.get(name) != Some(&noted) {
            ledger.note(connection, name, &noted).await.map_err(judge)?;
        }
        let table = Table::of([name, &place], found, &noted.definition, Some(Arc::clone(relation)));
        self.noted.insert(name.clone(), noted);
        Ok(self.keep(table))
    }

    /// The statements that are needed before rows of this version can be written, if we may run them. Changes nothing.
    pub(super) async fn allowed(
        &self,
        connection: &mut Connection,
        relation: &Relation,
        target: &str,
    ) -> Result<Vec<String>, SinkError> {
        let statements = self.plan(connection, relation, target).await?;
        // What is beside is ours altogether.
        if statements.is_empty() || self.options.ddl || self.options.is_beside {
            return Ok(statements);
        }
        let name = &relation.name;
        let detail =
            format!("table {name} is not as the source's rows need it, and walbridge may not change it (ddl = false)");
        let remedy = format!("Run there: {}", statements.join("; "));
        Err(SinkError::Unusable { target: target.to_owned(), detail, remedy })
    }

    async fn plan(
        &self,
        connection: &mut Connection,
        relation: &Relation,
        target: &str,
    ) -> Result<Vec<String>, SinkError> {
        let noted = self.noted.get(&relation.name);
        let relation = &Relation { name: self.options.place(&relation.name), ..relation.clone() };
        let name = &relation.name;
        let judge = |cause| error::judge(target, cause);
        let complain = |Complaint { detail, remedy }| SinkError::Unusable { target: target.to_owned(), detail, remedy };
        plan::check_key(relation).map_err(complain)?;
        let found = Found::look(connection, name).await.map_err(judge)?;
        let written = write_types(connection, &plan::types(relation)).await.map_err(judge)?;
        let found = match (noted, found) {
            (Some(noted), found) => is_the_same(name, noted, found, target)?,
            (None, Some(found)) => found,
            (None, None) => {
                let sql = format!("SELECT to_regnamespace({}) IS NOT NULL", sql::text(&sql::identifier(&name.schema)));
                let rows = connection.query("looking for a schema", &sql).await.map_err(judge)?;
                let is_there = rows.first().and_then(|row| row.first()).and_then(Option::as_deref) == Some(b"t");
                let schema = (!is_there).then(|| format!("CREATE SCHEMA {}", sql::identifier(&name.schema)));
                return Ok(schema.into_iter().chain([plan::create(relation, &written)]).collect());
            }
        };
        plan::fit(relation, &written, noted.map(|noted| &noted.definition), &found).map_err(complain)
    }
}

/// Rows that were written are believed to be there: a table that was dropped, or made anew, has lost them.
fn is_the_same(name: &TableName, noted: &Noted, found: Option<Found>, target: &str) -> Result<Found, SinkError> {
    match found {
        Some(found) if found.oid == noted.oid => Ok(found),
        found => Err(SinkError::Unusable {
            target: target.to_owned(),
            detail: match found {
                Some(_) => format!("table {name} is another one than the one that was filled"),
                None => format!("table {name}, which was filled, is gone"),
            },
            remedy: format!(
                "Bring it back; or run there: DELETE FROM walbridge.tables WHERE table_schema = {} AND table_name = {}, have it copied anew with \
                 `walbridge resnapshot --table {name}`, and restart walbridge",
                sql::text(&name.schema),
                sql::text(&name.table)
            ),
        }),
    }
}
