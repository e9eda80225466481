//! The keys of an `exec` sink.

use std::path::PathBuf;
use std::time::Duration;

use super::key::{Describe, Key, Section};
use super::value::{Names, Positive};

/// Which program, and how it is treated.
#[derive(Clone, Debug)]
pub struct Exec {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// The file of the checkpoint.
    pub checkpoint: PathBuf,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

static COMMAND: Key<Names> = Key::required(
    "command",
    "[\"python3\", \"/etc/walbridge/rows.py\", \"/var/lib/rows.sqlite\"]",
    "The program and its arguments, one by one: no shell reads them. It speaks as docs/exec.md says.",
);
static CHECKPOINT: Key<PathBuf> = Key::required(
    "checkpoint",
    "\"/var/lib/walbridge-rows.checkpoint\"",
    "The file in which walbridge notes how far the program has come, if the program does not say that itself. The lock beside it is held in any case.",
);
static TIMEOUT: Key<Positive> = Key::default(
    "timeout",
    "\"60s\"",
    "\"10s\"",
    "How long the program may take to answer, or to read. Then it is ended and started again.",
);

pub(super) static KEYS: &[&dyn Describe] = &[&COMMAND, &CHECKPOINT, &TIMEOUT];

/// Reads them.
pub(super) fn read(section: &Section<'_>) -> Option<Exec> {
    let (command, checkpoint, timeout) = (section.get(&COMMAND), section.get(&CHECKPOINT), section.get(&TIMEOUT));
    Some(Exec { command: command?.0, checkpoint: checkpoint?, timeout: timeout?.0 })
}
