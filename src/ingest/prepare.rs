//! From nothing to a running stream: connect, look, prove continuity, make what is missing.

use super::assemble::{Assembler, Wanted};
use super::spill::Spill;
use super::transactions::Transactions;
use super::{IngestError, Source};
use crate::capture::catalog::{self, Table};
use crate::capture::connection::{Connection, Purpose};
use crate::capture::continuity::{self, History, Server, Start};
use crate::capture::slot::Slot;
use crate::capture::stream::{Stream, StreamOptions};
use crate::capture::types::Types;
use crate::capture::{CaptureError, publication, slot};
use std::sync::Arc;

use crate::event::{Lsn, MessageFilter, Position, TableName};
use crate::log::{Epoch, LogWriter, Recovered, TableSnapshot};
use crate::status::{Board, Code, State};

/// Ready to stream.
pub(super) struct Prepared {
    pub(super) stream: Stream,
    pub(super) transactions: Transactions,
    pub(super) tables: Vec<Table>,
    pub(super) catalog: Connection,
    /// Where the stream begins: everything before is in the log.
    pub(super) from: Lsn,
    /// It carries values in binary form.
    pub(super) binary: bool,
}

/// `pg_publication_tables.attnames` and row filters came with 15.
const OLDEST_SERVER: u32 = 150_000;

/// Does it all (with `types`, values are asked for in binary form if all are known), in an order in which a failure at any point leaves nothing half made: tables are judged before the
/// publication is touched, and the publication is there before the slot's consistent point.
pub(super) async fn prepare(
    source: &Source,
    recovered: &mut Recovered,
    writer: &mut impl LogWriter,
    board: &Board,
    types: Option<&mut Types>,
) -> Result<Prepared, IngestError> {
    let mut replication = Connection::open(&source.address, Purpose::Replication).await?;
    let mut catalog = Connection::open(&source.address, Purpose::Query).await?;
    let tables = preflight(source, &mut replication, &mut catalog, &recovered.snapshots).await?;
    let server = slot::identify(&mut replication).await?;
    let found = slot::inspect(&mut replication, &source.slot).await?;
    let start = judge(source, recovered, &server, found.as_ref())?;

    let names: Vec<TableName> = tables.iter().map(|table| table.name.clone()).collect();
    publication::ensure(&mut catalog, &source.publication, &names).await?;
    let from = match start {
        Start::Resume(from) => from,
        Start::Adopt(from) => begin_epoch(source, recovered, writer, &server, from).await?,
        Start::CreateSlot => {
            let from = create_slot(source, &mut replication, &mut catalog, board).await?;
            begin_epoch(source, recovered, writer, &server, from).await?
        }
    };
    let epoch = recovered.epoch.as_ref().map_or(0, |epoch| epoch.number);
    let last = recovered.durable.position.filter(|position| position.epoch == epoch).unwrap_or_else(|| {
        // Just before the first position there can be.
        let before = recovered.epoch.as_ref().map_or(0, |epoch| epoch.start_lsn.get()).saturating_sub(1);
        Position { epoch, commit_lsn: Lsn::new(before), ordinal: 0 }
    });
    let wanted = Wanted { tables: source.tables.clone(), messages: message_filter(source), foreign: source.foreign };
    let spill = Spill::open(&writer.beside(), epoch, recovered.durable.end_lsn)?;
    let transactions = Transactions::new(Assembler::new(epoch, last, wanted), spill);
    // A prepared transaction's rows are kept as they were sent, over any change of the form that is asked for later on.
    let two_phase = source.two_phase || found.is_some_and(|slot| slot.two_phase);
    let binary = match types.filter(|_| !two_phase) {
        Some(types) => types.render_all(&mut catalog, &tables).await?,
        None => false,
    };
    let stream = Stream::start(replication, &source.slot, from, &stream_options(source, binary)).await?;
    Ok(Prepared { stream, transactions, tables, catalog, from, binary })
}

fn stream_options(source: &Source, binary: bool) -> StreamOptions {
    StreamOptions {
        publication: source.publication.clone(),
        binary,
        messages: source.messages.is_some(),
        foreign: source.foreign,
        two_phase: source.two_phase,
    }
}

