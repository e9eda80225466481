//! What readers know: the control topic, followed on a thread of its own.
//!
//! A record of the log's state makes true, at once, all control records before it; so versions of tables, copies and voids are
//! known to readers by the time they may read the events behind them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::Options;
use super::commit::PRODUCERS;
use super::control::{Control, Noted};
use crate::event::{Offset, Relation};
use crate::kafka::fetch::{Fetched, Fetcher, Probe};
use crate::kafka::headers::EventHeads;
use crate::kafka::{KafkaError, topic};
use crate::log::record::Record;
use crate::log::{Durable, LogId};

/// What the control topic says, as of the last state.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The log's name.
    pub(super) id: Option<LogId>,
    /// What may be read.
    pub(super) durable: Durable,
    /// Everything before this can be read in every partition: each producer has had its turn since, and its next transaction begins only when
    /// all partitions have been told of the one before.
    pub(super) settled: Offset,
    /// By their numbers.
    pub(super) relations: BTreeMap<u32, Arc<Relation>>,
    /// The topics that events are in.
    pub(super) topics: BTreeSet<String>,
    /// Events that are in the topics and count as never written: how many, by the first one's number.
    pub(super) voids: BTreeMap<u64, u64>,
    /// Events that are in no other topic, by their numbers.
    pub(super) copies: BTreeMap<u64, Copied>,
    /// The last truncations in each topic, by their numbers.
    pub(super) truncations: BTreeMap<String, BTreeSet<u64>>,
    /// Counts the states.
    pub(super) states: u64,
}

/// So many truncations of a topic are remembered. An older one makes no difference to what the end is: a later one takes its rows, too.
const TRUNCATIONS_MAX: usize = 1000;

/// The beginning or end of a table's copy.
#[derive(Clone, Debug)]
pub(super) struct Copied {
    pub(super) heads: EventHeads,
    /// The number of the table's version.
    pub(super) version: u32,
    /// Of an end, where it began.
    pub(super) since: Option<Offset>,
}

/// One reading of the control topic.
#[derive(Default)]
struct Reading {
    control: Control,
    /// What counts from the next state on.
    waiting: Vec<Fetched>,
    /// Where the log ended with the last states, one for each producer.
    last: VecDeque<Offset>,
}

/// How the following goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Reading,
    /// Everything that was there has been read.
    Ready,
    Failed,
}

/// See the module.
pub(super) struct Follower {
    pub(super) options: Options,
    known: Mutex<Known>,
    /// A state has come.
    news: Condvar,
    phase: watch::Sender<Phase>,
    failure: Mutex<Option<KafkaError>>,
    durable: watch::Sender<Durable>,
}

/// How long to wait for news before looking whether anybody still wants them.
const TURN: Duration = Duration::from_millis(200);

impl Follower {
    pub(super) fn new(options: Options) -> Self {
        Follower {
            options,
            known: Mutex::default(),
            news: Condvar::new(),
            phase: watch::Sender::new(Phase::Idle),
            failure: Mutex::new(None),
            durable: watch::Sender::new(Durable::default()),
        }
    }

    pub(super) fn durable(&self) -> watch::Receiver<Durable> {
        self.durable.subscribe()
    }

