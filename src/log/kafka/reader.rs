//! A reader of the whole log: all partitions, put into the log's one order, on a thread of its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::follow::{Follower, Known};
use super::gather::Gather;
use super::merge::{Merge, Step};
use super::seek;
use crate::event::{Change, Event, Offset, Timestamp, Transaction};
use crate::kafka::KafkaError;
use crate::kafka::admin::Admin;
use crate::kafka::fetch::{Fetched, Fetcher, Probe};
use crate::kafka::format::{Decoded, Decoder};
use crate::kafka::headers::EventHeads;
use crate::log::{Batch, Limit, LogError, LogReader};

/// How long to wait at once for records, or for the log's state.
const TURN: Duration = Duration::from_millis(20);
/// After so long without the next event it is asked whether it is there at all.
const DOUBT: Duration = Duration::from_secs(1);

/// A topic as it was when it was last looked at.
struct Read {
    partitions: i32,
    /// Old records of a key go, and after so long its tombstone; `None`: records go by their age, or never.
    compacted: Option<Duration>,
}

/// See the module. Dropping it ends the thread.
pub struct Reader {
    limits: SyncSender<Limit>,
    batches: mpsc::Receiver<Result<Batch, LogError>>,
    /// A batch has been asked for and not been given.
    asked: bool,
}

impl Reader {
    pub(super) fn start(follower: Arc<Follower>, from: Offset, time: Option<Timestamp>) -> Result<Self, LogError> {
        let (limits, wanted) = sync_channel(1);
        let (give, batches) = mpsc::channel(1);
        let name = format!("read-{}", follower.options.source);
        let body = move || {
            let ended = Worker::new(follower, from, time).and_then(|mut worker| worker.run(&wanted, &give));
            if let Err(error) = ended {
                // Whoever asked may have gone.
                drop(give.blocking_send(Err(error)));
            }
        };
        let thread = std::thread::Builder::new().name(name).spawn(body);
        thread.map_err(|error| LogError::Misuse(format!("no thread to read the log: {error}")))?;
        Ok(Reader { limits, batches, asked: false })
    }
}

impl LogReader for Reader {
    async fn next(&mut self, limit: Limit) -> Result<Batch, LogError> {
        if !self.asked {
            self.asked = self.limits.try_send(limit).is_ok();
        }
        let batch = self.batches.recv().await;
        self.asked = false;
        batch.unwrap_or_else(|| Err(LogError::Misuse("the log's reader ended".to_owned())))
    }
}

struct Worker {
    follower: Arc<Follower>,
    fetcher: Fetcher,
    probe: Probe,
    merge: Merge<Fetched>,
    /// What is read.
    topics: BTreeMap<String, Read>,
    admin: Admin,
    runtime: Runtime,
    /// Deletes before this time need not be told of; `None`: every one.
    time: Option<Timestamp>,
    decoders: HashMap<u32, Decoder>,
    unit: Option<Arc<Transaction>>,
    gather: Gather,
    /// The next event has been missing since.
    missing_since: Option<Instant>,
    /// Events before this one are in no partition that is not known.
    looked: u64,
}

impl Worker {
    fn new(follower: Arc<Follower>, from: Offset, time: Option<Timestamp>) -> Result<Self, LogError> {
        let settings = &follower.options.settings;
        let (fetcher, probe, admin) = (Fetcher::new(settings)?, Probe::new(settings)?, Admin::new(settings)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| LogError::Misuse(format!("no runtime to read the log: {error}")))?;
        Ok(Worker {
            follower,
            fetcher,
            probe,
            merge: Merge::new(from.0),
            topics: BTreeMap::new(),
            admin,
            runtime,
            time,
            decoders: HashMap::new(),
            unit: None,
            gather: Gather::default(),
            missing_since: None,
            looked: 0,
        })
    }

