//! What can be found wrong with a source without changing anything: at each start, and by `walbridge check`.
//!
//! A first start refuses tables that cannot be captured: whoever configures them is there to hear it. A source that has run must
//! start again whatever has become of its database meanwhile: tables that came or changed since are left out, and the watcher
//! has an alarm for each. Only one that the configuration has come to name, letter by letter, is refused then too.

use super::Source;
use crate::capture::catalog::{self, Table};
use crate::capture::continuity::Server;
use crate::capture::schema::Inventory;
use crate::capture::{CaptureError, publication, schema, slot};
use crate::postgres::connection::{Connection, Purpose};
use crate::status::Code;

/// `pg_publication_tables.attnames` and row filters came with 15.
const OLDEST_SERVER: u32 = 150_000;

/// What is known of former runs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Past<'a> {
    /// Whether partitions come as their root's rows; `None` if that is still the publication's to say.
    pub(crate) via_root: Option<bool>,
    /// Tables that are not read again, and need not be readable.
    pub(crate) copied: &'a [u32],
    /// The tables as they were; `None` before the source has ever streamed.
    pub(crate) known: Option<&'a Inventory>,
}

impl Past<'_> {
    /// Whether something that is wrong with this table is a reason not to start.
    fn may_refuse(&self, source: &Source, table: &Table) -> bool {
        self.known.is_none_or(|known| !known.tables.contains_key(&table.oid) && (source.named)(&table.name))
    }
}

/// Looks at the server and the tables. Returns those that can be captured.
pub(crate) async fn preflight(
    source: &Source,
    replication: &mut Connection,
    catalog: &mut Connection,
    past: &Past<'_>,
) -> Result<(Server, Vec<Table>), CaptureError> {
    if catalog.server_version() < OLDEST_SERVER {
        return Err(CaptureError::halt(
            Code::SourceProtocol,
            format!("the server is PostgreSQL {}", catalog.server_version() / 10_000),
            "walbridge needs PostgreSQL 15 or newer",
        ));
    }
    let server = slot::identify(replication, source.address.session.may_be_standby()).await?;
    let found = schema::publication(catalog, &source.publication).await?;
    let via_root = past.via_root.unwrap_or_else(|| found.is_none_or(|found| found.via_root));
    let mut tables = catalog::tables(catalog, via_root).await?;
    tables.retain(|table| (source.tables)(&table.name));
    if tables.is_empty() && past.known.is_none() {
        return Err(CaptureError::halt(
            Code::SourcePublication,
            format!(
                "no table of database \"{}\" matches `tables` of source \"{}\"",
                source.address.database, source.name
            ),
            "Mend the patterns, or create the tables first",
        ));
    }
    let judged: Vec<&Table> = tables.iter().filter(|table| past.may_refuse(source, table)).collect();
    refuse_without_key(source, catalog, &judged).await?;
    refuse_uncapturable(source, &judged, past.copied)?;
    tables.retain(|table| table.logged && is_named(source, table));
    Ok((server, tables))
}

fn refuse_uncapturable(source: &Source, tables: &[&Table], copied: &[u32]) -> Result<(), CaptureError> {
    refuse(
        tables,
        Code::SourcePublication,
        |table| !table.logged,
        "are unlogged, so their changes are not in the WAL",
        "Run ALTER TABLE … SET LOGGED, or exclude them in `tables`",
    )?;
    if !source.snapshot {
        return Ok(());
    }
    refuse(
        tables,
        Code::SourcePrivilege,
        |table| !table.readable && !copied.contains(&table.oid),
        "may not be read by this role",
        "GRANT SELECT on them, and USAGE on their schema, to the role in the url",
    )?;
    refuse(
        tables,
        Code::SnapshotPartialView,
        |table| table.hides_rows && !copied.contains(&table.oid),
        "hide rows from this role by row-level security, which the stream would show",
        "ALTER ROLE … BYPASSRLS for the role in the url, or exclude them in `tables`",
    )
}

/// Whether something names its rows.
fn is_named(source: &Source, table: &Table) -> bool {
    table.has_identity() && (!table.key().is_empty() || source.whole_rows)
}

/// Tables whose rows cannot be named.
async fn refuse_without_key(source: &Source, catalog: &mut Connection, tables: &[&Table]) -> Result<(), CaptureError> {
    let is_bad = |table: &&&Table| !is_named(source, table);
    let mut told = Vec::new();
    for table in tables.iter().filter(is_bad) {
        told.push(format!("{} ({})", table.name, catalog::why_without_key(catalog, table).await?));
    }
    if told.is_empty() {
        return Ok(());
    }
    let run = |table: &Table, identity: &str| {
        format!("ALTER TABLE {} REPLICA IDENTITY {identity};", publication::quoted(&table.name))
    };
    let (keyed, keyless): (Vec<&Table>, Vec<&Table>) =
        tables.iter().filter(is_bad).copied().partition(|table| !table.primary_key.is_empty());
    // Where there is a key, it only has to be used.
    let mut remedies: Vec<String> = keyed.iter().map(|table| format!("Run {}", run(table, "DEFAULT"))).collect();
    if !keyless.is_empty() {
        let full: Vec<String> = keyless.iter().map(|table| run(table, "FULL")).collect();
        let whole = if source.whole_rows {
            "run"
        } else {
            "take the whole row as their key, with tables_without_key = \"full\" and"
        };
        remedies.push(format!(
            "Give them a primary key that is not deferrable, or exclude them with \"!schema.table\" in `tables`. Or {whole} {}",
            full.join(" ")
        ));
    }
    let what = format!("the rows of these tables cannot be named: {}", told.join(", "));
    Err(CaptureError::halt(Code::SourceIdentity, what, remedies.join(" ")))
}

fn refuse(
    tables: &[&Table],
    code: Code,
    is_bad: impl Fn(&Table) -> bool,
    what: &str,
    remedy: &str,
) -> Result<(), CaptureError> {
    let bad: Vec<String> = tables.iter().filter(|table| is_bad(table)).map(|table| table.name.to_string()).collect();
    if bad.is_empty() {
        Ok(())
    } else {
        Err(CaptureError::halt(code, format!("tables {} {what}", bad.join(", ")), remedy))
    }
}

/// Whoever opens a log takes it from whoever has it: so not while somebody streams into it. A standby waits here.
pub(super) async fn await_free_slot(source: &Source) -> Result<(), CaptureError> {
    let mut replication = Connection::open(&source.address, Purpose::Replication).await?;
    let found = slot::inspect(&mut replication, &source.slot).await?;
    replication.close().await;
    let Some(by) = found.and_then(|slot| slot.active_pid) else { return Ok(()) };
    Err(CaptureError::wait(
        Code::SourceSlotActive,
        format!(
            "slot \"{}\" is read by process {by}: another walbridge is at work, and this one takes over when it ends",
            source.slot
        ),
        "See pg_replication_slots for who reads it",
    ))
}
