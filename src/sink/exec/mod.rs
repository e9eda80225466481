//! Events to a program of the user's, line by line on its standard input, acknowledged line by line on its standard output: a sink in any language.
//!
//! docs/exec.md is the protocol. In short: the program says that it is ready, and how far it is if it keeps that itself; events follow; at `flush` it names those
//! that it refuses, at `commit` it makes what it was given durable and acknowledges. If it keeps no checkpoint, a file of ours does (`place`), and what it acknowledged
//! last may come again after a crash. A program that ends, is silent for too long or answers out of turn is ended and started again.

mod child;
mod protocol;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use self::child::Child;
use self::protocol::Answer;
use super::blocking::Blocking;
use super::place::Place;
use super::{Checkpoint, KeyPage, Rejection, Sink, SinkError, Staged, belief};
use crate::event::{Position, TableName};
use crate::project::mutation::{Effect, Mutation};

/// Which program, and how it is treated.
#[derive(Clone, Debug)]
pub struct Options {
    /// The sink's name.
    pub name: String,
    /// The source's, as the events have it.
    pub source: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The file of the checkpoint, if the program keeps none. The lock beside it is held in any case.
    pub checkpoint: PathBuf,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

/// Events are given to the program up to this size, and beyond it flushed ahead of the commit.
const GIVEN_BYTES_MAX: usize = 8 << 20;

/// See the module.
pub struct ExecSink {
    options: Options,
    place: Blocking<Place>,
    child: Option<Child>,
    /// The program keeps its own checkpoint.
    keeps: bool,
    belief: Option<Checkpoint>,
    /// What it was given since the last flush, by the events' places.
    given: BTreeMap<Position, Mutation>,
    given_bytes: usize,
    /// The next flush tells of them.
    refused: Vec<Rejection>,
}

impl ExecSink {
    /// Starts nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let place = Blocking::new(options.checkpoint.display().to_string(), Place::new(options.checkpoint.clone()));
        let (given, given_bytes, refused) = (BTreeMap::new(), 0, Vec::new());
        ExecSink { options, place, child: None, keeps: false, belief: None, given, given_bytes, refused }
    }

    /// Whether the program is there. Starts nothing.
    ///
    /// # Errors
    /// It is not.
    pub fn look(&self) -> Result<(), SinkError> {
        child::look(&self.options)
    }

    fn child(&mut self) -> Result<&mut Child, SinkError> {
        let target = self.options.command.first().cloned().unwrap_or_default();
        let detail = "it does not run".to_owned();
        self.child.as_mut().ok_or(SinkError::Unavailable { target, detail })
    }

    /// Asks which of the events that it was given it refuses.
    async fn settle(&mut self) -> Result<(), SinkError> {
        if self.given.is_empty() {
            return Ok(());
        }
        self.child()?.say(&protocol::flush()).await?;
        loop {
            match self.child()?.hear().await? {
                Answer::Flushed => break,
                Answer::Reject { position, reason } => {
                    let Some(mutation) = self.given.get(&position).cloned() else {
                        return Err(self.child()?.out_of_turn("it refuses an event that it was not given"));
                    };
                    self.refused.push(Rejection { mutation, reason });
                }
                Answer::Ready { .. } | Answer::Ack => {
                    return Err(self.child()?.out_of_turn("it answers a flush with something else"));
                }
            }
        }
        self.given.clear();
        self.given_bytes = 0;
        Ok(())
    }

    /// How far it is, by its own word or by our file's.
    async fn ask(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        match self.child()?.hear().await? {
            Answer::Ready { keeps, checkpoint } => {
                self.keeps = keeps;
                Ok(checkpoint)
            }
            Answer::Reject { .. } | Answer::Flushed | Answer::Ack => {
                Err(self.child()?.out_of_turn("it does not say that it is ready"))
            }
        }
    }
}

impl Sink for ExecSink {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        // Whatever it was doing: it is ended before another begins.
        self.child = None;
        (self.given, self.given_bytes, self.refused) = (BTreeMap::new(), 0, Vec::new());
        let ours = self.place.run(Place::resume).await?;
        self.child = Some(Child::start(&self.options)?);
        let hello = protocol::hello(&self.options.name, &self.options.source);
        self.child()?.say(&hello).await?;
        let own = self.ask().await?;
        self.belief = if self.keeps { own } else { ours };
        Ok(self.belief)
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        let mut staged = Staged::default();
        let known = self.belief.and_then(|belief| belief.position);
        for mutation in mutations {
            let Effect::Append(event) = &mutation.effect else {
                let reason = "a program is told events, not documents".to_owned();
                staged.rejected.push(Rejection { mutation: mutation.clone(), reason });
                continue;
            };
            if known.is_some_and(|known| mutation.position <= known) {
                // It has it.
                continue;
            }
            if self.given.is_empty() {
                // What it is given next may rest on what it had: it must still have that.
                self.probe().await?;
            }
            let line = protocol::event(&self.options.source, event);
            self.given_bytes = self.given_bytes.saturating_add(line.len());
            self.given.insert(event.position(), mutation.clone());
            self.child()?.say(&line).await?;
            if self.given_bytes > GIVEN_BYTES_MAX {
                self.settle().await?;
            }
        }
        Ok(staged)
    }

    /// Who is told events ends right by what it has been told.
    async fn keys(&mut self, _table: &TableName, _from: Option<u64>) -> Result<KeyPage, SinkError> {
        Ok(KeyPage::default())
    }

    async fn flush(&mut self) -> Result<Vec<Rejection>, SinkError> {
        self.settle().await?;
        Ok(std::mem::take(&mut self.refused))
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        let refused = self.flush().await?;
        SinkError::unless_all_taken(&self.options.name, &refused)?;
        self.probe().await?;
        self.child()?.say(&protocol::commit(upto)).await?;
        match self.child()?.hear().await? {
            Answer::Ack => {}
            _ => return Err(self.child()?.out_of_turn("it answers a commit with something else than `ack`")),
        }
        if !self.keeps {
            self.place.run(move |place| place.commit(upto)).await?;
        }
        self.belief = Some(upto);
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        if !self.keeps {
            self.child()?.check()?;
            return self.place.run(|place| place.check()).await;
        }
        self.child()?.say(&protocol::probe()).await?;
        let found = self.ask().await?;
        belief::verify(&self.options.name, found, self.belief)
    }
}
