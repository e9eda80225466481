//! Where mutations go: the targets, all behind one small trait and all in files of the same order: config, connect, apply,
//! classify errors, read back.

mod belief;
mod blocking;
mod bloom;
mod disk;
mod error;
pub mod exec;
pub mod file;
mod history;
mod image;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod opensearch;
mod place;
pub mod postgres;
pub mod redis;
mod saved;
#[cfg(feature = "search")]
pub mod tantivy;
mod uncommitted;
pub mod webhook;
mod whole;

use std::future::Future;
use std::sync::Arc;

pub use error::SinkError;
pub use image::{Image, Imager};
use serde::{Deserialize, Serialize};

pub use crate::project::mutation::Rejection;

use crate::event::{Offset, Position, Span, TableName, Timestamp};
use crate::log::LogId;
use crate::log::share::{Part, Reached};
use crate::project::mutation::{Key, Mutation};

/// How far a target has come, kept in the target with the data it describes wherever the target can do that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose offsets these are.
    pub log: LogId,
    /// The first event not applied yet. Always between two transactions.
    pub offset: Offset,
    /// The Position of the last event before it; `None` if there is none.
    pub position: Option<Position>,
    /// What was deleted before this time has been applied, also where a compacted log tells of it no more; `None`: not known.
    pub time: Option<Timestamp>,
    /// The number of the last retry of dead letters that is in the target; 0 before any.
    pub retries: u64,
    /// These events had been applied, and are being applied again by an operator's order. Until the offset is behind them, what the target
    /// holds is of no age before them.
    pub replay: Option<Span>,
    /// Before this Position documents may be newer than the offset says, for rows were read back from the source; `None`: none is.
    pub ahead: Option<Position>,
}

impl Checkpoint {
    /// At this place of a log, and nothing else is known.
    #[must_use]
    pub const fn new(log: LogId, offset: Offset) -> Self {
        Checkpoint { log, offset, position: None, time: None, retries: 0, replay: None, ahead: None }
    }
}

/// A target. The loop stages mutations in order and commits them; on any error it calls [`Sink::resume`] and goes on from
/// the checkpoint that the target itself tells, so that nothing has to be remembered across a failure.
///
/// `stage`* then `commit`: what was staged becomes visible no later than the commit; a target with transactions makes it
/// visible only then, together with the checkpoint.
pub trait Sink: Send {
    /// Connects if need be, forgets what was staged, and reads the target's checkpoint; `None` in an empty target.
    ///
    /// # Errors
    /// The target cannot be reached, or is not what the configuration says.
    fn resume(&mut self) -> impl Future<Output = Result<Option<Checkpoint>, SinkError>> + Send;

    /// Takes a run of mutations, in order. Returns those that the target can never take, and those whose document lacks
    /// values that the target does not have either ([`Staged::incomplete`]); all others are staged. A target that keeps history, which
    /// may be given several mutations of one row, stops behind one that it refuses ([`Staged::rest`]): what comes later of that row may have to wait.
    ///
    /// # Errors
    /// The whole run is in doubt: call `resume`.
    fn stage(&mut self, mutations: &[Mutation]) -> impl Future<Output = Result<Staged, SinkError>> + Send;

    /// The keys of a table's documents as they were last committed, page by page: `from` is what the page before said comes
    /// next, `None` at first. A key may come twice; one that is there from the first page to the last comes, whatever is committed
    /// in between. Called to find what a table that was copied again has left behind, or what a target has too much; a target that
    /// keeps history has nothing to tell.
    ///
    /// # Errors
    /// The whole run is in doubt: call `resume`.
    fn keys(&mut self, table: &TableName, from: Option<u64>)
    -> impl Future<Output = Result<KeyPage, SinkError>> + Send;

    /// What readers find under these keys, as last committed: an answer for each, `None` where there is nothing. Of a target without
    /// transactions what is staged may show, so it is asked while nothing is. A target whose documents cannot be had back, or that keeps
    /// history, answers nothing at all.
    ///
    /// # Errors
    /// The whole run is in doubt: call `resume`.
    fn read(&mut self, _keys: &[Key]) -> impl Future<Output = Result<Vec<Option<Image>>, SinkError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// What a document looks like in this target.
    fn imager(&self) -> Imager {
        Arc::new(Image::of_row)
    }

