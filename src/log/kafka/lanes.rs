//! A reader of some partitions, each in its own order and none waiting for another, on a thread of its own.
//!
//! Which of two partitions is ahead says nothing, so a partition that has nothing to show holds up nobody. Only at an event that concerns all
//! rows of a table, a truncation or the end of a copy, its partitions wait for each other ([`crate::log::share::Gate`]).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use super::follow::{Follower, Known};
use super::lane::{Bounds, Lane, Next, Stand};
use super::reader::relation;
use super::seek;
use crate::event::{Change, Event, Offset, OldRow, Relation, Timestamp, Transaction};
use crate::kafka::KafkaError;
use crate::kafka::admin::Admin;
use crate::kafka::fetch::{Fetched, Fetcher, Probe};
use crate::kafka::format::{Decoded, Decoder};
use crate::kafka::headers::EventHeads;
use crate::log::share::{Gate, Lanes, LanesEnd, Opens, Part, Reached, Run};
use crate::log::{Limit, LogError};

/// How long to wait at once for records.
const TURN: Duration = Duration::from_millis(20);
/// How often partitions that show nothing are asked how far they are, and how long all of that may take at once.
const ASK_INTERVAL: Duration = Duration::from_millis(500);
const ASK_AT_ONCE: Duration = Duration::from_millis(50);
/// So many records of one partition, then another's turn.
const RECORDS_AT_ONCE: usize = 500;

pub(super) fn start(follower: Arc<Follower>, parts: Vec<(Part, Reached)>) -> Result<Lanes, LogError> {
    let (lanes, end) = Lanes::new();
    let name = format!("lanes-{}", follower.options.source);
    let body = move || {
        let ended = Worker::new(follower, parts).and_then(|mut worker| worker.run(&end));
        if let Err(error) = ended {
            // Whoever asked may have gone.
            drop(end.runs.blocking_send(Err(error)));
        }
    };
    let thread = std::thread::Builder::new().name(name).spawn(body);
    thread.map_err(|error| LogError::Misuse(format!("no thread to read the log: {error}")))?;
    Ok(lanes)
}

/// A topic as it was when the reading began.
#[derive(Clone, Copy)]
struct Topic {
    partitions: i32,
    /// Compaction keeps a tombstone for so long; `None`: records go by their age, or never.
    compacted: Option<Duration>,
}

struct Worker {
    follower: Arc<Follower>,
    fetcher: Fetcher,
    probe: Probe,
    lanes: Vec<Lane>,
    topics: HashMap<Arc<str>, Topic>,
    decoders: HashMap<u32, Decoder>,
    unit: Option<Arc<Transaction>>,
    run: Run,
    bytes: usize,
    /// Whose turn it is, of those that have records and of those that have none.
    turn: usize,
    ask: usize,
    asked: Instant,
}

impl Worker {
    fn new(follower: Arc<Follower>, parts: Vec<(Part, Reached)>) -> Result<Self, LogError> {
        let settings = &follower.options.settings;
        let (fetcher, probe, admin) = (Fetcher::new(settings)?, Probe::new(settings)?, Admin::new(settings)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| LogError::Misuse(format!("no runtime to read the log: {error}")))?;
        let mut worker = Worker {
            follower,
            fetcher,
            probe,
            lanes: Vec::new(),
            topics: HashMap::new(),
            decoders: HashMap::new(),
            unit: None,
            run: Run::default(),
            bytes: 0,
            turn: 0,
            ask: 0,
            asked: Instant::now(),
        };
        for (part, reached) in parts {
            let topic = match worker.topics.get(&part.topic) {
                Some(topic) => *topic,
                None => {
                    let found = runtime.block_on(admin.find(&part.topic))?;
                    let found = found.ok_or_else(|| worker.lost(&part, "it is not there any more".to_owned()))?;
                    let compacted = found.is_compacted().then_some(found.tombstones_kept);
                    let topic = Topic { partitions: found.partitions, compacted };
                    worker.topics.insert(Arc::clone(&part.topic), topic);
                    topic
                }
            };
            worker.begin(part, reached, topic)?;
        }
        Ok(worker)
    }

