//! What an operator may want of a sink's letters.

use serde::{Deserialize, Serialize};

use super::index::{Fate, Index};
use crate::event::Position;

/// What is to be done, and with which letters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What.
    pub action: Action,
    /// The letters of these numbers.
    #[serde(default)]
    pub ids: Vec<u64>,
    /// Those of this key.
    #[serde(default)]
    pub key: Option<String>,
    /// All of them.
    #[serde(default)]
    pub all: bool,
}

/// What to do with letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Deliver them now.
    Retry,
    /// Throw them away.
    Discard,
}

/// What has been done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The target has these now.
    pub delivered: Vec<u64>,
    /// These are no more.
    pub discarded: Vec<u64>,
    /// The target refuses these still.
    pub refused: Vec<Told>,
    /// With these nothing was done.
    pub left: Vec<Told>,
    /// So many letters are open now.
    pub open: usize,
}

/// A letter, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// Its number.
    pub id: u64,
    /// Why.
    pub reason: String,
}

impl Request {
    /// The letters that are meant. Of those that are named one by one, the ones that are not there are in the second list.
    ///
    /// # Errors
    /// Nothing is meant.
    pub fn choose(&self, index: &Index) -> Result<(Vec<u64>, Vec<Told>), String> {
        let wanted = [!self.ids.is_empty(), self.key.is_some(), self.all];
        if wanted.iter().filter(|wanted| **wanted).count() != 1 {
            return Err("say which letters: by their numbers, by a key, or all of them".to_owned());
        }
        if !self.ids.is_empty() {
            let (found, missing): (Vec<u64>, Vec<u64>) = self.ids.iter().partition(|id| index.get(**id).is_some());
            let missing = missing.into_iter().map(|id| Told { id, reason: "there is no such letter".to_owned() });
            return Ok((found, missing.collect()));
        }
        let meant = |entry: &super::Entry| self.key.as_ref().is_none_or(|key| entry.key.to_string() == *key);
        let open = |entry: &super::Entry| entry.fate == Fate::Open || self.action == Action::Discard;
        let found: Vec<u64> = index.iter().filter(|(_, entry)| meant(entry) && open(entry)).map(|(id, _)| id).collect();
        match (&self.key, found.is_empty()) {
            (Some(key), true) => Err(format!("there is no open letter with key {key}")),
            _ => Ok((found, Vec::new())),
        }
    }
}

/// Why a letter is not delivered any more; `None` if it may be.
#[must_use]
pub fn why_not(fate: Fate) -> Option<String> {
    let superseded = |by: Position| {
        format!(
            "it is superseded: a later change of the row, its table's truncation or its table's copy, at {by}, has been delivered"
        )
    };
    match fate {
        Fate::Open => None,
        Fate::Superseded(Some(by)) => Some(superseded(by)),
        Fate::Superseded(None) => Some("it is of another log than the one that is delivered now".to_owned()),
        Fate::Delivered(_) => Some("it has been delivered already".to_owned()),
    }
}
