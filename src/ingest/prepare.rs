//! From nothing to a running stream: connect, look, prove continuity, make what is missing.

use std::sync::Arc;

use super::assemble::{Assembler, Wanted};
use super::copies::Copies;
use super::memory::Memory;
use super::relations::Relations;
use super::spill::Spill;
use super::transactions::Transactions;
use super::{IngestError, Source, watch};
use crate::capture::address::Address;
use crate::capture::catalog::{self, Table};
use crate::capture::connection::{Connection, Purpose};
use crate::capture::continuity::{self, History, Server, Start};
use crate::capture::stream::{Stream, StreamOptions};
use crate::capture::types::Types;
use crate::capture::{CaptureError, publication, schema, slot};
use crate::event::{Lsn, MessageFilter, Position, TableName};
use crate::log::{LogWriter, Recovered};
use crate::status::{Board, Code};

/// Ready to stream.
pub(super) struct Prepared {
    pub(super) stream: Stream,
    pub(super) transactions: Transactions,
    pub(super) tables: Vec<Table>,
    pub(super) catalog: Connection,
    /// Partitions come as their root's rows.
    pub(super) via_root: bool,
    /// The server that was taken.
    pub(super) address: Address,
    /// Where the stream begins: everything before is in the log.
    pub(super) from: Lsn,
    /// It carries values in binary form.
    pub(super) binary: bool,
}

/// `pg_publication_tables.attnames` and row filters came with 15.
const OLDEST_SERVER: u32 = 150_000;

/// What preparing works on.
pub(super) struct Preparation<'a, W> {
    pub(super) source: &'a Source,
    pub(super) recovered: &'a mut Recovered,
    pub(super) writer: &'a mut W,
    pub(super) copies: &'a mut Copies,
    pub(super) board: &'a Board,
    /// If they are given, values are asked for in binary form, provided that all types are known.
    pub(super) types: Option<&'a mut Types>,
    /// Why history begins anew, if that has been decided.
    pub(super) anew: Option<&'a str>,
}

impl<W: LogWriter> Preparation<'_, W> {
    /// Does it all, in an order in which a failure at any point leaves nothing half made: tables are judged before the
    /// publication is touched, and the publication is there before the slot's consistent point.
    pub(super) async fn run(mut self, memory: &mut Memory) -> Result<Prepared, IngestError> {
        let source = self.source;
        let mut replication = Connection::open(&source.address, Purpose::Replication).await?;
        // With several hosts, everything else of this session goes to the one that was taken.
        let address = source.address.only(replication.host());
        let mut catalog = Connection::open(&address, Purpose::Query).await?;
        let copied = self.copied();
        let (mut server, mut tables) =
            preflight(source, &mut replication, &mut catalog, watch::agreed(memory), &copied).await?;
        server.left = slot::timelines_left(&mut replication, server.timeline).await?;
        let found = slot::inspect(&mut replication, &source.slot).await?;
        let start = match self.anew {
            Some(_) => None,
            None => Some(continuity::judge(&server, self.history().as_ref(), &source.slot, found.as_ref())?),
        };
        let names: Vec<TableName> = tables.iter().map(|table| table.name.clone()).collect();
        let via_root = prepare_publication(source, &mut catalog, &names, memory).await?;
        self.keep_failover(&mut replication, found.as_ref()).await?;
        let from = match start {
            Some(Start::Resume(from)) => from,
            Some(Start::Adopt(from)) => self.begin_epoch(&server, from).await?,
            Some(Start::Follow(from)) => self.follow(&server, from).await?,
            Some(Start::CreateSlot) => {
                let from = self.create_slot(&mut replication, &mut catalog).await?;
                self.begin_epoch(&server, from).await?
            }
            None => {
                let from = self.begin_anew(&server, found.as_ref(), &tables, &mut replication, &mut catalog).await?;
                watch::begun_anew(source, &mut catalog, memory).await?;
                from
            }
        };
        // Tables that came since the last run are for the watcher: what writes to them must be waited for.
        tables.retain(|table| memory.known().is_some_and(|known| known.tables.contains_key(&table.oid)));
        let epoch = self.recovered.epoch.as_ref().map_or(0, |epoch| epoch.number);
        let spill = Spill::open(&self.writer.beside(), epoch, self.recovered.durable.end_lsn)?;
        let transactions = Transactions::new(self.assembler(&tables), spill);
        // A prepared transaction's rows are kept as they were sent, over any change of the form that is asked for later on.
        let two_phase = source.two_phase || found.is_some_and(|slot| slot.two_phase);
        let binary = match self.types.filter(|_| !two_phase) {
            Some(types) => types.render_all(&mut catalog, &tables).await?,
            None => false,
        };
        let stream = Stream::start(replication, &source.slot, from, &stream_options(source, binary)).await?;
        Ok(Prepared { stream, transactions, tables, catalog, address, via_root, from, binary })
    }

    /// The tables that need not be read again.
    fn copied(&self) -> Vec<u32> {
        if self.anew.is_some() { Vec::new() } else { self.copies.done() }
    }

    /// What the log holds.
    fn history(&self) -> Option<History> {
        self.recovered.epoch.as_ref().map(|epoch| History {
            system_identifier: epoch.system_identifier,
            timeline: epoch.timeline,
            end_lsn: self.recovered.durable.end_lsn.max(epoch.start_lsn),
        })
    }

    /// Goes on behind the log's last event of the epoch, or just before the first position there can be.
    pub(super) fn assembler(&self, tables: &[Table]) -> Assembler {
        let epoch = self.recovered.epoch.as_ref().map_or(0, |epoch| epoch.number);
        let start = self.recovered.epoch.as_ref().map_or(0, |epoch| epoch.start_lsn.get());
        let before = Position { epoch, commit_lsn: Lsn::new(start.saturating_sub(1)), ordinal: 0 };
        let last = self.recovered.durable.position.filter(|position| position.epoch == epoch).unwrap_or(before);
        let source = self.source;
        let wanted = Wanted {
            tables: source.tables.clone(),
            messages: message_filter(source),
            foreign: source.foreign,
            on_truncate: source.on_truncate,
        };
        Assembler::new(epoch, last, wanted, Relations::new(tables.iter().map(|table| table.oid).collect()))
    }
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