    /// Finds where a partition goes on.
    fn begin(&mut self, part: Part, mut reached: Reached, topic: Topic) -> Result<(), LogError> {
        if reached.spread == 0 {
            reached.spread = topic.partitions;
        }
        let (start, end) = self.probe.marks(&part.topic, part.number)?;
        let place = match reached.place {
            Some(place) if place > end => {
                let detail = format!("partition {} ends at {end} and was read up to {place}", part.number);
                return Err(self.lost(&part, detail));
            }
            Some(place) => place,
            None if reached.offset == Offset(0) => 0,
            None => seek::find(&self.probe, &part.topic, part.number, reached.offset.0)?,
        };
        if topic.compacted.is_none() && place < start {
            let first = self.probe.first_at(&part.topic, part.number, start)?;
            let first = first.map(|record| seek::number(&record, &part.topic)).transpose()?;
            let start = Offset(first.unwrap_or_else(|| self.follower.known().durable.offset.0));
            return Err(LogError::Expired { wanted: reached.offset, start });
        }
        if reached.place.is_none() && reached.offset > Offset(0) && is_over(topic.compacted, reached.time) {
            // What was in front of that place, and is gone, cannot be told.
            let start = self.follower.known().durable.offset;
            return Err(LogError::Expired { wanted: reached.offset, start });
        }
        let place = place.max(start);
        self.fetcher.add(&part.topic, part.number, place)?;
        reached.place = Some(place);
        let partitions = topic.partitions;
        self.lanes.push(Lane { part, reached, partitions, stands: None, moved: false, empty_to: 0 });
        Ok(())
    }

    fn lost(&self, part: &Part, detail: String) -> LogError {
        let control = crate::kafka::topic::control(&self.follower.options.source);
        KafkaError::Lost { topic: part.topic.to_string(), control, detail }.into()
    }

