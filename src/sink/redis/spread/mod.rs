//! A sink's keys spread over the slots of a cluster, where no transaction reaches over two.
//!
//! Each slot has a *version*: up to which Position it is complete. What goes to a slot goes there in one script, which does nothing unless the version is
//! still as we left it, and sets it as its last act. So a slot is of one age, and never goes back because of a writer that was believed dead.
//! - At a commit all slots that were written get the commit's Position, and then the checkpoint is written: to every [`STRIDE`]th slot, so that each master has
//!   some of its copies. The least of them counts. A master that fell back to an older state, or was emptied, shows it there.
//! - What is sent ahead of a commit leaves the version where it was, and says how far ahead some of it is. After a crash it is sent again, which comes to
//!   the same.
//! - A slot may be ahead of the checkpoint, if a crash came between the two: what it has already it does not take again.
//!
//! A row whose key changed goes from slot to slot, and values that the change left alone are taken from what stands under its former key. In a slot that is
//! ahead that may be younger than the change, and another row's: then the source is asked for them.

mod nodes;
mod version;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use redis::{Cmd, Pipeline};

use self::nodes::Nodes;
use self::version::Version;
use super::fence::{self, Text};
use super::held::{Held, Write};
use super::reply::Reply;
use super::{Target, checkpoint, error, member, rehearse, slot, write};
use crate::event::Position;
use crate::sink::{Checkpoint, SinkError, belief};

/// Every so many slots have a copy of the checkpoint.
const STRIDE: u16 = 128;

/// See the module.
pub(super) struct Spread {
    target: Arc<Target>,
    nodes: Nodes,
    /// The script's name at the servers.
    script: String,
    slots: Vec<Slot>,
    /// Those that were sent to since the last commit.
    open: BTreeSet<u16>,
    /// The copies of the checkpoint as we left them.
    copies: Vec<Text>,
    belief: Option<Checkpoint>,
    /// What no other session has, and how many texts were marked with it.
    mark: u64,
    marked: u64,
}

/// What is known of a slot.
#[derive(Clone, Default)]
struct Slot {
    /// Its version's text, as we left it. Most slots have the same.
    left: Option<Arc<[u8]>>,
    version: Version,
    /// What stands there may be as young as this; `None`: nothing is younger than what we have sent.
    youngest: Option<Position>,
}

/// What a slot is once writes are there.
#[derive(Clone, Copy)]
enum Age<'c> {
    /// Complete up to where it was, and some of it up to here.
    Ahead(Option<Position>),
    /// Complete up to here.
    Upto(&'c Commit),
}

/// A checkpoint, and the version that most slots get with it.
struct Commit {
    upto: Checkpoint,
    version: Version,
    text: Arc<[u8]>,
}

impl Spread {
    pub(super) async fn open(target: Arc<Target>) -> Result<Self, SinkError> {
        let mut nodes = Nodes::open(&target).await?;
        // In a script, where it is done, it would be refused half-way.
        rehearsed(&target, &mut nodes, &[]).await?;
        let script = load(&target, &mut nodes).await?;
        let found = read(&target, &mut nodes, (0..slot::SLOTS).map(|slot| (slot, target.own.version(slot)))).await?;
        let known = |text: Text| {
            let version = text.as_deref().map(Version::decode).unwrap_or_default();
            Slot { left: text.map(Arc::from), version, youngest: version.upto.max(version.ahead) }
        };
        let slots = found.into_iter().map(known).collect();
        let copies = read_copies(&target, &mut nodes).await?;
        let belief = least(&target, &copies)?;
        let (open, mark) = (BTreeSet::new(), rand::random());
        Ok(Spread { target, nodes, script, slots, open, copies, belief, mark, marked: 0 })
    }

    pub(super) fn belief(&self) -> Option<Checkpoint> {
        self.belief
    }

    /// Whether the slot of a key has what happened at this Position.
    pub(super) fn is_behind(&self, key: &[u8], position: Position) -> bool {
        let version = self.slots.get(usize::from(slot::of(key))).map(|slot| slot.version).unwrap_or_default();
        self.has(version).is_some_and(|upto| position <= upto)
    }

    /// Up to where a slot takes nothing any more. Without a checkpoint everything is written anew, and a replay is to be written again: then slots go
    /// back, and are of the age of what is written.
    fn has(&self, version: Version) -> Option<Position> {
        let belief = self.belief.filter(|belief| belief.replay.is_none())?;
        version.upto.filter(|_| version.log == Some(belief.log))
    }

    /// Whether nothing in the slot of a key is younger than this Position.
    pub(super) fn is_older(&self, key: &[u8], position: Position) -> bool {
        let slot = self.slots.get(usize::from(slot::of(key)));
        slot.and_then(|slot| slot.youngest).is_none_or(|youngest| youngest < position)
    }

