//! From nothing to a running stream: connect, look, prove continuity, make what is missing.

use std::sync::Arc;

use super::assemble::{Assembler, Wanted};
use super::copies::Copies;
use super::memory::Memory;
use super::plan::first_known;
use super::preflight::{Past, preflight};
use super::relations::Relations;
use super::spill::Spill;
use super::transactions::Transactions;
use super::{IngestError, Source, watch};
use crate::capture::catalog::Table;
use crate::capture::continuity::{self, History, Start};
use crate::capture::stream::{Stream, StreamOptions};
use crate::capture::types::Types;
use crate::capture::{CaptureError, publication, schema, slot};
use crate::event::{Lsn, MessageFilter, Position, TableName};
use crate::log::{LogWriter, Recovered};
use crate::postgres::address::Address;
use crate::postgres::connection::{Connection, Purpose};
use crate::status::Board;

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
        let past = Past {
            via_root: watch::agreed(memory),
            copied: &copied,
            known: memory.known().filter(|_| self.recovered.epoch.is_some()),
        };
        let (mut server, mut tables) = preflight(source, &mut replication, &mut catalog, &past).await?;
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
    if found.as_ref().is_none_or(|found| agreed.is_none_or(|agreed| agreed == found.via_root)) {
        match publication::ensure(catalog, &source.publication, names).await {
            // What the others send is gone on with; the watcher has an alarm for those that are not sent.
            Err(error @ CaptureError::Refused { .. })
                if memory.known().is_some() && found.is_some_and(|found| found.complete) =>
            {
                tracing::warn!(source = %source.name, %error, "not every table is sent");
            }
            ensured => ensured?,
        }
    }
    if memory.known().is_none() {
        let found = schema::publication(catalog, &source.publication).await?;
        let via_root = found.is_none_or(|found| found.via_root);
        let look = schema::look(catalog, &source.publication, &source.tables, via_root).await?;
        memory.keep(first_known(source, look.inventory)).await?;
    }
    Ok(watch::agreed(memory).unwrap_or(true))
}