    /// Gives a run for each that is asked for, until nobody asks any more.
    fn run(&mut self, end: &LanesEnd) -> Result<(), LogError> {
        loop {
            let limit = match end.limits.recv_timeout(Duration::from_secs(1)) {
                Ok(limit) => limit,
                // The client must be looked after even so.
                Err(RecvTimeoutError::Timeout) => {
                    self.fetcher.poll(Duration::ZERO)?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            };
            while !end.runs.is_closed() {
                while let Ok(gate) = end.passes.try_recv() {
                    if let Some(lane) = self.lanes.get_mut(gate.lane) {
                        lane.go_on();
                    }
                }
                if let Some(run) = self.fill(limit)? {
                    if end.runs.blocking_send(Ok(run)).is_err() {
                        return Ok(());
                    }
                    break;
                }
            }
        }
    }

    /// Takes what is there, up to the limit; waits a little if there is nothing.
    fn fill(&mut self, limit: Limit) -> Result<Option<Run>, LogError> {
        if self.follower.has_failed() {
            return Err(self.follower.failure().into());
        }
        self.fetcher.poll(Duration::ZERO)?;
        for _ in 0..self.lanes.len() {
            self.turn = (self.turn + 1) % self.lanes.len();
            self.take(self.turn, limit)?;
        }
        if self.asked.elapsed() >= ASK_INTERVAL {
            self.asked = Instant::now();
            self.ask_the_idle()?;
        }
        let moved = self.lanes.iter_mut().enumerate();
        let moved =
            moved.filter_map(|(number, lane)| std::mem::take(&mut lane.moved).then_some((number, lane.reached)));
        self.run.reached = moved.collect();
        if self.run.reached.is_empty() && self.run.gates.is_empty() {
            self.fetcher.poll(TURN)?;
            return Ok(None);
        }
        self.bytes = 0;
        Ok(Some(std::mem::take(&mut self.run)))
    }

    /// Takes a lane's next records.
    fn take(&mut self, at: usize, limit: Limit) -> Result<(), LogError> {
        for _ in 0..RECORDS_AT_ONCE {
            let full = self.run.events.len() >= limit.events || self.bytes >= limit.bytes;
            let (Some(lane), Some(record)) = (self.lanes.get(at), self.fetcher.peek(at)) else { return Ok(()) };
            if full || lane.stands.is_some() {
                return Ok(());
            }
            let number = seek::number(record, &lane.part.topic)?;
            let bounds = self.bounds(lane, number);
            match lane.next(number, record.key(), bounds) {
                Next::Wait => return Ok(()),
                Next::Stand(stand) => return self.stand(at, stand),
                Next::Drop => self.pass(at, number),
                Next::Take => {
                    self.check_gap(at)?;
                    self.accept(at, number)?;
                }
                Next::Keyless => {
                    let detail = "its rows have no key, so their order is not that of its partitions. Give the table a primary key, \
                                  leave it out of `from`, or take `share` away from the sink";
                    return Err(self.unusable(at, detail));
                }
                Next::Misplaced => {
                    // Of partitions that were added the writer may have heard before us.
                    self.probe.still_has(&lane.part.topic, lane.partitions)?;
                    let detail =
                        "a row lies in another partition than its key has: something else than walbridge writes there";
                    return Err(self.unusable(at, detail));
                }
            }
        }
        Ok(())
    }

    fn unusable(&self, at: usize, detail: &str) -> LogError {
        let topic = self.lanes.get(at).map(|lane| lane.part.topic.to_string()).unwrap_or_default();
        KafkaError::Topic { topic, detail: detail.to_owned() }.into()
    }

    fn bounds(&self, lane: &Lane, number: u64) -> Bounds {
        let known = self.follower.known();
        let void = known.voids.range(..=number).next_back();
        Bounds {
            durable: known.durable.offset.0,
            gate: self.gate(&known, &lane.part, lane.reached.offset.0),
            void: void.is_some_and(|(from, events)| number < from.saturating_add(*events)),
        }
    }

    /// The next event, from this number on, that all partitions of the lane's topic stop at.
    fn gate(&self, known: &Known, part: &Part, from: u64) -> Option<u64> {
        let truncation = known.truncations.get(&*part.topic).and_then(|all| all.range(from..).next().copied());
        let mut copies = known.copies.range(from..known.durable.offset.0.max(from));
        let copy = copies.find(|(_, copied)| {
            let table = known.relations.get(&copied.version).map(|relation| &relation.name);
            copied.since.is_some() && table.is_some_and(|table| self.topic_of(table).as_deref() == Some(&*part.topic))
        });
        [truncation, copy.map(|(number, _)| *number)].into_iter().flatten().min()
    }

    fn topic_of(&self, table: &crate::event::TableName) -> Option<String> {
        let options = &self.follower.options;
        options.settings.topic.of_table(&options.source, table).ok()
    }

    /// Leaves the lane's next record behind.
    fn pass(&mut self, at: usize, number: u64) {
        if let (Some(record), Some(lane)) = (self.fetcher.take(at), self.lanes.get_mut(at)) {
            lane.took(number, record.offset());
        }
    }

    /// The lane's next record is the next event.
    fn accept(&mut self, at: usize, number: u64) -> Result<(), LogError> {
        let Some(record) = self.fetcher.take(at) else { return Ok(()) };
        let heads = EventHeads::read(|name| record.header(name)).map_err(|detail| self.strange(detail))?;
        let time = heads.transaction.commit_time;
        if let Some(change) = self.decode(&record, &heads)? {
            let change = alone(change);
            self.bytes = self.bytes.saturating_add(change.bytes().saturating_add(size_of::<Event>()));
            let event = self.event(heads, change);
            self.run.events.push(event);
        }
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.took(number, record.offset());
            lane.reached.time = lane.reached.time.max(time);
        }
        Ok(())
    }