    fn slot_of(&self, name: &Bytes) -> u16 {
        slot::of(&member::redis_key(self.target.form.value, name))
    }

    /// Asks for what is there; each command has its key first.
    pub(super) async fn ask(&mut self, commands: &Pipeline) -> Result<Vec<Reply>, SinkError> {
        self.nodes.ask(commands).await
    }

    /// See [`super::connect::Connection::scan`].
    pub(super) async fn scan(&mut self, from: u64, glob: &[u8]) -> Result<(Option<u64>, Vec<Vec<u8>>), SinkError> {
        self.nodes.scan(&self.target, from, glob).await
    }

    /// Sends what is held ahead of the commit. `staged`: nothing in it is younger.
    pub(super) async fn send(&mut self, held: &Held, staged: Option<Position>) -> Result<(), SinkError> {
        self.write(held, Age::Ahead(staged)).await
    }

    pub(super) async fn commit(&mut self, held: &Held, upto: Checkpoint) -> Result<(), SinkError> {
        let version = Version { log: Some(upto.log), upto: upto.position, ahead: None };
        self.write(held, Age::Upto(&Commit { upto, version, text: version.encode(None).into() })).await?;
        let text = checkpoint::encode(&upto, false);
        let calls = copies().zip(&self.copies).map(|(slot, left)| {
            let (key, left) = (self.target.own.copy(slot), left.as_deref().unwrap_or_default());
            (slot, write::in_slot(&self.script, &key, &[], &self.target, left, &text))
        });
        let calls = calls.collect();
        self.run(calls).await?;
        self.copies = vec![Some(text); self.copies.len()];
        self.belief = Some(upto);
        Ok(())
    }

    /// Are the checkpoints as we left them?
    pub(super) async fn probe(&mut self) -> Result<(), SinkError> {
        let found = read_copies(&self.target, &mut self.nodes).await?;
        if found == self.copies {
            return Ok(());
        }
        belief::verify(self.target.address.shown(), least(&self.target, &found)?, self.belief)?;
        let detail = "some of its checkpoints are not as we left them".to_owned();
        Err(SinkError::Unavailable { target: self.target.address.shown().to_owned(), detail })
    }

    /// Writes what is held, each slot's in one go or, where that is too much, in several.
    async fn write(&mut self, held: &Held, age: Age<'_>) -> Result<(), SinkError> {
        let mut shares: BTreeMap<u16, Vec<&Write>> = BTreeMap::new();
        for write in held.writes() {
            shares.entry(self.slot_of(&write.key)).or_default().push(write);
        }
        if let Age::Upto(_) = age {
            self.open.iter().for_each(|&slot| _ = shares.entry(slot).or_default());
        }
        let (mut calls, mut after) = (Vec::new(), Vec::with_capacity(shares.len()));
        for (slot, writes) in &shares {
            let next = self.push_calls(*slot, writes, age, &mut calls);
            after.push((*slot, next));
        }
        self.run(calls).await?;
        for (slot, next) in after {
            if let Some(known) = self.slots.get_mut(usize::from(slot)) {
                *known = next;
            }
            match age {
                Age::Ahead(_) => _ = self.open.insert(slot),
                Age::Upto(_) => _ = self.open.remove(&slot),
            }
        }
        Ok(())
    }

    /// Adds the calls of one slot; what it is after them.
    fn push_calls(&mut self, slot: u16, writes: &[&Write], age: Age<'_>, calls: &mut Vec<(u16, Cmd)>) -> Slot {
        let key = self.target.own.version(slot);
        let mut now = self.slots.get(usize::from(slot)).cloned().unwrap_or_default();
        let mut rest = writes;
        loop {
            let (part, later) = rest.split_at(write::call_length(rest.iter().copied()).min(rest.len()));
            let next = match age {
                Age::Upto(commit) if later.is_empty() => self.complete(&now, commit),
                Age::Upto(commit) => self.ahead(&now, commit.upto.position),
                Age::Ahead(staged) => self.ahead(&now, staged),
            };
            let left = now.left.as_deref().unwrap_or_default();
            let text = next.left.as_deref().unwrap_or_default();
            calls.push((slot, write::in_slot(&self.script, &key, part, &self.target, left, text)));
            now = next;
            rest = later;
            if rest.is_empty() {
                return now;
            }
        }
    }

    /// Complete up to the commit's Position; or up to where it was already.
    fn complete(&self, now: &Slot, commit: &Commit) -> Slot {
        let upto = &commit.upto;
        let known = self.has(now.version).filter(|_| upto.replay.is_none());
        let (log, upto) = (Some(upto.log), known.max(upto.position));
        let youngest = now.youngest.filter(|youngest| now.version.log == log && Some(*youngest) > upto);
        let version = Version { log, upto, ahead: youngest };
        let left = if version == commit.version { Arc::clone(&commit.text) } else { version.encode(None).into() };
        Slot { left: Some(left), version, youngest }
    }

