//! Sharing a log: several processes deliver one sink, each the parts that it was given.
//!
//! Whoever gives parts (a consumer group) may take them away at any moment, and may be wrong about who is alive. So nothing here
//! protects the target: that is done in the target, by whoever claims a part there ([`crate::sink::SharedSink::claim`]). This only says
//! which parts to claim, and lets a hand-over be orderly where it can be.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::{Limit, Log, LogError};
use crate::event::{Event, Offset, Timestamp};

/// A part of a log that has an order of its own: on Kafka a partition of a table's topic. Every row has its place in one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition's number.
    pub number: i32,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.topic, self.number)
    }
}

/// How far a part has been applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// Every event of the part before this one has been.
    pub offset: Offset,
    /// Where the part's next record stands, by the cluster's own count; `None`: it is to be found by `offset`.
    pub place: Option<i64>,
    /// What was deleted before this time, and told by nothing but a tombstone, has been applied.
    pub time: Timestamp,
    /// How many parts the topic had when its rows were spread over them as this part's are.
    pub spread: i32,
}

/// The parts that this process has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment {
    /// Counts the assignments; 0: nobody has given any yet.
    pub number: u64,
    /// In order.
    pub parts: Vec<Part>,
}

/// How long an end waits for the group to hear of it.
const LEAVING: Duration = Duration::from_secs(3);

/// What whoever gives parts and the loop that has them share.
#[derive(Debug, Default)]
pub struct Share {
    assignment: watch::Sender<Assignment>,
    loop_side: Mutex<LoopSide>,
    let_go: Condvar,
    left: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct LoopSide {
    /// The loop has nothing under way that belongs to an older assignment than this.
    at: u64,
    /// The loop was fenced from a part that it believes is its own.
    rejoin: bool,
    /// The loop has ended.
    leave: bool,
    /// How far each part has been applied: for whoever looks at the group.
    reached: Vec<(Part, i64)>,
}

impl Share {
    /// The parts as they are now.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        self.assignment.borrow().clone()
    }

    /// Waits until the assignment is another than this one.
    pub async fn changed(&self, number: u64) {
        let mut assignment = self.assignment.subscribe();
        // Whoever gives parts is as old as this.
        let _ = assignment.wait_for(|now| now.number != number).await;
    }

    /// The loop says: nothing of any older assignment is under way.
    pub fn settle_in(&self, number: u64) {
        self.loop_side().at = number;
        self.let_go.notify_all();
    }

    /// The loop says: somebody has claimed a part that is mine as far as I know. So the group must have thought us gone.
    pub fn rejoin(&self) {
        self.loop_side().rejoin = true;
    }

    /// The loop says: I have ended. Waits a little until the group knows, so that the others need not find out.
    pub async fn leave(&self) {
        {
            let mut side = self.loop_side();
            side.leave = true;
            side.at = u64::MAX;
        }
        self.let_go.notify_all();
        let mut left = self.left.subscribe();
        let _late = tokio::time::timeout(LEAVING, left.wait_for(|left| *left)).await;
    }

    /// Whether the loop has ended.
    pub fn is_over(&self) -> bool {
        self.loop_side().leave
    }

    /// The group knows.
    pub fn left(&self) {
        self.left.send_replace(true);
    }

    /// The loop says how far it is, by places.
    pub fn report(&self, reached: impl Iterator<Item = (Part, i64)>) {
        self.loop_side().reached = reached.collect();
    }

    /// What the loop has reported since it was asked last.
    pub fn take_report(&self) -> Vec<(Part, i64)> {
        std::mem::take(&mut self.loop_side().reached)
    }

    /// Whether the loop wants to join the group anew.
    pub fn take_rejoin(&self) -> bool {
        std::mem::take(&mut self.loop_side().rejoin)
    }

    /// These parts are given, too.
    pub fn give(&self, parts: impl Iterator<Item = Part>) {
        self.assignment.send_modify(|now| {
            now.number += 1;
            now.parts.extend(parts);
            now.parts.sort_unstable();
            now.parts.dedup();
        });
    }

