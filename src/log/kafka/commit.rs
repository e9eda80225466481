//! The thread that commits what the sender has sent, in that order, while the sender fills the next transaction.
//!
//! Transactions are committed one after the other, and none behind one that failed: a log that is taken over in the middle holds whole
//! transactions, up to some place, and nothing behind it. But a commit is over before the cluster has told all partitions of it, and until then
//! the same producer cannot begin again: librdkafka asks, and waits 20 ms when told so. So two producers take turns.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;

use tokio::sync::watch;

use super::control::ControlRecord;
use super::judge::Judge;
use super::sender::Shared;
use crate::event::Timestamp;
use crate::kafka::KafkaError;
use crate::kafka::headers::{OFFSET_HEADER, POSITION_HEADER, UNIT_HEADER};
use crate::kafka::producer::{Outgoing, Producer};
use crate::log::Durable;

/// So many take turns. Readers count on it: a partition may be behind by so many transactions (`Known::settled`). With one, at 1,000 rows/s, three transactions
/// of five met that wait; with two, one of a hundred. Each takes some 7 MiB under load.
pub(super) const PRODUCERS: usize = 2;

/// A transaction that wants nothing but to be committed.
pub(super) struct Sent {
    pub(super) producer: Producer,
    /// What is still to be sent in it; if anything, it has not been begun.
    pub(super) control: Vec<ControlRecord>,
    /// What holds once it is committed.
    pub(super) durable: Durable,
}

/// The sender's end. Dropping it lets the thread end when it has committed what it has.
pub(super) struct Committer {
    sent: Sender<Sent>,
    free: Receiver<Producer>,
    /// Those that have come back, longest first.
    idle: VecDeque<Producer>,
}

/// The thread has failed and has said why.
#[derive(Debug)]
pub(super) struct Gone;

impl Committer {
    /// Starts the thread.
    pub(super) fn start(
        producers: Vec<Producer>,
        topic: String,
        durable: watch::Sender<Durable>,
        shared: Arc<Shared>,
        judge: Arc<Judge>,
    ) -> Result<Self, KafkaError> {
        let (sent, waiting) = channel::<Sent>();
        let (give_back, free) = channel();
        let body = move || {
            for sent in waiting {
                if let Err(error) = finish(&sent, &topic) {
                    return shared.fail(judge.judge(error));
                }
                durable.send_replace(sent.durable);
                // The sender may have ended.
                drop(give_back.send(sent.producer));
            }
        };
        let thread = thread::Builder::new().name("kafka-commit".to_owned()).spawn(body);
        thread.map_err(|error| KafkaError::Misuse(format!("no thread to commit: {error}")))?;
        Ok(Committer { sent, free, idle: producers.into() })
    }

    /// The producer whose turn it is, once what it had is committed.
    pub(super) fn take(&mut self) -> Result<Producer, Gone> {
        match self.idle.pop_front() {
            Some(producer) => Ok(producer),
            None => self.free.recv().map_err(|_| Gone),
        }
    }

    /// Whether nothing that was handed over is still to be committed.
    pub(super) fn is_settled(&mut self) -> bool {
        loop {
            match self.free.try_recv() {
                Ok(producer) => self.idle.push_back(producer),
                Err(TryRecvError::Empty) => return self.idle.len() == PRODUCERS,
                // The next call that needs it says so.
                Err(TryRecvError::Disconnected) => return true,
            }
        }
    }

    /// Commits.
    pub(super) fn commit(&self, sent: Sent) -> Result<(), Gone> {
        self.sent.send(sent).map_err(|_| Gone)
    }

    /// Waits until all that was handed over is committed. No producer may be out for anything else.
    pub(super) fn settle(&mut self) -> Result<(), Gone> {
        while self.idle.len() < PRODUCERS {
            let producer = self.free.recv().map_err(|_| Gone)?;
            self.idle.push_back(producer);
        }
        Ok(())
    }

    /// Puts others in their place; everything must be settled.
    pub(super) fn replace(&mut self, producers: Vec<Producer>) {
        self.idle = producers.into();
    }
}

fn finish(sent: &Sent, topic: &str) -> Result<(), KafkaError> {
    if !sent.control.is_empty() {
        sent.producer.begin()?;
        send_control(&sent.producer, topic, &sent.control)?;
    }
    sent.producer.commit()
}

/// Sends records for the control topic, in the transaction that is open.
pub(super) fn send_control(producer: &Producer, topic: &str, records: &[ControlRecord]) -> Result<(), KafkaError> {
    for ControlRecord { key, value, event } in records {
        let outgoing = Outgoing {
            topic,
            partition: Some(0),
            key: Some(key),
            value: Some(value),
            timestamp_ms: Timestamp::now().unix_micros().div_euclid(1000),
        };
        let headers = event.iter().flat_map(|event| {
            [
                (OFFSET_HEADER, event.offset.as_slice()),
                (POSITION_HEADER, event.position.as_slice()),
                (UNIT_HEADER, event.unit.as_slice()),
            ]
        });
        producer.send(&outgoing, headers)?;
    }
    Ok(())
}
