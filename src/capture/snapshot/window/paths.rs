//! Where the stream took a table's rows, key by key. Pure.
//!
//! A key may be left by one row and taken by another, within one statement even (`SET id = id + 1`, two keys swapped). So what
//! happened to a key is a list of steps, in order: a row is there, it leaves or is deleted, another arrives. A row's way leads
//! along the steps of its key, and where it leaves, on to the step with which it arrived elsewhere. What the key's newest row
//! is would be another question, and its values another row's.

use std::collections::HashMap;

use super::Key;
use crate::event::Row;

/// The ways, as far back as a chunk under way needs them.
#[derive(Debug, Default)]
pub(super) struct Paths {
    steps: HashMap<Key, Vec<Step>>,
    bytes: usize,
}

#[derive(Debug)]
struct Step {
    xid: u32,
    /// When the row came to this key, for those that follow it there.
    came: u64,
    /// When the last change was that the step tells of.
    at: u64,
    outcome: Outcome,
}

/// What the stream did to the row that a key had.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The log has the whole row.
    Whole,
    /// The row as far as the stream has told it.
    Partial(Row),
    /// It goes by another key now, since this moment.
    Moved(Key, u64),
    /// It is gone.
    Deleted,
}

impl Outcome {
    fn is_end(&self) -> bool {
        matches!(self, Outcome::Moved(..) | Outcome::Deleted)
    }

    fn bytes(&self) -> usize {
        match self {
            Outcome::Partial(row) => row.as_bytes().len(),
            Outcome::Moved(key, _) => key.len(),
            Outcome::Whole | Outcome::Deleted => 0,
        }
    }
}

/// What a step costs beside its outcome's bytes.
fn step_bytes(key: &Key) -> usize {
    const STEP_BYTES: usize = 128;
    STEP_BYTES + key.len()
}

impl Paths {
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many bytes of memory this takes, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// What became of the row that came to a key last.
    pub(super) fn last(&self, key: &Key) -> Option<&Outcome> {
        Some(&self.steps.get(key)?.last()?.outcome)
    }

    /// The next step of a key, at a moment later than all before.
    pub(super) fn add(&mut self, key: Key, xid: u32, at: u64, outcome: Outcome) {
        self.bytes += outcome.bytes();
        let key_bytes = step_bytes(&key);
        let steps = self.steps.entry(key).or_default();
        match steps.last_mut() {
            // A row changed in place: its newest image is enough, and who does not see this change needs it.
            Some(last) if !last.outcome.is_end() && !outcome.is_end() => {
                self.bytes = self.bytes.saturating_sub(last.outcome.bytes());
                (last.xid, last.at, last.outcome) = (xid, at, outcome);
            }
            _ => {
                self.bytes += key_bytes;
                steps.push(Step { xid, came: at, at, outcome });
            }
        }
    }

    /// What became of the row that had this key where only the `seen` transactions had come; `None` if nothing.
    pub(super) fn fate(&self, key: &Key, seen: impl Fn(u32) -> bool) -> Option<&Outcome> {
        let mut steps = self.steps.get(key)?.as_slice();
        let first = steps.iter().position(|step| !seen(step.xid))?;
        steps = steps.get(first..)?;
        loop {
            let (step, rest) = steps.split_first()?;
            steps = match &step.outcome {
                // Each move is later than the one before: the way ends.
                Outcome::Moved(key, came) => {
                    let there = self.steps.get(key).map_or(&[][..], Vec::as_slice);
                    let arrived = there.iter().position(|step| step.came == *came);
                    match arrived.and_then(|arrived| there.get(arrived..)) {
                        Some(steps) => steps,
                        None => return Some(&step.outcome),
                    }
                }
                Outcome::Whole | Outcome::Partial(_) if !rest.is_empty() => rest,
                Outcome::Whole | Outcome::Partial(_) | Outcome::Deleted => return Some(&step.outcome),
            };
        }
    }

    /// Forgets what happened up to a moment.
    pub(super) fn forget(&mut self, until: u64) {
        self.steps.retain(|_, steps| {
            steps.retain(|step| step.at > until);
            !steps.is_empty()
        });
        let of = |(key, steps): (&Key, &Vec<Step>)| {
            steps.iter().map(|step| step_bytes(key) + step.outcome.bytes()).sum::<usize>()
        };
        self.bytes = self.steps.iter().map(of).sum();
    }
}