/// Makes the publication, or has it send what it lacks; then remembers what the tables are like, if nothing is known yet:
/// before there is a slot, so that whatever is redefined later is found out. Returns whether partitions come as their root's
/// rows.
async fn prepare_publication(
    source: &Source,
    catalog: &mut Connection,
    names: &[TableName],
    memory: &mut Memory,
) -> Result<bool, IngestError> {
    let found = schema::publication(catalog, &source.publication).await?;
    let agreed = watch::agreed(memory);
    // If somebody changed that, the tables have other names in the publication; there is an alarm for it.
    if found.is_none_or(|found| agreed.is_none_or(|agreed| agreed == found.via_root)) {
        publication::ensure(catalog, &source.publication, names).await?;
    }
    if memory.known().is_none() {
        let found = schema::publication(catalog, &source.publication).await?;
        let via_root = found.is_none_or(|found| found.via_root);
        let look = schema::look(catalog, &source.publication, &source.tables, via_root).await?;
        memory.keep(watch::first_known(source, look.inventory)).await?;
    }
    Ok(watch::agreed(memory).unwrap_or(true))
}

/// What can be found wrong without changing anything: also what `walbridge check` looks at. `via_root`: partitions come as
/// their root's rows; `None` if that is still the publication's to say. `copied`: tables that are not read again, and need not be readable.
pub(crate) async fn preflight(
    source: &Source,
    replication: &mut Connection,
    catalog: &mut Connection,
    via_root: Option<bool>,
    copied: &[u32],
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
    let via_root = via_root.unwrap_or_else(|| found.is_none_or(|found| found.via_root));
    let mut tables = catalog::tables(catalog, via_root).await?;
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
    refuse_without_key(source, catalog, &tables).await?;
    refuse(
        &tables,
        Code::SourcePublication,
        |table| !table.logged,
        "are unlogged, so their changes are not in the WAL",
        "Run ALTER TABLE … SET LOGGED, or exclude them in `tables`",
    )?;
    if source.snapshot {
        refuse(
            &tables,
            Code::SourcePrivilege,
            |table| !table.readable && !copied.contains(&table.oid),
            "may not be read by this role",
            "GRANT SELECT on them, and USAGE on their schema, to the role in the url",
        )?;
        refuse(
            &tables,
            Code::SnapshotPartialView,
            |table| table.hides_rows && !copied.contains(&table.oid),
            "hide rows from this role by row-level security, which the stream would show",
            "ALTER ROLE … BYPASSRLS for the role in the url, or exclude them in `tables`",
        )?;
    }
    Ok((server, tables))
}

/// Tables whose rows cannot be named.
async fn refuse_without_key(source: &Source, catalog: &mut Connection, tables: &[Table]) -> Result<(), CaptureError> {
    let is_bad = |table: &&Table| !table.has_identity() || table.key().is_empty() && !source.whole_rows;
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
        tables.iter().filter(is_bad).partition(|table| !table.primary_key.is_empty());
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