/// Our own messages, such as those that let a slot advance, are nobody's events.
fn message_filter(source: &Source) -> MessageFilter {
    let wanted = source.messages.clone();
    Arc::new(move |prefix| {
        let ours = prefix.strip_prefix("walbridge").is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        !ours && wanted.as_ref().is_some_and(|wanted| wanted(prefix))
    })
}

/// What can be found wrong without changing anything: also what `walbridge check` looks at. What is copied already is not read
/// again, and need not be readable.
pub(crate) async fn preflight(
    source: &Source,
    replication: &mut Connection,
    catalog: &mut Connection,
    copies: &[TableSnapshot],
) -> Result<Vec<Table>, CaptureError> {
    if catalog.server_version() < OLDEST_SERVER {
        return Err(CaptureError::halt(
            Code::SourceProtocol,
            format!("the server is PostgreSQL {}", catalog.server_version() / 10_000),
            "walbridge needs PostgreSQL 15 or newer",
        ));
    }
    slot::identify(replication).await?;
    let mut tables = catalog::tables(catalog).await?;
    tables.retain(|table| (source.tables)(&table.name));
    if tables.is_empty() {
        return Err(CaptureError::halt(
            Code::SourcePublication,
            format!(
                "no table of database \"{}\" matches `tables` of source \"{}\"",
                source.address.database, source.name
            ),
            "Mend the patterns, or create the tables first",
        ));
    }
    refuse(
        &tables,
        Code::SourceIdentity,
        |table| table.key().is_empty(),
        "have no primary key, so their rows cannot be named",
        "Give them one, or exclude them with \"!schema.table\" in `tables`",
    )?;
    refuse(
        &tables,
        Code::SourcePublication,
        |table| !table.logged,
        "are unlogged, so their changes are not in the WAL",
        "Run ALTER TABLE … SET LOGGED, or exclude them in `tables`",
    )?;
    if source.snapshot {
        let copied = |table: &Table| copies.iter().any(|copy| copy.oid == table.oid && copy.done);
        refuse(
            &tables,
            Code::SourcePrivilege,
            |table| !table.readable && !copied(table),
            "may not be read by this role",
            "GRANT SELECT on them, and USAGE on their schema, to the role in the url",
        )?;
        refuse(
            &tables,
            Code::SnapshotPartialView,
            |table| table.hides_rows && !copied(table),
            "hide rows from this role by row-level security, which the stream would show",
            "ALTER ROLE … BYPASSRLS for the role in the url, or exclude them in `tables`",
        )?;
    }
    Ok(tables)
}

fn refuse(
    tables: &[Table],
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

fn judge(source: &Source, recovered: &Recovered, server: &Server, slot: Option<&Slot>) -> Result<Start, CaptureError> {
    let history = recovered.epoch.as_ref().map(|epoch| History {
        system_identifier: epoch.system_identifier,
        timeline: epoch.timeline,
        end_lsn: recovered.durable.end_lsn.max(epoch.start_lsn),
    });
    continuity::judge(server, history.as_ref(), &source.slot, slot)
}

async fn create_slot(
    source: &Source,
    replication: &mut Connection,
    catalog: &mut Connection,
    board: &Board,
) -> Result<Lsn, CaptureError> {
    let tell = |blockers: &str| {
        tracing::warn!(source = %source.name, %blockers, "making the slot waits for transactions older than it");
        board.source(&source.name, |status| {
            status.state = State::Starting;
            status.message = Some(format!("making the slot waits for transactions older than it: {blockers}"));
        });
    };
    let from = slot::create(replication, &source.slot, source.two_phase, catalog, tell).await?;
    tracing::info!(source = %source.name, slot = %source.slot, consistent_point = %from, "replication slot made");
    Ok(from)
}

/// Records where this history begins, durably, before anything of it is streamed.
async fn begin_epoch(
    source: &Source,
    recovered: &mut Recovered,
    writer: &mut impl LogWriter,
    server: &Server,
    from: Lsn,
) -> Result<Lsn, IngestError> {
    let epoch = Epoch {
        number: recovered.epoch.as_ref().map_or(1, |epoch| epoch.number.saturating_add(1)),
        system_identifier: server.system_identifier,
        timeline: server.timeline,
        slot: source.slot.clone(),
        start_lsn: from,
    };
    writer.append(crate::log::Entry::Epoch(&epoch))?;
    recovered.durable = writer.sync().await?;
    recovered.epoch = Some(epoch);
    Ok(from)
}
