//! One table: its rows against their documents, then its documents against its rows (`extra`).

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::changed::Changed;
use super::chunks::Chunks;
use super::eye::Eye;
use super::keys::Roster;
use super::unseen::Unseen;
use super::{Shared, Verifier, VerifyError};
use crate::capture::snapshot::Chunk;
use crate::capture::snapshot::throttle::Throttle;
use crate::capture::snapshot::visibility::Visibility;
use crate::decode::tuple;
use crate::deliver::{Sight, Subject};
use crate::event::{Change, Event, Offset, Op, TableName, Timestamp, Transaction};
use crate::log::{Limit, Log, LogReader};
use crate::postgres::connection::Connection;
use crate::project::mutation::{Document, Effect, Key, Mutation};
use crate::project::{ProjectError, Projection};

/// How much of the log is read at once.
const READ: Limit = Limit { events: 10_000, bytes: 4 << 20 };
/// Rows that are read before the sink is waited for: so many bytes, and so many runs.
const AHEAD_BYTES_MAX: usize = 4 << 20;
const RUNS_MAX: usize = 16;
/// A transaction that no snapshot sees, though it is in the log, is waited for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a walk begins with.
pub(super) struct Start<'a, L: Log> {
    pub(super) verifier: &'a Verifier<L>,
    pub(super) eye: &'a mut Eye,
    pub(super) connection: &'a mut Connection,
    pub(super) report: &'a Shared,
    pub(super) throttle: &'a mut Throttle,
    pub(super) chunks: Chunks,
    /// Every snapshot from now on sees what the log has of the table before this.
    pub(super) from: Offset,
    /// When the last of that was committed: of every delete since the log must tell.
    pub(super) since: Option<Timestamp>,
    pub(super) repair: bool,
    pub(super) sampled: bool,
    /// For the keys of the source.
    pub(super) memory_bytes: usize,
    /// How far the verification is when this table begins, and how far it brings it.
    pub(super) percent: (f64, f64),
}

/// See the module.
pub(super) struct Walk<'a, L: Log> {
    pub(super) given: Start<'a, L>,
    pub(super) table: TableName,
    /// Of rows that are read, and of events: each knows the table by a version of its own.
    projections: [Projection; 2],
    reader: L::Reader,
    /// What of the log has been read.
    pub(super) at: Offset,
    pub(super) unseen: Unseen,
    pub(super) roster: Roster,
    pub(super) changed: Changed,
    /// The table has been walked over: what changes from now on need not be compared.
    has_walked: bool,
    /// Since when a snapshot is waited for that sees what the log has.
    invisible_since: Option<Instant>,
}

/// What is known of what a key should have.
pub(super) enum Basis<'r> {
    /// Rows that a snapshot showed, and what the log has done to them since.
    Rows(&'r [Mutation], &'r Visibility),
    /// Whether the table has such a row at all.
    Keys,
}

impl<'a, L: Log> Walk<'a, L> {
    pub(super) fn begin(given: Start<'a, L>) -> Result<Self, VerifyError> {
        let Verifier { log, projection, directory, .. } = given.verifier;
        let reader = log.reader_since(given.from, given.since)?;
        let target = &given.chunks.survey().target;
        let changed = Changed::new(!given.sampled && target.finds_by_key(), directory.clone());
        Ok(Walk {
            table: target.table.name.clone(),
            projections: [projection.clone(), projection.clone()],
            reader,
            at: given.from,
            unseen: Unseen::default(),
            roster: Roster::new(given.memory_bytes, directory.clone()),
            changed,
            has_walked: false,
            invisible_since: None,
            given,
        })
    }

    /// All of it.
    pub(super) async fn run(&mut self) -> Result<(), VerifyError> {
        while self.walk_places().await? {
            if self.changed.are_many() {
                self.compare_changed().await?;
            }
        }
        if self.given.sampled {
            return Ok(());
        }
        self.compare_changed().await?;
        self.has_walked = true;
        (self.unseen, self.changed) = (Unseen::default(), Changed::new(false, PathBuf::new()));
        let not_whole = match self.extra().await {
            Ok(()) => None,
            Err(error @ VerifyError::NoRoom { .. }) => Some(error.to_string()),
            Err(error) => return Err(error),
        };
        self.given.report.table(&self.table, |table| {
            (table.whole, table.not_whole) = (not_whole.is_none(), not_whole);
        });
        Ok(())
    }

