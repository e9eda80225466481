//! Rows that were built beside take the place of those that readers have.
//!
//! The tables are not exchanged: views, foreign keys, grants, indexes and triggers hang on the one that is there. Its rows become the others', in one
//! transaction, which writes only what differs: readers see the rows of before or those of after, and wait for nobody. The checkpoint comes along in it, with
//! the identity of what was built, so whoever is cut short finds the one or the other, whole.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::found::Found;
use super::ledger::{Ledger, Noted};
use super::place::own_schema;
use super::{Options, error, sql};
use crate::event::TableName;
use crate::postgres::connection::{Connection, Purpose};
use crate::sink::{Old, SinkError};

/// All rows may have to be written.
const TIME_MAX: Duration = Duration::from_hours(4);
/// Who holds what we need that long is told of, and it is tried again.
const LOCK_TIME_MAX: &str = "SET LOCAL lock_timeout = '60s'";

/// The transaction.
struct Replacing<'a> {
    connection: Connection,
    target: String,
    live: &'a Options,
    beside: Options,
}

/// See [`crate::sink::Replaceable::identity`].
pub(super) async fn identity(options: &Options) -> Result<String, SinkError> {
    let mut asking = Replacing::open(options).await?;
    let asked = Ledger::named(&options.noted_as()).identity(&mut asking.connection).await;
    let found = asked.map_err(|cause| error::judge(&asking.target, cause))?;
    let gone = || SinkError::Regressed { target: asking.target.clone(), detail: "its checkpoint is gone".to_owned() };
    found.ok_or_else(gone)
}

/// See [`crate::sink::Replaceable::replace`]. `left`: where we left the checkpoint of the rows that readers have, if we know.
pub(super) async fn replace(live: &Options, left: Option<&Ledger>, by: &str, old: Old) -> Result<(), SinkError> {
    let mut replacing = Replacing::open(live).await?;
    replacing.connection.be_patient(TIME_MAX);
    replacing.ask("beginning to replace rows", &format!("BEGIN; {LOCK_TIME_MAX}")).await?;
    let (name, beside) = (sql::text(&live.noted_as()), sql::text(&replacing.beside.noted_as()));
    let is = format!("SELECT identity FROM walbridge.checkpoints WHERE sink = {name} FOR UPDATE");
    if replacing.value(&is).await?.as_deref() == Some(by) {
        return replacing.ask("ending it, for it was done before", "ROLLBACK").await;
    }
    let there = format!("SELECT saved FROM walbridge.checkpoints WHERE sink = {name}");
    let there = replacing.value(&there).await?;
    if let Some((left, Err(found))) = left.map(|left| (left, left.compare_with(there))) {
        return Err(left.judge(&replacing.target, &found));
    }
    let built = format!(
        "SELECT saved FROM walbridge.checkpoints WHERE sink = {beside} AND identity = {} FOR UPDATE",
        sql::text(by)
    );
    let saved = replacing.value(&built).await?.ok_or_else(|| replacing.gone("its checkpoint"))?;
    let built = replacing.built().await?.unwrap_or_default();
    replacing.tables(&built, old).await?;
    let (by, saved) = (sql::text(by), sql::text(&saved));
    replacing.forget(&built).await?;
    let done = format!(
        "INSERT INTO walbridge.checkpoints (sink, saved, identity) VALUES ({name}, {saved}, {by}) \
         ON CONFLICT (sink) DO UPDATE SET saved = EXCLUDED.saved, identity = EXCLUDED.identity, written = now(); COMMIT"
    );
    replacing.ask("writing the checkpoint of the rows that were built", &done).await?;
    tracing::info!(sink = %live.name, target = %replacing.target, "the rows were replaced");
    Ok(())
}

/// See [`crate::sink::Replaceable::remove`].
pub(super) async fn remove(beside: &Options) -> Result<(), SinkError> {
    let mut removing = Replacing::open(beside).await?;
    let Some(built) = removing.built().await?.filter(|_| beside.is_beside) else { return Ok(()) };
    removing.ask("beginning to remove what was built", &format!("BEGIN; {LOCK_TIME_MAX}")).await?;
    removing.forget(&built).await?;
    removing.ask("removing what was built", "COMMIT").await
}

type Built = HashMap<TableName, Noted>;

impl<'a> Replacing<'a> {
    async fn open(live: &'a Options) -> Result<Self, SinkError> {
        let target = live.address.to_string();
        let opened = Connection::open(&live.address, Purpose::Write).await;
        let connection = opened.map_err(|cause| error::judge(&target, cause))?;
        Ok(Replacing { connection, target, live, beside: live.beside() })
    }

    /// Every table that was built.
    async fn tables(&mut self, built: &Built, old: Old) -> Result<(), SinkError> {
        let ledger = Ledger::named(&self.live.noted_as());
        for (name, noted) in built {
            let place = self.beside.place(name);
            let found = self.look(&place).await?.filter(|found| found.oid == noted.oid);
            let found = found.ok_or_else(|| self.gone(&format!("its table {name}")))?;
            let oid = match self.look(name).await? {
                Some(live) => {
                    if old == Old::Kept {
                        self.keep(name).await?;
                    }
                    self.rows(name, &place, noted, &live).await?;
                    live.oid
                }
                None => {
                    let schema = sql::identifier(&name.schema);
                    let moved = format!(
                        "CREATE SCHEMA IF NOT EXISTS {schema}; ALTER TABLE {} SET SCHEMA {schema}",
                        sql::table(&place)
                    );
                    self.ask("moving a table that was built", &moved).await?;
                    found.oid
                }
            };
            let noted = Noted { oid, definition: noted.definition.clone() };
            let written = ledger.note(&mut self.connection, name, &noted).await;
            written.map_err(|cause| error::judge(&self.target, cause))?;
        }
        Ok(())
    }

