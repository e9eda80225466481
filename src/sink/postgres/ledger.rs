//! What we keep in the target beside the rows: how far they are, and which version of each table they were written by. In a schema of our
//! own, a row for each sink; written in the transactions that write the rows.

use std::collections::HashMap;

use super::plan::Definition;
use super::sql;
use crate::event::TableName;
use crate::postgres::connection::{Connection, TextRow};
use crate::postgres::{PostgresError, ServerError};
use crate::sink::saved::Saved;
use crate::sink::{Checkpoint, SinkError, belief};

/// The schema of our own.
pub(super) const SCHEMA: &str = "walbridge";

/// Made where they are not there. `identity` tells rows that were written from their beginning from any others; `oid` tells a table from another that took its name.
const MAKE: &str = "CREATE SCHEMA IF NOT EXISTS walbridge; \
    CREATE TABLE IF NOT EXISTS walbridge.checkpoints (sink text PRIMARY KEY, saved text NOT NULL, written timestamptz NOT NULL DEFAULT now()); \
    ALTER TABLE walbridge.checkpoints ADD COLUMN IF NOT EXISTS identity text NOT NULL DEFAULT gen_random_uuid()::text; \
    CREATE TABLE IF NOT EXISTS walbridge.tables (sink text, table_schema text, table_name text, oid oid NOT NULL, definition text NOT NULL, \
        PRIMARY KEY (sink, table_schema, table_name))";

/// A table as it was noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) oid: u32,
    pub(super) definition: Definition,
}

/// A sink's checkpoint, as we last read or wrote it.
#[derive(Debug)]
pub(super) struct Ledger {
    sink: String,
    /// The very text: whoever writes it anew has changed it.
    stored: Option<String>,
}

impl Ledger {
    /// Makes our tables where they are missing.
    pub(super) async fn prepare(connection: &mut Connection) -> Result<(), PostgresError> {
        if Ledger::is_there(connection).await? {
            return Ok(());
        }
        match connection.query("making walbridge's own tables", MAKE).await {
            // Another sink of ours is making them at this moment: nothing is half made, and the next look finds them.
            Err(PostgresError::Server { source: ServerError { sqlstate, .. }, .. })
                if matches!(sqlstate.as_str(), "23505" | "42P06" | "42P07" | "XX000")
                    && Ledger::is_there(connection).await? =>
            {
                Ok(())
            }
            made => made.map(drop),
        }
    }

    async fn is_there(connection: &mut Connection) -> Result<bool, PostgresError> {
        let sql = "SELECT to_regclass('walbridge.tables') IS NOT NULL AND EXISTS (SELECT FROM pg_attribute \
            WHERE attrelid = to_regclass('walbridge.checkpoints') AND attname = 'identity' AND NOT attisdropped)";
        let rows = connection.query("looking for walbridge's own tables", sql).await?;
        Ok(is_true(&rows))
    }

    /// What is missing for us to write there, if anything, in words.
    pub(super) async fn rights(connection: &mut Connection) -> Result<Option<String>, PostgresError> {
        if !Ledger::is_there(connection).await? {
            let sql = "SELECT CASE WHEN to_regnamespace('walbridge') IS NULL THEN has_database_privilege(current_database(), 'CREATE') \
                ELSE has_schema_privilege('walbridge', 'CREATE') END";
            let may = is_true(&connection.query("looking at the role's rights", sql).await?);
            let lacks = || format!("the role may not make the schema {SCHEMA} there: GRANT CREATE ON DATABASE … TO …");
            return Ok((!may).then(lacks));
        }
        let sql = "SELECT bool_and(has_table_privilege('walbridge.' || name, kind)) FROM unnest(ARRAY['checkpoints', 'tables']) AS names(name), \
            unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS kinds(kind)";
        let may = is_true(&connection.query("looking at the role's rights", sql).await?);
        Ok((!may).then(|| {
            format!(
                "the role may not write the tables in the schema {SCHEMA}: it must own them, or be granted all on them"
            )
        }))
    }

    /// Reads the checkpoint. Waits for a transaction that is writing it: of ours, whose end we have not been told, above all.
    pub(super) async fn read(connection: &mut Connection, sink: &str) -> Result<Self, PostgresError> {
        let rows = connection.query("reading the checkpoint", &locking(sink)).await?;
        Ok(Ledger { sink: sink.to_owned(), stored: saved(&rows) })
    }