    /// The next runs of rows by their places; `false`: there is none. Several are read before the sink is waited for, once for all. Rows that have
    /// been compared are only noted.
    async fn walk_places(&mut self) -> Result<bool, VerifyError> {
        let (mut runs, mut bytes) = (Vec::new(), 0);
        while bytes < AHEAD_BYTES_MAX {
            let Start { verifier, connection, throttle, chunks, .. } = &mut self.given;
            let publication = &verifier.origin.publication;
            let Some((places, chunk)) = chunks.fetch(connection, publication, throttle).await? else { break };
            chunks.read(&places, chunk.rows.bytes() as u64, chunk.took);
            let share = 0.9 * chunks.progress();
            self.show(share);
            bytes += chunk.rows.bytes().max(AHEAD_BYTES_MAX / RUNS_MAX);
            runs.push((places.start, chunk));
        }
        let Some((_, last)) = runs.last() else { return Ok(false) };
        let after = self.given.eye.logged(last.seen_upto, self.given.connection).await?;
        for (start, chunk) in runs {
            let is_settled = self.compare(&chunk, after).await?;
            if !is_settled {
                self.given.chunks.go_back(start);
                self.wait_for_visibility().await?;
                break;
            }
            self.invisible_since = None;
        }
        Ok(true)
    }

    /// Rows that have changed since this began, by their keys: their new places may have been walked over already.
    async fn compare_changed(&mut self) -> Result<(), VerifyError> {
        // Others come while these are compared.
        let mut left = self.changed.len();
        while left > 0
            && let Some(keys) = self.changed.take().await.map_err(|error| self.no_room(error))?
        {
            left = left.saturating_sub(keys.len());
            let mut parts = vec![keys];
            while let Some(mut keys) = parts.pop() {
                let Start { verifier, connection, throttle, chunks, .. } = &mut self.given;
                let publication = &verifier.origin.publication;
                let fetched = chunks.fetch_keys(connection, publication, keys.clone(), throttle).await?;
                let Some(chunk) = fetched else {
                    parts.push(keys.split_off(keys.len() / 2));
                    parts.push(keys);
                    continue;
                };
                let after = self.given.eye.logged(chunk.seen_upto, self.given.connection).await?;
                if self.compare(&chunk, after).await? {
                    self.invisible_since = None;
                } else {
                    self.wait_for_visibility().await?;
                    parts.push(keys);
                }
            }
        }
        Ok(())
    }

    /// Compares rows with their documents; `false`: the log has a change that the snapshot should have seen, and another must be taken.
    async fn compare(&mut self, chunk: &Chunk, after: Offset) -> Result<bool, VerifyError> {
        let rows = self.rows(chunk)?;
        let keys: Vec<Key> = rows.iter().map(|row| row.key.clone()).collect::<HashSet<_>>().into_iter().collect();
        let basis = Basis::Rows(&rows, &chunk.visibility);
        let sight = self.look(Subject::Documents(keys.clone()), after).await?;
        let Some(wrong) = self.judge(&basis, &keys, &sight)? else { return Ok(false) };
        let count = keys.len() as u64;
        self.given.report.table(&self.table, |table| table.rows += count);
        self.roster.settle().await;
        self.tell(&basis, wrong).await?;
        Ok(true)
    }

    /// Rows as delivery would put them.
    fn rows(&mut self, chunk: &Chunk) -> Result<Vec<Mutation>, VerifyError> {
        let relation = &chunk.target.published.relation;
        let transaction = Arc::new(Transaction {
            epoch: 0,
            xid: 0,
            commit_lsn: chunk.seen_upto,
            commit_time: Timestamp::now(),
            first_ordinal: 0,
            origin: None,
        });
        let (mut rows, mut without_key) = (Vec::with_capacity(chunk.rows.len()), 0);
        let [projection, _] = &mut self.projections;
        for body in chunk.rows.bodies() {
            let change = tuple::change(Op::Read, relation, &Bytes::copy_from_slice(body))?;
            let event = Event { transaction: transaction.clone(), ordinal: 0, change };
            match projection.project(&event, &mut rows) {
                Ok(()) => {}
                Err(error) if error.is_of_table() => return Err(VerifyError::Project(error)),
                Err(_) => without_key += 1,
            }
        }
        self.given.report.table(&self.table, |table| table.without_key += without_key);
        Ok(rows)
    }