    /// These parts are taken away. Waits no longer than `patience` for the loop to let go of them.
    pub fn take_away(&self, parts: &[Part], patience: Duration) {
        self.assignment.send_modify(|now| {
            now.number += 1;
            now.parts.retain(|part| !parts.contains(part));
        });
        let wanted = self.assignment.borrow().number;
        let until = Instant::now() + patience;
        let mut side = self.loop_side();
        while side.at < wanted {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            side = self.let_go.wait_timeout(side, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn loop_side(&self) -> MutexGuard<'_, LoopSide> {
        self.loop_side.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log that can be read in parts.
pub trait SharedLog: Log {
    /// Reads these parts from where each is.
    ///
    /// # Errors
    /// No thread can be had for it.
    fn lanes(&self, parts: Vec<(Part, Reached)>) -> Result<Lanes, LogError>;
}

/// What was read of some parts.
#[derive(Debug, Default)]
pub struct Run {
    /// In each part's order.
    pub events: Vec<Event>,
    /// How far the parts are, behind these events: the numbers of those that have moved.
    pub reached: Vec<(usize, Reached)>,
    /// Where the reader stands and must be told to go on.
    pub gates: Vec<Gate>,
}

/// Where a part stands: at an event that concerns the rows of all parts of its topic, or from where on rows are spread over them in another
/// way. Nothing behind it is applied before everything in front of it has been applied everywhere.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The part, by its number.
    pub lane: usize,
    /// The number of the event.
    pub offset: Offset,
    /// What opens it.
    pub opens: Opens,
}

/// What opens a [`Gate`].
#[derive(Clone, Debug)]
pub enum Opens {
    /// All these parts have come so far, and the event has been applied here.
    Apply(Vec<Part>, Box<Event>),
    /// This part, whose owner applies the event, has passed it.
    Behind(Part),
    /// All these parts have come so far.
    Together(Vec<Part>),
}

/// Reads parts. Dropping it ends the reading.
pub struct Lanes {
    limits: std::sync::mpsc::SyncSender<Limit>,
    passes: std::sync::mpsc::Sender<Gate>,
    runs: mpsc::Receiver<Result<Run, LogError>>,
    asked: bool,
}

/// The other end of [`Lanes`].
pub struct LanesEnd {
    /// So much is wanted.
    pub limits: std::sync::mpsc::Receiver<Limit>,
    /// These gates are open.
    pub passes: std::sync::mpsc::Receiver<Gate>,
    /// What was read.
    pub runs: mpsc::Sender<Result<Run, LogError>>,
}

impl Lanes {
    /// Both ends.
    #[must_use]
    pub fn new() -> (Self, LanesEnd) {
        let (limits, limits_end) = std::sync::mpsc::sync_channel(1);
        let (passes, passes_end) = std::sync::mpsc::channel();
        let (runs_end, runs) = mpsc::channel(1);
        let end = LanesEnd { limits: limits_end, passes: passes_end, runs: runs_end };
        (Lanes { limits, passes, runs, asked: false }, end)
    }

    /// What comes next. Cancel-safe.
    ///
    /// # Errors
    /// The log is damaged, or retention has passed a part.
    pub async fn next(&mut self, limit: Limit) -> Result<Run, LogError> {
        if !self.asked {
            self.asked = self.limits.try_send(limit).is_ok();
        }
        let run = self.runs.recv().await;
        self.asked = false;
        run.unwrap_or_else(|| Err(LogError::Misuse("the log's reader ended".to_owned())))
    }

    /// Goes on behind a gate.
    pub fn pass(&self, gate: Gate) {
        // A reader that has ended says so when it is asked.
        let _ = self.passes.send(gate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: i32) -> Part {
        Part { topic: "t".into(), number }
    }

    #[test]
    fn parts_are_taken_away_once_the_loop_has_let_go_or_after_patience() {
        let share = Arc::new(Share::default());
        share.give([part(1), part(0)].into_iter());
        assert_eq!(share.assignment(), Assignment { number: 1, parts: vec![part(0), part(1)] });
        let other = Arc::clone(&share);
        let taken = std::thread::spawn(move || other.take_away(&[part(0)], Duration::from_secs(60)));
        while share.assignment().number != 2 {
            std::thread::yield_now();
        }
        assert!(!taken.is_finished());
        share.settle_in(2);
        taken.join().expect("it let go");
        share.take_away(&[part(1)], Duration::from_millis(1));
        assert_eq!(share.assignment(), Assignment { number: 3, parts: Vec::new() });
    }
}