    pub(super) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits no longer than this for another state than that one.
    pub(super) fn await_news(&self, states: u64, wait: Duration) {
        let known = self.known();
        if known.states == states {
            drop(self.news.wait_timeout(known, wait));
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        *self.phase.borrow() == Phase::Failed
    }

    /// Follows, if nobody does, and waits until all that is there is known.
    pub(super) async fn ready(self: &Arc<Self>) -> Result<(), KafkaError> {
        let idle = |phase: &mut Phase| {
            let idle = matches!(phase, Phase::Idle | Phase::Failed);
            if idle {
                *phase = Phase::Reading;
            }
            idle
        };
        if self.phase.send_if_modified(idle) {
            let follower = Arc::clone(self);
            let body = move || follower.run();
            let thread = std::thread::Builder::new().name(format!("follow-{}", self.options.source)).spawn(body);
            thread.map_err(|error| KafkaError::Misuse(format!("no thread to follow the log: {error}")))?;
        }
        let mut phase = self.phase.subscribe();
        let settled = phase.wait_for(|phase| matches!(phase, Phase::Ready | Phase::Failed)).await;
        match settled.map(|phase| phase.clone()) {
            Ok(Phase::Ready) => Ok(()),
            _ => Err(self.failure()),
        }
    }

    /// Why it ended.
    pub(super) fn failure(&self) -> KafkaError {
        let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
        let brokers = self.options.settings.brokers.clone();
        let detail = "the log's own topic could not be followed".to_owned();
        failure.unwrap_or(KafkaError::Unavailable { brokers, detail })
    }

    fn run(self: Arc<Self>) {
        if let Err(error) = self.follow() {
            *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            self.phase.send_replace(Phase::Failed);
            // Whoever waits for news is to hear of it.
            self.known().states += 1;
            self.news.notify_all();
        } else {
            self.phase.send_replace(Phase::Idle);
        }
    }

    /// Until nobody else has it, or something goes wrong.
    fn follow(self: &Arc<Self>) -> Result<(), KafkaError> {
        let name = topic::control(&self.options.source);
        let probe = Probe::new(&self.options.settings)?;
        let absent = || KafkaError::Unavailable {
            brokers: self.options.settings.brokers.clone(),
            detail: format!("topic {name}, in which the log keeps its state, is not there yet"),
        };
        if probe.partitions(&name)? == 0 {
            return Err(absent());
        }
        let (start, end) = probe.marks(&name, 0)?;
        let mut fetcher = Fetcher::new(&self.options.settings)?;
        let partition = fetcher.add(&name, 0, start)?;
        // Reading begins anew from the topic's start; what is known meanwhile stays, for it was true.
        let (mut reading, asked) = (Reading::default(), Instant::now());
        while Arc::strong_count(self) > 1 {
            fetcher.poll(TURN)?;
            while let Some(record) = fetcher.take(partition) {
                self.take(record, &mut reading)?;
            }
            if *self.phase.borrow() == Phase::Reading {
                let next = fetcher.next(partition).map_or(0, |(_, _, next)| next);
                // The last places may be the transaction's end marks, which are no records.
                let read = next >= end || (asked.elapsed() > TURN && probe.first_at(&name, 0, next)?.is_none());
                let named = self.known().id.is_some() && self.known().states > 0;
                if read && named {
                    self.phase.send_replace(Phase::Ready);
                } else if read {
                    return Err(absent());
                }
            }
        }
        Ok(())
    }

    /// Takes a record. It counts from the next state on.
    fn take(&self, record: Fetched, reading: &mut Reading) -> Result<(), KafkaError> {
        let refuse = |detail: String| KafkaError::Control { topic: topic::control(&self.options.source), detail };
        let Some(value) = record.value() else { return Ok(()) };
        let key = record.key().unwrap_or_default();
        reading.control.take(key, value).map_err(refuse)?;
        if !Control::is_state(key) {
            reading.waiting.push(record);
            return Ok(());
        }
        let mut known = self.known();
        for record in reading.waiting.drain(..) {
            let (key, value) = (record.key().unwrap_or_default(), record.value().unwrap_or_default());
            note(&mut known, &record, Noted::read(key, value).map_err(refuse)?).map_err(refuse)?;
        }
        if known.id.is_some() && reading.control.id != known.id {
            return Err(KafkaError::Lost {
                topic: topic::control(&self.options.source),
                control: topic::control(&self.options.source),
                detail: "it is another log than a moment ago".to_owned(),
            });
        }
        known.id = reading.control.id;
        let durable = reading.control.state.history.closed;
        if durable.offset >= known.durable.offset {
            known.durable = durable;
        }
        reading.last.push_back(durable.offset);
        if reading.last.len() > PRODUCERS {
            known.settled = known.settled.max(reading.last.pop_front().unwrap_or_default());
        }
        known.states += 1;
        drop(known);
        self.news.notify_all();
        self.durable.send_if_modified(|before| {
            let rises = durable.offset > before.offset || durable.end_lsn > before.end_lsn;
            if rises {
                *before = durable;
            }
            rises
        });
        Ok(())
    }
}

fn note(known: &mut Known, record: &Fetched, noted: Noted<'_>) -> Result<(), String> {
    match noted {
        Noted::Topic(name) => drop(known.topics.insert(name.to_owned())),
        Noted::Void { from, events } => drop(known.voids.insert(from.0, events)),
        Noted::Truncate(topic, offset) => {
            let all = known.truncations.entry(topic.to_owned()).or_default();
            all.insert(offset.0);
            if all.len() > TRUNCATIONS_MAX {
                all.pop_first();
            }
        }
        Noted::Relation(id, relation) => drop(known.relations.insert(id, Arc::new(relation))),
        Noted::Copy(Record::CopyBegun { relation: version }) => {
            let heads = EventHeads::read(|name| record.header(name))?;
            known.copies.insert(heads.offset.0, Copied { heads, version, since: None });
        }
        Noted::Copy(Record::CopyDone { relation: version, since }) => {
            let heads = EventHeads::read(|name| record.header(name))?;
            known.copies.insert(heads.offset.0, Copied { heads, version, since: Some(since) });
        }
        Noted::Copy(_) => return Err("a copy that is none".to_owned()),
        Noted::Other => {}
    }
    Ok(())
}