    /// Looks at documents as of a place up to which the log has been read.
    pub(super) async fn look(&mut self, subject: Subject, mut after: Offset) -> Result<Sight, VerifyError> {
        loop {
            let sight = self.given.eye.look(&subject, after.max(self.at), self.given.connection).await?;
            let place = sight.checkpoint.offset;
            self.advance(place).await?;
            // Compaction leaves gaps, and behind one the log may have been read too far.
            if self.at <= place {
                self.given.report.change(|report| report.compared_at(place));
                return Ok(sight);
            }
            after = self.at;
        }
    }

    /// Reads the log up to here.
    pub(super) async fn advance(&mut self, upto: Offset) -> Result<(), VerifyError> {
        while self.at < upto {
            let left = usize::try_from(upto.0.saturating_sub(self.at.0)).unwrap_or(usize::MAX);
            let batch = self.reader.next(Limit { events: READ.events.min(left), ..READ }).await?;
            for event in &batch.events {
                self.take(event)?;
            }
            self.at = batch.next;
            self.roster.settle().await;
            self.changed.settle().await.map_err(|error| self.no_room(error))?;
        }
        Ok(())
    }

    fn take(&mut self, event: &Event) -> Result<(), VerifyError> {
        let Some(relation) = event.change.relation() else { return Ok(()) };
        let target = &self.given.chunks.survey().target;
        if relation.oid != target.table.oid {
            return Ok(());
        }
        match &event.change {
            Change::CopyBegun { .. } => return Err(VerifyError::CopiedAgain),
            // A copy tells nothing new: what it read is in the source, and what changed since is told besides.
            Change::Read { .. } | Change::CopyDone { .. } | Change::Message { .. } => return Ok(()),
            Change::Insert { new, .. } | Change::Update { new, .. } => self.changed.add(relation, new),
            Change::Delete { .. } | Change::Truncate { .. } => {}
        }
        let mut mutations = Vec::new();
        let [_, projection] = &mut self.projections;
        match projection.project(event, &mut mutations) {
            Ok(()) => {}
            Err(error) if error.is_of_table() => return Err(VerifyError::Project(error)),
            Err(ProjectError::Incomplete(_)) => be_asked(projection, event, &mut mutations),
            // It has no document, before and after.
            Err(_) => return Ok(()),
        }
        if !self.given.sampled {
            mutations.iter().for_each(|mutation| self.roster.note(mutation));
        }
        if !self.has_walked {
            self.unseen.add(event.transaction.xid, mutations);
        }
        Ok(())
    }

    /// So far is this table, of 1.
    pub(super) fn show(&self, share: f64) {
        let (before, own) = self.given.percent;
        self.given.report.change(|report| report.percent = before + own * share);
    }

    /// What is too large for the memory cannot be kept.
    pub(super) fn no_room(&self, error: std::io::Error) -> VerifyError {
        VerifyError::NoRoom { directory: self.given.verifier.directory.clone(), error }
    }

    /// Waits a little for a transaction that is in the log, and which no snapshot sees yet.
    async fn wait_for_visibility(&mut self) -> Result<(), VerifyError> {
        if self.invisible_since.get_or_insert_with(Instant::now).elapsed() > PATIENCE {
            return Err(VerifyError::Stalled(
                "a large transaction is in the log, and the source does not show it: it waits for a synchronous standby. Verify again when that is back".to_owned(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        Ok(())
    }
}

/// Whether the row is the sink's is not told by the event: as a row that came from elsewhere without its large values.
fn be_asked(projection: &mut Projection, event: &Event, out: &mut Vec<Mutation>) {
    let _ = projection.forget_rows(event, out);
    if let (Some(gone), Change::Update { relation, new, .. }) = (out.last(), &event.change) {
        let document = Document { relation: relation.clone(), row: new.clone() };
        out.push(Mutation { effect: Effect::Put { document, moved_from: None }, ..gone.clone() });
    }
}