    /// Makes the rows of a table those of another.
    async fn rows(
        &mut self,
        name: &TableName,
        place: &TableName,
        noted: &Noted,
        live: &Found,
    ) -> Result<(), SinkError> {
        let (mut columns, mut lacking) = (Vec::new(), Vec::new());
        for (column, ..) in &noted.definition.columns {
            match live.column(column) {
                Some(there) if there.generated => {}
                Some(there) => columns.push((sql::identifier(column), &there.cast)),
                None => lacking.push(column.as_str()),
            }
        }
        if !lacking.is_empty() {
            let detail = format!("table {name} has no column {} there", lacking.join(", "));
            let remedy =
                "Restart walbridge, and the table is fitted when its next row comes; then order the rebuild again"
                    .to_owned();
            return Err(SinkError::Unusable { target: self.target.clone(), detail, remedy });
        }
        let (table, built) = (sql::table(name), sql::table(place));
        let list = |write: &dyn Fn(&str, &str) -> String| {
            columns.iter().map(|(name, cast)| write(name, cast)).collect::<Vec<_>>().join(", ")
        };
        let cast_of = |name: &String| live.column(name).map_or("text", |column| column.cast.as_str());
        let key = noted.definition.key.iter().map(|name| (sql::identifier(name), cast_of(name)));
        let is_row: Vec<String> = key.map(|(name, cast)| format!("t.{name} = b.{name}::{cast}")).collect();
        let extra = format!(
            "DELETE FROM {table} AS t WHERE NOT EXISTS (SELECT FROM {built} AS b WHERE {})",
            is_row.join(" AND ")
        );
        self.ask("removing rows that were not built", &extra).await?;
        // As texts, for not every type can be compared (`json`, `point`).
        let others = format!(
            "INSERT INTO {table} AS t ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {built} AS b ON CONFLICT ({}) DO UPDATE SET {} \
             WHERE ({}) IS DISTINCT FROM ({})",
            list(&|name, _| name.to_owned()),
            list(&|name, cast| format!("b.{name}::{cast}")),
            sql::names(noted.definition.key.iter().map(String::as_str)),
            list(&|name, _| format!("{name} = EXCLUDED.{name}")),
            list(&|name, _| format!("t.{name}::text")),
            list(&|name, _| format!("EXCLUDED.{name}::text")),
        );
        self.ask("writing rows that were built", &others).await
    }

    /// Keeps a table's rows as they are, in a schema of this day's.
    async fn keep(&mut self, name: &TableName) -> Result<(), SinkError> {
        let now = self.value("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDDHH24MISS')").await?.unwrap_or_default();
        let schema = own_schema(&[&self.live.name, &name.schema], &format!("kept_{now}"));
        let kept = TableName { schema: schema.clone(), table: name.table.clone() };
        let why = format!("rows of schema {} before sink {} was rebuilt", name.schema, self.live.name);
        let keep = format!(
            "CREATE SCHEMA IF NOT EXISTS {schema}; COMMENT ON SCHEMA {schema} IS {}; CREATE TABLE {} AS TABLE {}",
            sql::text(&why),
            sql::table(&kept),
            sql::table(name),
            schema = sql::identifier(&schema),
        );
        self.ask("keeping the rows of before", &keep).await?;
        tracing::info!(sink = %self.live.name, table = %name, kept = %kept, "the rows of before are kept");
        Ok(())
    }

    /// Forgets what is noted of what is beside, and drops its tables.
    async fn forget(&mut self, built: &Built) -> Result<(), SinkError> {
        let schemas: BTreeSet<String> = built.keys().map(|name| self.beside.place(name).schema).collect();
        let drops: String = schemas
            .iter()
            .map(|schema| format!("; DROP SCHEMA IF EXISTS {} CASCADE", sql::identifier(schema)))
            .collect();
        let name = sql::text(&self.beside.noted_as());
        let forget = format!(
            "DELETE FROM walbridge.tables WHERE sink = {name}; DELETE FROM walbridge.checkpoints WHERE sink = {name}{drops}"
        );
        self.ask("removing what stands beside", &forget).await
    }

    /// The tables that were built; `None` where no sink ever wrote.
    async fn built(&mut self) -> Result<Option<Built>, SinkError> {
        let peeked = Ledger::peek(&mut self.connection, &self.beside.noted_as()).await;
        peeked.map_err(|cause| error::judge(&self.target, cause))
    }

    async fn look(&mut self, name: &TableName) -> Result<Option<Found>, SinkError> {
        Found::look(&mut self.connection, name).await.map_err(|cause| error::judge(&self.target, cause))
    }

    /// The one value that a question has.
    async fn value(&mut self, asked: &str) -> Result<Option<String>, SinkError> {
        let answered = self.connection.query("looking at what was built", asked).await;
        let rows = answered.map_err(|cause| error::judge(&self.target, cause))?;
        let value = rows.first().and_then(|row| row.first()).and_then(Option::as_deref);
        Ok(value.map(|value| String::from_utf8_lossy(value).into_owned()))
    }

    async fn ask(&mut self, doing: &'static str, asked: &str) -> Result<(), SinkError> {
        self.connection.query(doing, asked).await.map(drop).map_err(|cause| error::judge(&self.target, cause))
    }

    fn gone(&self, what: &str) -> SinkError {
        let detail = format!("what was built to replace the rows of sink {} is gone: {what}", self.live.name);
        SinkError::Regressed { target: self.target.clone(), detail }
    }
}
