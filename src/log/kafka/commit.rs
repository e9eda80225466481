//! The thread that commits what the sender has sent, in that order, while the sender fills the next transaction.
//!
//! Producers take turns, so nothing is sent with one before all that was sent with the one before is written, and nothing is committed before
//! what was sent before it is: a producer that is taken over in the middle leaves whole transactions, up to some place, and nothing behind it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use tokio::sync::watch;

use super::control::ControlRecord;
use super::judge::Judge;
use super::sender::Shared;
use crate::event::Timestamp;
use crate::kafka::KafkaError;
use crate::kafka::headers::{OFFSET_HEADER, POSITION_HEADER, UNIT_HEADER};
use crate::kafka::producer::{Outgoing, Producer};
use crate::log::Durable;

/// How many producers take turns. Readers count on it: when a state can be read, the producer that brought it has been free before, so
/// everything up to the state that many before can be read in every partition. One, because each has its own sight of a topic's
/// partitions: while some are added, a key would go back and forth between two places.
pub(super) const PRODUCERS: usize = 1;

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
    /// Those that came back, the one that was free first in front.
    producers: VecDeque<Producer>,
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
            for transaction in waiting {
                let Sent { producer, control, durable: reached } = transaction;
                if let Err(error) = finish(&producer, &topic, &control) {
                    return shared.fail(judge.judge(error));
                }
                durable.send_replace(reached);
                // The sender may have ended.
                drop(give_back.send(producer));
            }
        };
        let thread = std::thread::Builder::new().name("kafka-commit".to_owned()).spawn(body);
        thread.map_err(|error| KafkaError::Misuse(format!("no thread to commit: {error}")))?;
        Ok(Committer { sent, free, producers: producers.into() })
    }

    /// The producer that has been free for longest. Waits for one.
    pub(super) fn take(&mut self) -> Result<Producer, Gone> {
        self.collect()?;
        match self.producers.pop_front() {
            Some(producer) => Ok(producer),
            None => self.free.recv().map_err(|_| Gone),
        }
    }

    /// Whether [`Committer::take`] would not wait.
    pub(super) fn is_free(&mut self) -> bool {
        self.collect().is_err() || !self.producers.is_empty()
    }

    /// Commits, after all that was handed over before.
    pub(super) fn commit(&self, sent: Sent) -> Result<(), Gone> {
        self.sent.send(sent).map_err(|_| Gone)
    }

    /// Waits until all that was handed over is committed.
    pub(super) fn settle(&mut self) -> Result<(), Gone> {
        while self.producers.len() < PRODUCERS {
            self.producers.push_back(self.free.recv().map_err(|_| Gone)?);
        }
        Ok(())
    }

    /// Puts others in their places; all must be free.
    pub(super) fn replace(&mut self, producers: Vec<Producer>) {
        self.producers = producers.into();
    }

    fn collect(&mut self) -> Result<(), Gone> {
        loop {
            match self.free.try_recv() {
                Ok(producer) => self.producers.push_back(producer),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Gone),
            }
        }
    }
}

fn finish(producer: &Producer, topic: &str, control: &[ControlRecord]) -> Result<(), KafkaError> {
    if !control.is_empty() {
        producer.begin()?;
        send_control(producer, topic, control)?;
    }
    producer.commit()
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
