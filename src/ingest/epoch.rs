//! Where a stretch of the source's history begins: with a new slot, on a new timeline, or anew after a break.
//!
//! A break is never mended in silence. What is decided goes into the log first, as an event that everybody can read
//! (`walbridge.source`), with the beginnings of the copies of all tables behind it: a crash anywhere after that finds the decision, and
//! never a new history without the copies that make it whole.

use std::sync::Arc;
use std::time::Duration;

use super::IngestError;
use super::place::Begin;
use super::prepare::Preparation;
use super::spill;
use crate::capture::catalog::{self, Table};
use crate::capture::continuity::Server;
use crate::capture::slot::{self, Slot, SlotOptions};
use crate::capture::types::Types;
use crate::capture::{CaptureError, continuity};
use crate::event::{Lsn, Relation, Timestamp};
use crate::log::{Entry, Epoch, LogWriter};
use crate::postgres::connection::{Connection, Purpose};
use crate::status::{Code, State};

/// The prefix of the messages that tell of decisions.
pub(super) const PREFIX: &str = "walbridge.source";

const RELEASE_ATTEMPTS: u32 = 100;
const RELEASE_PAUSE: Duration = Duration::from_millis(100);

impl<W: LogWriter> Preparation<'_, W> {
    /// Records where this history begins, durably, before anything of it is streamed.
    pub(super) async fn begin_epoch(&mut self, server: &Server, from: Lsn) -> Result<Lsn, IngestError> {
        let epoch = Epoch {
            number: self.recovered.epoch.as_ref().map_or(1, |epoch| epoch.number.saturating_add(1)),
            system_identifier: server.system_identifier,
            timeline: server.timeline,
            slot: self.source.slot.clone(),
            start_lsn: from,
        };
        self.writer.append(Entry::Epoch(&epoch))?;
        self.recovered.durable = self.writer.sync().await?;
        self.board.source(&self.source.name, |status| status.epoch = epoch.number);
        self.recovered.epoch = Some(epoch);
        Ok(from)
    }

    /// Goes on from a standby that was promoted: the proof has been given, nothing is missing and nothing is copied.
    pub(super) async fn follow(&mut self, server: &Server, from: Lsn) -> Result<Lsn, IngestError> {
        let decision = format!(
            "the server was promoted: going on from {from} on timeline {}, whose history holds all that the log holds",
            server.timeline
        );
        tracing::warn!(source = %self.source.name, %decision, "following");
        self.record(&decision).await?;
        let epoch = self.recovered.epoch.as_ref().map_or(0, |epoch| epoch.number);
        spill::carry_over(&self.writer.beside(), epoch, epoch.saturating_add(1))?;
        self.begin_epoch(server, from).await
    }

    /// Begins anew after a break, as was decided: every table is copied again, and what the copy does not bring goes from the
    /// sinks. A slot of ours that is whole is gone on with; one that the server has given up is dropped.
    pub(super) async fn begin_anew(
        &mut self,
        server: &Server,
        found: Option<&Slot>,
        tables: &[Table],
        replication: &mut Connection,
        catalog: &mut Connection,
    ) -> Result<Lsn, IngestError> {
        let reason = self.anew.unwrap_or_default().to_owned();
        let whole = found.filter(|slot| !slot.is_lost());
        if let Some(slot) = whole {
            // Whatever is wrong with it other than where it stands is as wrong as before.
            continuity::judge(server, None, &self.source.slot, Some(slot))?;
        }
        if let Some(pid) = found.and_then(|slot| slot.active_pid) {
            return Err(CaptureError::wait(
                Code::SourceSlotActive,
                format!("slot \"{}\" is being read by process {pid}", self.source.slot),
                "It is taken over when that one lets go",
            )
            .into());
        }
        tracing::warn!(source = %self.source.name, %reason, "history begins anew: all tables are copied again");
        self.record(&format!("history begins anew, all tables are copied again: {reason}")).await?;
        self.begin_copies(tables, &reason, catalog).await?;
        let from = match whole.and_then(|slot| slot.confirmed_flush_lsn) {
            Some(confirmed) => confirmed,
            None => {
                if found.is_some() {
                    tracing::warn!(source = %self.source.name, slot = %self.source.slot, "dropping the slot, which the server has given up");
                    slot::release(catalog, &self.source.slot).await?;
                }
                self.create_slot(replication, catalog).await?
            }
        };
        self.begin_epoch(server, from).await
    }

    /// The beginnings of the copies, at the end of the old history.
    async fn begin_copies(
        &mut self,
        tables: &[Table],
        reason: &str,
        catalog: &mut Connection,
    ) -> Result<(), IngestError> {
        if !self.source.snapshot || self.recovered.epoch.is_none() {
            return Ok(());
        }
        let mut types = Types::default();
        let mut relations: Vec<(Table, Arc<Relation>)> = Vec::new();
        for table in tables.iter().filter(|table| !self.copies.is_fresh(table.oid)) {
            let published = catalog::describe(catalog, table, &self.source.publication, &mut types).await?;
            relations.push((table.clone(), published.relation.clone()));
        }
        let mut assembler = self.assembler(tables);
        let confirmable = self.recovered.durable.end_lsn;
        let now = self.recovered.durable.commit_time.unwrap_or_else(Timestamp::now);
        for (table, relation) in relations {
            // Another cluster's table has another OID, and the sinks have its rows by its name.
            self.copies.assume_copied(&table);
            let begin = Begin { table, reason, relation: &relation, confirmable };
            let events = begin.append(self.copies, &assembler.chunk_unit(now), self.writer)?;
            assembler.chunk_placed(events);
        }
        self.recovered.durable = self.writer.sync().await?;
        Ok(())
    }

    /// Drops the slot, as was decided: the decision first, in the log if it can still be written.
    pub(super) async fn let_go(&mut self, decision: &str) -> Result<(), IngestError> {
        if let Err(error) = self.record_where_it_stands(decision).await {
            tracing::error!(source = %self.source.name, %error, "the decision cannot be written into the log");
        }
        let mut connection = Connection::open(&self.source.address, Purpose::Query).await?;
        // Our own walsender may take a moment to see that we have gone.
        for _ in 0..RELEASE_ATTEMPTS {
            match slot::release(&mut connection, &self.source.slot).await {
                Err(CaptureError::Server { source, .. }) if source.code() == Code::SourceSlotActive => {
                    tokio::time::sleep(RELEASE_PAUSE).await;
                }
                settled => return settled.map_err(IngestError::from),
            }
        }
        Err(CaptureError::wait(
            Code::SourceSlotActive,
            format!("slot \"{}\" is to be dropped and is still being read", self.source.slot),
            "See pg_replication_slots for who reads it",
        )
        .into())
    }

    /// The same in the middle of a session: what was under way is cut off, and comes again from whatever slot there will be.
    async fn record_where_it_stands(&mut self, decision: &str) -> Result<(), IngestError> {
        if self.writer.in_transaction() {
            self.writer.append(Entry::Abort)?;
        }
        self.recovered.durable = self.writer.sync().await?;
        self.record(decision).await
    }

    /// Puts a decision into the log as an event, durably.
    async fn record(&mut self, decision: &str) -> Result<(), IngestError> {
        self.board.source(&self.source.name, |status| status.decision = Some(decision.to_owned()));
        if self.recovered.epoch.is_some() {
            let now = self.recovered.durable.commit_time.unwrap_or_else(Timestamp::now);
            let unit = self.assembler(&[]).chunk_unit(now);
            self.writer.append(Entry::Begin(&unit))?;
            self.writer.append(Entry::Message { prefix: PREFIX, content: decision.as_bytes() })?;
            self.writer.append(Entry::Commit { end_lsn: self.recovered.durable.end_lsn })?;
            self.recovered.durable = self.writer.sync().await?;
        }
        Ok(())
    }

    /// Makes the slot, telling meanwhile what that waits for.
    pub(super) async fn create_slot(
        &mut self,
        replication: &mut Connection,
        catalog: &mut Connection,
    ) -> Result<Lsn, CaptureError> {
        let (source, board) = (self.source, self.board);
        let tell = |what: &str| {
            tracing::warn!(source = %source.name, "making the slot waits for {what}");
            board.source(&source.name, |status| {
                status.state = State::Starting;
                status.message = Some(format!("making the slot waits for {what}"));
            });
        };
        let options =
            SlotOptions { failover: self.wants_failover(replication, source.two_phase), two_phase: source.two_phase };
        let from = slot::create(replication, &source.slot, options, catalog, tell).await?;
        tracing::info!(source = %source.name, slot = %source.slot, consistent_point = %from, "replication slot made");
        Ok(from)
    }

    /// Whether the slot is to have copies on standbys. `two_phase`: it hands out prepared transactions.
    fn wants_failover(&self, replication: &Connection, two_phase: bool) -> bool {
        self.source.failover.unwrap_or(true) && slot::can_fail_over(replication, two_phase)
    }

    /// Has the slot's copies on standbys as configured. What cannot be changed now is only told.
    pub(super) async fn keep_failover(
        &self,
        replication: &mut Connection,
        found: Option<&Slot>,
    ) -> Result<(), CaptureError> {
        let Some(slot) = found.filter(|slot| slot.active_pid.is_none() && !slot.is_lost()) else { return Ok(()) };
        let wanted = self.wants_failover(replication, self.source.two_phase || slot.two_phase);
        if !slot::knows_failover(replication) || slot.failover == wanted {
            return Ok(());
        }
        match slot::set_failover(replication, &self.source.slot, wanted).await {
            Ok(()) => tracing::info!(source = %self.source.name, failover = wanted, "the slot was changed"),
            Err(error @ CaptureError::Server { .. }) => {
                tracing::warn!(source = %self.source.name, %error, "the slot's failover option stays as it is");
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