    /// Gives a batch for each that is asked for, until nobody asks any more.
    fn run(&mut self, wanted: &Receiver<Limit>, give: &mpsc::Sender<Result<Batch, LogError>>) -> Result<(), LogError> {
        loop {
            let limit = match wanted.recv_timeout(Duration::from_secs(1)) {
                Ok(limit) => limit,
                // The client must be looked after even so.
                Err(RecvTimeoutError::Timeout) => {
                    self.fetcher.poll(Duration::ZERO)?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            while !give.is_closed() {
                if let Some(batch) = self.fill(limit)? {
                    if give.blocking_send(Ok(batch)).is_err() {
                        return Ok(());
                    }
                    break;
                }
            }
        }
    }

    /// Takes what is there, up to the limit; waits a little if there is nothing.
    fn fill(&mut self, limit: Limit) -> Result<Option<Batch>, LogError> {
        self.take_topics()?;
        self.show()?;
        let (durable, states) = {
            let known = self.follower.known();
            (known.durable.offset, known.states)
        };
        while !self.gather.is_full(limit) && self.merge.next() < durable.0 {
            if !self.advance(durable)? {
                break;
            }
        }
        if self.merge.next() >= durable.0 {
            self.gather.end();
        }
        if !self.gather.is_empty() {
            return Ok(self.gather.take(Offset(self.merge.next())).map(|batch| self.weigh(batch)));
        }
        if self.follower.has_failed() {
            return Err(self.follower.failure().into());
        }
        if self.merge.next() >= durable.0 {
            self.fetcher.poll(Duration::ZERO)?;
            self.follower.await_news(states, TURN);
        } else {
            self.fetcher.poll(TURN)?;
        }
        Ok(None)
    }

    /// Takes the next event. False: it is not here.
    fn advance(&mut self, durable: Offset) -> Result<bool, LogError> {
        let next = self.merge.next();
        let bound = {
            let known = self.follower.known();
            if let Some(events) = known.voids.get(&next) {
                let behind = next.saturating_add(*events);
                drop(known);
                self.merge.pass(behind);
                return Ok(true);
            }
            if let Some(copied) = known.copies.get(&next).cloned() {
                let relation = relation(&known, copied.version)?;
                drop(known);
                let change = match copied.since {
                    None => Change::CopyBegun { relation },
                    Some(since) => Change::CopyDone { relation, since },
                };
                self.accept(copied.heads, change);
                return Ok(true);
            }
            bound(&known, next).min(durable.0)
        };
        match self.merge.step(bound) {
            Step::Record(number, record) => {
                let heads = EventHeads::read(|name| record.header(name)).map_err(|detail| self.strange(detail))?;
                if let Some(change) = self.decode(&record, &heads)? {
                    self.accept(heads, change);
                }
                self.missing_since = None;
                // Its partition shows its next record.
                self.show_of(number)?;
                Ok(true)
            }
            Step::Hole(end) => self.pass_hole(next, end),
            // A record that went with another one hid what is behind it.
            Step::Missing => Ok(self.show()? || self.doubt(next)?),
        }
    }

    fn accept(&mut self, heads: EventHeads, change: Change) {
        let EventHeads { offset, ordinal, transaction, .. } = heads;
        let unit = match &self.unit {
            Some(unit) if **unit == transaction => Arc::clone(unit),
            _ => Arc::clone(self.unit.insert(Arc::new(transaction))),
        };
        self.gather.push(offset, Event { transaction: unit, ordinal, change });
        self.merge.pass(offset.0.saturating_add(1));
    }

    /// `None`: a record that only goes with another.
    fn decode(&mut self, record: &Fetched, heads: &EventHeads) -> Result<Option<Change>, LogError> {
        let decoded = if heads.version == 0 {
            let value = record.value().unwrap_or_default();
            self.follower.options.settings.format.decode_message(value).map(Decoded::Change)
        } else {
            let decoder = match self.decoders.entry(heads.version) {
                std::collections::hash_map::Entry::Occupied(found) => found.into_mut(),
                std::collections::hash_map::Entry::Vacant(free) => {
                    let relation = relation(&self.follower.known(), heads.version)?;
                    free.insert(self.follower.options.settings.format.decoder(&relation))
                }
            };
            decoder.decode(record.value(), |name| record.header(name))
        };
        match decoded {
            Ok(Decoded::Change(change)) => Ok(Some(change)),
            Ok(Decoded::Companion) => Ok(None),
            Err(error) => Err(self.strange(format!("event {}: {error}", heads.offset))),
        }
    }

    /// Lets each partition show its next record. Whether any did.
    fn show(&mut self) -> Result<bool, LogError> {
        let unshown: Vec<usize> = self.merge.unshown().collect();
        unshown.into_iter().try_fold(false, |any, number| Ok(self.show_of(number)? || any))
    }

    /// Lets a partition show its next record, if it is here.
    fn show_of(&mut self, number: usize) -> Result<bool, LogError> {
        while let Some(record) = self.fetcher.take(number) {
            let topic = self.fetcher.next(number).map_or("", |(topic, ..)| topic);
            let offset = seek::number(&record, topic)?;
            if self.merge.show(number, offset, record) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the topics that have come since, and the partitions that they have got.
    fn take_topics(&mut self) -> Result<(), LogError> {
        let new: Vec<String> = {
            let known = self.follower.known();
            if known.topics.len() == self.topics.len() {
                return Ok(());
            }
            known.topics.iter().filter(|topic| !self.topics.contains_key(*topic)).cloned().collect()
        };
        new.iter().try_for_each(|topic| self.take_partitions(topic))
    }

    fn take_partitions(&mut self, topic: &str) -> Result<(), LogError> {
        let found = self.runtime.block_on(self.admin.find(topic))?;
        let partitions = found.as_ref().map_or(0, |found| found.partitions);
        let compacted = found.filter(|found| found.is_compacted()).map(|found| found.tombstones_kept);
        let known =
            self.topics.insert(topic.to_owned(), Read { partitions, compacted }).map_or(0, |read| read.partitions);
        if partitions == 0 || partitions < known {
            return Err(LogError::from(KafkaError::Lost {
                topic: topic.to_owned(),
                control: crate::kafka::topic::control(&self.follower.options.source),
                detail: format!("it has {partitions} partitions and had {known}"),
            }));
        }
        for partition in known..partitions {
            let from = seek::find(&self.probe, topic, partition, self.merge.next())?;
            self.fetcher.add(topic, partition, from)?;
            self.merge.add(0);
        }
        Ok(())
    }

    /// The next event has not come: after a while partitions are asked whether they have it.
    fn doubt(&mut self, next: u64) -> Result<bool, LogError> {
        let since = *self.missing_since.get_or_insert_with(Instant::now);
        if since.elapsed() < DOUBT {
            return Ok(false);
        }
        self.missing_since = None;
        for topic in self.topics.keys().cloned().collect::<Vec<_>>() {
            self.take_partitions(&topic)?;
        }
        let (durable, settled) = {
            let known = self.follower.known();
            (known.durable.offset.0, known.settled.0)
        };
        let suspects: Vec<usize> = self.merge.suspects(next.saturating_add(1)).collect();
        for number in suspects {
            let Some((topic, partition, from)) = self.fetcher.next(number) else { continue };
            let below = if self.probe.is_settled(topic, partition)? { durable } else { settled };
            if self.probe.first_at(topic, partition, from)?.is_none() {
                self.merge.empty(number, below);
            }
        }
        Ok(matches!(self.merge.step(next.saturating_add(1)), Step::Record(..) | Step::Hole(_)))
    }

    /// Events that are in no partition. Where compaction removed them, the newest of each key is still to come, so the end is the
    /// same; but for keys that were deleted so long ago that not even that is told any more. Retention leaves a gap.
    fn pass_hole(&mut self, next: u64, end: u64) -> Result<bool, LogError> {
        if end > self.looked {
            // They may be in partitions that were added since.
            self.looked = self.follower.known().durable.offset.0;
            for topic in self.topics.keys().cloned().collect::<Vec<_>>() {
                self.take_partitions(&topic)?;
            }
            return Ok(true);
        }
        let seen = self.time.max(self.unit.as_ref().map(|unit| unit.commit_time));
        let age = seen.map(|seen| Timestamp::now().unix_micros().saturating_sub(seen.unix_micros()));
        let mut told_all = self.topics.values().any(|read| read.compacted.is_some());
        for (topic, read) in &self.topics {
            told_all &= match read.compacted {
                Some(kept) => age.is_some_and(|age| i128::from(age) < kept.as_micros().cast_signed()),
                None => !self.has_lost_some(topic, read.partitions)?,
            };
        }
        if !told_all {
            return Err(LogError::Expired { wanted: Offset(next), start: Offset(end) });
        }
        self.merge.pass(end);
        Ok(true)
    }

    /// Whether retention has removed records of a topic.
    fn has_lost_some(&self, topic: &str, partitions: i32) -> Result<bool, LogError> {
        for partition in 0..partitions {
            if self.probe.marks(topic, partition)?.0 > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// How large the log is behind a batch; see [`super::Log`].
    fn weigh(&self, batch: Batch) -> Batch {
        let bytes = super::handle::bytes_at(self.follower.known().durable, batch.next);
        Batch { bytes, ..batch }
    }

    fn strange(&self, detail: String) -> LogError {
        KafkaError::Control { topic: self.follower.options.source.clone(), detail }.into()
    }
}

/// The next number that no partition can have, from this one on.
fn bound(known: &MutexGuard<'_, Known>, next: u64) -> u64 {
    let first = |mut keys: std::collections::btree_map::Range<'_, u64, u64>| keys.next().map(|(number, _)| *number);
    let void = first(known.voids.range(next..));
    let copy = known.copies.range(next..).next().map(|(number, _)| *number);
    void.unwrap_or(u64::MAX).min(copy.unwrap_or(u64::MAX))
}

pub(super) fn relation(known: &Known, version: u32) -> Result<Arc<crate::event::Relation>, LogError> {
    let found = known.relations.get(&version).cloned();
    found.ok_or_else(|| {
        LogError::from(KafkaError::Control {
            topic: "the log's own".to_owned(),
            detail: format!(
                "version {version} of a table is not in it: was it compacted by something else than Kafka?"
            ),
        })
    })
}