    /// Some of what comes next is there. The text is one that nobody else writes, for what exactly is there the version does not tell.
    fn ahead(&mut self, now: &Slot, staged: Option<Position>) -> Slot {
        self.marked = self.marked.wrapping_add(1);
        let version = Version { ahead: now.version.ahead.max(staged), ..now.version };
        let text = version.encode(Some(format!("{:016x}.{}", self.mark, self.marked)));
        Slot { left: Some(text.into()), version, youngest: now.youngest }
    }

    /// Runs scripts; an error if one did nothing, for its version or checkpoint was not as we left it.
    async fn run(&mut self, calls: Vec<(u16, Cmd)>) -> Result<(), SinkError> {
        let slots: Vec<u16> = calls.iter().map(|(slot, _)| *slot).collect();
        let replies = self.nodes.send(calls).await?;
        let shown = self.target.address.shown();
        for (slot, reply) in slots.into_iter().zip(replies) {
            match reply {
                Reply::Ok => {}
                Reply::Refused(refusal) => return Err(error::failed_inside(shown, "EVALSHA", &refusal)),
                Reply::Array(_) => return Err(self.judge(slot).await),
                _ => return Err(error::strange(shown, "EVALSHA")),
            }
        }
        Ok(())
    }

    /// What it means that a slot was not as we left it.
    async fn judge(&mut self, slot: u16) -> SinkError {
        if let Err(error) = self.probe().await {
            return error;
        }
        let detail =
            format!("slot {slot} is not as we left it: something was lost there, or somebody else wrote to it");
        SinkError::Regressed { target: self.target.address.shown().to_owned(), detail }
    }

    /// See [`rehearse`].
    pub(super) async fn rehearse(&mut self, samples: &[Vec<u8>]) -> Result<(), SinkError> {
        rehearsed(&self.target, &mut self.nodes, samples).await
    }
}

/// Asks each master, with those of the samples that it would have.
async fn rehearsed(target: &Target, nodes: &mut Nodes, samples: &[Vec<u8>]) -> Result<(), SinkError> {
    let slot_of = |name: &[u8]| slot::of(&member::redis_key(target.form.value, &Bytes::copy_from_slice(name)));
    let asked = nodes.ask_each(|slot, has| {
        let here: Vec<_> = samples.iter().filter(|name| has(slot_of(name))).cloned().collect();
        rehearse::commands(target, &target.own.in_slot(slot), &here)
    });
    for (commands, replies) in asked.await? {
        rehearse::judge(target, &commands, &replies)?;
    }
    Ok(())
}

/// The slots that have copies of the checkpoint.
fn copies() -> impl Iterator<Item = u16> {
    (0..slot::SLOTS).step_by(usize::from(STRIDE))
}

async fn load(target: &Target, nodes: &mut Nodes) -> Result<String, SinkError> {
    let mut command = redis::cmd("SCRIPT");
    command.arg("LOAD").arg(write::APPLY_IN_SLOT);
    // It has the same name everywhere.
    let names = nodes.told(target, "SCRIPT LOAD", &command).await?;
    names.into_iter().next().ok_or_else(|| error::strange(target.address.shown(), "SCRIPT LOAD"))
}

async fn read(
    target: &Target,
    nodes: &mut Nodes,
    keys: impl Iterator<Item = (u16, Vec<u8>)>,
) -> Result<Vec<Text>, SinkError> {
    let ask = |(slot, key): (u16, Vec<u8>)| {
        let mut get = redis::cmd("GET");
        get.arg(key);
        (slot, get)
    };
    fence::read(target.address.shown(), nodes.send(keys.map(ask).collect()).await?.into_iter())
}

async fn read_copies(target: &Target, nodes: &mut Nodes) -> Result<Vec<Text>, SinkError> {
    read(target, nodes, copies().map(|slot| (slot, target.own.copy(slot)))).await
}

/// The checkpoint of all: the least, for up to there all masters have everything. `None` if one is missing, or of another log.
fn least(target: &Target, copies: &[Text]) -> Result<Option<Checkpoint>, SinkError> {
    let mut least: Option<Checkpoint> = None;
    let mut ahead = None;
    for text in copies {
        let Some(text) = text else { return Ok(None) };
        let found = checkpoint::read_whole(target, text)?;
        if least.is_some_and(|least| least.log != found.log) {
            return Ok(None);
        }
        let age = |of: &Checkpoint| (of.offset, of.replay.is_none(), of.retries);
        ahead = ahead.max(found.ahead);
        least = least.filter(|least| age(least) <= age(&found)).or(Some(found));
    }
    Ok(least.map(|least| Checkpoint { ahead, ..least }))
}