    /// The checkpoint; `None` in an empty target.
    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        self.stored.as_deref().and_then(parse)
    }

    /// Begins a transaction that nobody else's can overtake: the checkpoint's row is locked first, and must be as we know it.
    pub(super) async fn begin(&self, connection: &mut Connection) -> Result<Result<(), Found>, PostgresError> {
        let asked = format!("BEGIN; {}", locking(&self.sink));
        Ok(self.compare(&connection.query("beginning a transaction", &asked).await?))
    }

    /// Whether the checkpoint is where we left it.
    pub(super) async fn look(&self, connection: &mut Connection) -> Result<Result<(), Found>, PostgresError> {
        let rows = connection.query("looking at the checkpoint", &reading(&self.sink)).await?;
        Ok(self.compare(&rows))
    }

    fn compare(&self, rows: &[TextRow]) -> Result<(), Found> {
        self.compare_with(saved(rows))
    }

    /// Whether this is where we left it.
    pub(super) fn compare_with(&self, found: Option<String>) -> Result<(), Found> {
        if found == self.stored { Ok(()) } else { Err(Found(found)) }
    }

    /// What it means that another checkpoint was found.
    pub(super) fn judge(&self, target: &str, found: &Found) -> SinkError {
        let Found(found) = found;
        match belief::verify(target, found.as_deref().and_then(parse), self.checkpoint()) {
            Err(error) => error,
            Ok(()) => {
                let detail = "its checkpoint was written by somebody else".to_owned();
                SinkError::Fenced { target: target.to_owned(), detail }
            }
        }
    }

    /// Writes the checkpoint and commits.
    pub(super) async fn commit(&mut self, connection: &mut Connection, upto: Checkpoint) -> Result<(), PostgresError> {
        let text =
            serde_json::to_string(&Saved::from(upto)).map_err(|error| PostgresError::Protocol(error.to_string()))?;
        let (sink, saved) = (sql::text(&self.sink), sql::text(&text));
        let write = match self.stored {
            Some(_) => format!("UPDATE walbridge.checkpoints SET saved = {saved}, written = now() WHERE sink = {sink}"),
            None => format!("INSERT INTO walbridge.checkpoints (sink, saved) VALUES ({sink}, {saved})"),
        };
        connection.query("writing the checkpoint", &format!("{write}; COMMIT")).await?;
        self.stored = Some(text);
        Ok(())
    }

    /// The tables that a sink has written; `None` where no sink ever wrote. Waits for nobody, and changes nothing.
    pub(super) async fn peek(
        connection: &mut Connection,
        sink: &str,
    ) -> Result<Option<HashMap<TableName, Noted>>, PostgresError> {
        if !Ledger::is_there(connection).await? {
            return Ok(None);
        }
        Ledger::named(sink).tables(connection).await.map(Some)
    }

    /// Of this name, whatever its checkpoint is.
    pub(super) fn named(sink: &str) -> Self {
        Ledger { sink: sink.to_owned(), stored: None }
    }

    /// Which rows these are, of all that were written under this name.
    pub(super) async fn identity(&self, connection: &mut Connection) -> Result<Option<String>, PostgresError> {
        let asked = format!("SELECT identity FROM walbridge.checkpoints WHERE sink = {}", sql::text(&self.sink));
        Ok(saved(&connection.query("asking which rows these are", &asked).await?))
    }

    /// The tables that this sink has written.
    pub(super) async fn tables(&self, connection: &mut Connection) -> Result<HashMap<TableName, Noted>, PostgresError> {
        let sql = format!(
            "SELECT table_schema, table_name, oid, definition FROM walbridge.tables WHERE sink = {}",
            sql::text(&self.sink)
        );
        let mut tables = HashMap::new();
        for row in connection.query("reading which tables were written", &sql).await? {
            let text = |index: usize| row.get(index).and_then(Option::as_deref).map(String::from_utf8_lossy);
            let read = || {
                let name = TableName { schema: text(0)?.into_owned(), table: text(1)?.into_owned() };
                let definition = serde_json::from_str(&text(3)?).ok()?;
                Some((name, Noted { oid: text(2)?.parse().ok()?, definition }))
            };
            let unread = || PostgresError::Protocol("a row of walbridge.tables cannot be read".to_owned());
            let (name, noted) = read().ok_or_else(unread)?;
            tables.insert(name, noted);
        }
        Ok(tables)
    }

    /// Notes a table's version, in the transaction that is open.
    pub(super) async fn note(
        &self,
        connection: &mut Connection,
        name: &TableName,
        noted: &Noted,
    ) -> Result<(), PostgresError> {
        let definition =
            serde_json::to_string(&noted.definition).map_err(|error| PostgresError::Protocol(error.to_string()))?;
        let [sink, schema, table, definition] =
            [&self.sink, &name.schema, &name.table, &definition].map(|text| sql::text(text));
        let sql = format!(
            "INSERT INTO walbridge.tables VALUES ({sink}, {schema}, {table}, {}, {definition}) \
             ON CONFLICT (sink, table_schema, table_name) DO UPDATE SET oid = EXCLUDED.oid, definition = EXCLUDED.definition",
            noted.oid
        );
        connection.query("noting a table's version", &sql).await.map(drop)
    }
}

/// Another checkpoint than the one we know.
#[derive(Debug)]
pub(super) struct Found(Option<String>);

fn reading(sink: &str) -> String {
    format!("SELECT saved FROM walbridge.checkpoints WHERE sink = {}", sql::text(sink))
}

fn locking(sink: &str) -> String {
    format!("{} FOR UPDATE", reading(sink))
}

fn saved(rows: &[TextRow]) -> Option<String> {
    let value = rows.first()?.first()?.as_deref()?;
    Some(String::from_utf8_lossy(value).into_owned())
}

fn parse(text: &str) -> Option<Checkpoint> {
    serde_json::from_str::<Saved>(text).ok()?.checkpoint()
}

fn is_true(rows: &[TextRow]) -> bool {
    rows.first().and_then(|row| row.first()).and_then(Option::as_deref) == Some(b"t")
}