    /// Sends what is staged, for a target whose word on a row is only known then; returns those that it can never take. Called
    /// before a [`Sink::commit`], so that they are set aside before the checkpoint moves past them. None of them has a document then. If one had no letter yet, the loop does not
    /// commit but begins again from the checkpoint, for what came behind it did not know.
    ///
    /// # Errors
    /// The whole run is in doubt: call `resume`.
    fn flush(&mut self) -> impl Future<Output = Result<Vec<Rejection>, SinkError>> + Send {
        async { Ok(Vec::new()) }
    }

    /// Makes what was staged, and the checkpoint, durable in the target's own sense.
    ///
    /// # Errors
    /// It may or may not have happened: call `resume`.
    fn commit(&mut self, upto: Checkpoint) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// While nothing is to be done: is the target still there, and still where we left it?
    ///
    /// # Errors
    /// It is not.
    fn probe(&mut self) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// A target that can be built anew beside the one that readers have, and then takes its place. What is beside is a target like any other, with
/// a checkpoint of its own; only its name is another until then.
pub trait Replaceable: Sink {
    /// What tells this target from any other that has or had its name. After a [`Sink::resume`], when it is ready to take the place: nobody writes to
    /// it, or to the one that readers have, any more until that has happened or was given up.
    ///
    /// # Errors
    /// It cannot be reached, or is not there.
    fn identity(&mut self) -> impl Future<Output = Result<String, SinkError>> + Send;

    /// Puts the target of this identity, which was built beside, with its checkpoint in the place of this one. A reader has one or the other,
    /// whole, at any moment. Nobody writes to either. However often it is done, and wherever it was cut short before, it comes to the same.
    /// Call [`Sink::resume`] behind it.
    ///
    /// # Errors
    /// It may or may not have happened, or half of it: call it again before anything is written. [`SinkError::Regressed`]: what was built is no
    /// longer there.
    fn replace(&mut self, by: &str, old: Old) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// Removes this target, which is beside another, if it is there.
    ///
    /// # Errors
    /// It cannot be reached.
    fn remove(&mut self) -> impl Future<Output = Result<(), SinkError>> + Send;
}

/// What becomes of a target that another takes the place of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Old {
    /// It stays, under another name.
    Kept,
    /// It stands beside then, and is to be removed.
    Dropped,
}

/// A target that several processes write at once, each the parts of the log that are its own.
///
/// Whole transactions are not kept: each process makes its own part of one visible. What holds is each row's order, and that whoever lost a
/// part writes nothing more of it: [`SharedSink::claim`] undoes and forbids what its owner before has not committed.
pub trait SharedSink: Sink {
    /// In place of [`Sink::resume`]: connects if need be, forgets what was staged, and makes these parts ours: from here on no commit
    /// of anybody who claimed one of them before takes effect, whenever it comes. Tells how far they are. If a checkpoint is another log's,
    /// nothing is claimed.
    ///
    /// # Errors
    /// The target cannot be reached, or is not what the configuration says.
    fn claim(&mut self, log: LogId, parts: &[Part]) -> impl Future<Output = Result<Vec<Claim>, SinkError>> + Send;

    /// In place of [`Sink::commit`]: makes what was staged, and the checkpoints of these parts, durable in the target's own sense.
    ///
    /// # Errors
    /// It may or may not have happened: call `claim`.
    fn advance(&mut self, upto: &[(Part, Reached)]) -> impl Future<Output = Result<(), SinkError>> + Send;

    /// How far some parts are, whoever has them.
    ///
    /// # Errors
    /// Call `claim`.
    fn reached(&mut self, parts: &[Part]) -> impl Future<Output = Result<Vec<Option<Reached>>, SinkError>> + Send;
}

/// A part that was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Whose offsets these are.
    pub log: LogId,
    /// How far the part is.
    pub reached: Reached,
    /// It had no checkpoint.
    pub is_new: bool,
}

/// Some of a table's keys.
#[derive(Debug, Default)]
pub struct KeyPage {
    /// These.
    pub keys: Vec<Key>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<u64>,
}

/// What became of a run of mutations.
#[derive(Debug, Default)]
pub struct Staged {
    /// Refused for good.
    pub rejected: Vec<Rejection>,
    /// Indexes of mutations that were *not* staged because their document lacks values. The loop completes the rows and
    /// stages them again.
    pub incomplete: Vec<usize>,
    /// Mutations from this index on were not looked at; `None`: all were.
    pub rest: Option<usize>,
}

/// For fields that are left out then.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