    fn event(&mut self, heads: EventHeads, change: Change) -> Event {
        let EventHeads { ordinal, transaction, .. } = heads;
        let unit = match &self.unit {
            Some(unit) if **unit == transaction => Arc::clone(unit),
            _ => Arc::clone(self.unit.insert(Arc::new(transaction))),
        };
        Event { transaction: unit, ordinal, change }
    }

    /// `None`: a tombstone.
    fn decode(&mut self, record: &Fetched, heads: &EventHeads) -> Result<Option<Change>, LogError> {
        let decoder = match self.decoders.entry(heads.version) {
            std::collections::hash_map::Entry::Occupied(found) => found.into_mut(),
            std::collections::hash_map::Entry::Vacant(free) => {
                let relation = relation(&self.follower.known(), heads.version)?;
                free.insert(self.follower.options.settings.format.decoder(&relation))
            }
        };
        match decoder.decode_alone(record.value(), |name| record.header(name)) {
            Ok(Decoded::Change(change)) => Ok(Some(change)),
            Ok(Decoded::Companion) => Ok(None),
            Err(error) => Err(self.strange(format!("event {}: {error}", heads.offset))),
        }
    }

    /// A lane waits at a gate from now on, and whoever reads is told what for.
    fn stand(&mut self, at: usize, stand: Stand) -> Result<(), LogError> {
        let Some(lane) = self.lanes.get(at) else { return Ok(()) };
        let topic = Arc::clone(&lane.part.topic);
        let part = |number| Part { topic: Arc::clone(&topic), number };
        let all = (0..lane.partitions).map(part).collect();
        let (offset, opens) = match stand {
            Stand::Spread(number) => (number, Opens::Together(all)),
            Stand::Event(number) if lane.part.number == 0 => match self.gate_event(at, number)? {
                Some(event) => (number, Opens::Apply(all, Box::new(event))),
                // Compaction has removed the truncation: a later one says the same, and more.
                None => {
                    if let Some(lane) = self.lanes.get_mut(at) {
                        lane.raise(number.saturating_add(1));
                    }
                    return Ok(());
                }
            },
            Stand::Event(number) => (number, Opens::Behind(part(0))),
        };
        self.run.gates.push(Gate { lane: at, offset: Offset(offset), opens });
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.stand(stand);
        }
        Ok(())
    }

    /// The event that a gate is: the end of a copy, or a truncation, which is the first partition's next record.
    fn gate_event(&mut self, at: usize, number: u64) -> Result<Option<Event>, LogError> {
        let copied = self.follower.known().copies.get(&number).cloned();
        if let Some(copied) = copied {
            let relation = relation(&self.follower.known(), copied.version)?;
            let since = copied.since.unwrap_or_default();
            return Ok(Some(self.event(copied.heads, Change::CopyDone { relation, since })));
        }
        let Some(record) = self.fetcher.peek(at) else { return Ok(None) };
        let heads = EventHeads::read(|name| record.header(name)).map_err(|detail| self.strange(detail))?;
        if heads.offset.0 != number {
            return Ok(None);
        }
        let relation = relation(&self.follower.known(), heads.version)?;
        Ok(Some(self.event(heads, Change::Truncate { relation })))
    }

    /// Partitions that show nothing are asked whether they have nothing.
    fn ask_the_idle(&mut self) -> Result<(), LogError> {
        let began = Instant::now();
        for _ in 0..self.lanes.len() {
            self.ask = (self.ask + 1) % self.lanes.len();
            if self.fetcher.peek(self.ask).is_none() {
                self.ask(self.ask)?;
            }
            if began.elapsed() >= ASK_AT_ONCE {
                break;
            }
        }
        Ok(())
    }

    fn ask(&mut self, at: usize) -> Result<(), LogError> {
        let Some(lane) = self.lanes.get(at).filter(|lane| lane.stands.is_none()) else { return Ok(()) };
        let (durable, settled) = {
            let known = self.follower.known();
            (known.durable.offset.0, known.settled.0)
        };
        let (now, part, from) = (Timestamp::now(), lane.part.clone(), lane.reached.place.unwrap_or(0));
        let kept = self.topics.get(&part.topic).and_then(|topic| topic.compacted);
        let stale = kept.is_some_and(|kept| age(lane.reached.time, now) > kept / 8);
        if durable <= lane.reached.offset.0 && !stale {
            return Ok(());
        }
        let below = if self.probe.is_settled(&part.topic, part.number)? { durable } else { settled };
        let (_, end) = self.probe.marks(&part.topic, part.number)?;
        // The last places may be the ends of transactions, which are no records.
        if end > lane.empty_to.max(from) && self.probe.first_at(&part.topic, part.number, from)?.is_some() {
            return Ok(());
        }
        self.check_age(at, end.saturating_sub(from))?;
        let known = self.follower.known();
        let gate = self.gate(&known, &part, self.lanes.get(at).map_or(0, |lane| lane.reached.offset.0));
        drop(known);
        if let Some(lane) = self.lanes.get_mut(at) {
            lane.empty_to = end;
            if stale {
                lane.reached.time = now;
                lane.moved = true;
            }
            match gate.filter(|&gate| gate < below) {
                Some(gate) => self.stand(at, Stand::Event(gate))?,
                None => lane.raise(below),
            }
        }
        Ok(())
    }

    /// Before the lane's next record is taken: whether something in front of it may have been removed that is told by nothing else.
    fn check_gap(&self, at: usize) -> Result<(), LogError> {
        let (Some(lane), Some(record)) = (self.lanes.get(at), self.fetcher.peek(at)) else { return Ok(()) };
        self.check_age(at, record.offset().saturating_sub(lane.reached.place.unwrap_or(0)))
    }

    /// One place may be a transaction's end. Of more, some were records: had we been there in time, the newest of their keys, tombstones among
    /// them, would have been there for us.
    fn check_age(&self, at: usize, missing: i64) -> Result<(), LogError> {
        let Some(lane) = self.lanes.get(at).filter(|_| missing > 1) else { return Ok(()) };
        let kept = self.topics.get(&lane.part.topic).and_then(|topic| topic.compacted);
        if is_over(kept, lane.reached.time) {
            let start = self.follower.known().durable.offset;
            return Err(LogError::Expired { wanted: lane.reached.offset, start });
        }
        Ok(())
    }

    fn strange(&self, detail: String) -> LogError {
        KafkaError::Control { topic: self.follower.options.source.clone(), detail }.into()
    }
}

/// Whether tombstones of that time may be gone.
fn is_over(kept: Option<Duration>, time: Timestamp) -> bool {
    kept.is_some_and(|kept| age(time, Timestamp::now()) >= kept)
}

fn age(time: Timestamp, now: Timestamp) -> Duration {
    Duration::from_micros(u64::try_from(now.unix_micros().saturating_sub(time.unix_micros())).unwrap_or(0))
}

/// What a change means to whoever has only the new key's rows: one that got another key has come, and went elsewhere.
fn alone(change: Change) -> Change {
    match change {
        Change::Update { relation, old: Some(old), new } if has_moved(&relation, &old, &new) => {
            Change::Insert { relation, new }
        }
        other => other,
    }
}

fn has_moved(relation: &Relation, old: &OldRow, new: &crate::event::Row) -> bool {
    relation.key.iter().any(|&column| match new.cell(column) {
        // A key that is stored out of line and did not change.
        Some(crate::event::Cell::Unchanged) => false,
        cell => cell != old.row().cell(column),
    })
}
