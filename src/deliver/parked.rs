//! What goes to the target while letters of some rows are open, and which letters that makes obsolete. Pure but for the letters.
//!
//! There are two policies. Where changes *wait*, a row that has an open letter gets no later change: that is kept too, and a retry delivers all of
//! them in order. Where they *pass*, they are delivered, and from then on the letter is obsolete: what it says of the row is older than what
//! the target has. In both a retry never puts older over newer.
//!
//! A letter counts for the changes behind it only. What comes again after a crash, or into a target that was emptied, is delivered as it was
//! the first time.

use std::io;

use crate::dead_letter::{DeadLetters, Fate};
use crate::event::{Change, Event};
use crate::project::mutation::{Effect, Mutation, Rejection};

/// What happens to later changes of a row that has an open letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Later {
    /// They are kept too.
    Wait,
    /// They are delivered.
    Pass,
}

/// Where changes wait: keeps those that have to, and returns the others.
pub(super) fn sift(letters: &mut DeadLetters, run: &[Mutation]) -> io::Result<Vec<Mutation>> {
    let mut flowing = Vec::with_capacity(run.len());
    for mutation in run {
        match letters.index().of_change(mutation.position, &mutation.key) {
            // In place of a document that was refused: see `oversize`.
            Some((_, letter)) if mutation.effect == Effect::Delete && !letter.is_delete => {
                flowing.push(mutation.clone());
                continue;
            }
            // It has a letter already, and comes again: perhaps to a target that was given the row as it was before meanwhile.
            Some((_, letter)) if !matches!(letter.fate, Fate::Delivered(_)) => {
                flowing.extend(removal(mutation));
                continue;
            }
            _ => {}
        }
        supersede_table(letters, mutation);
        match letters.index().holding(&mutation.rows(), mutation.position) {
            Some(first) => {
                let reason = format!("it waits: the change of its row at {first} is set aside");
                letters.keep(&Rejection { mutation: mutation.clone(), reason }, true)?;
                flowing.extend(removal(mutation));
            }
            None => flowing.push(mutation.clone()),
        }
    }
    Ok(flowing)
}

/// A row that waits has no document. A target that tells late what it refuses may have been given this one meanwhile; once its letter is
/// discarded, a later change would be merged with what the row was before. `None` where history is kept.
pub(super) fn removal(mutation: &Mutation) -> Option<Mutation> {
    let names_document = matches!(mutation.effect, Effect::Put { .. } | Effect::Delete);
    names_document.then(|| Mutation { effect: Effect::Delete, ..mutation.clone() })
}

/// Where changes pass: these were delivered, but for those that were refused.
pub(super) fn passed(letters: &mut DeadLetters, run: &[Mutation], refused: &[Rejection]) {
    for mutation in run {
        let same = |rejection: &Rejection| {
            rejection.mutation.position == mutation.position && rejection.mutation.key == mutation.key
        };
        if !refused.iter().any(same) {
            supersede_table(letters, mutation);
            letters.supersede_rows(&mutation.rows(), mutation.position);
        }
    }
}

/// A table that is emptied, or told anew, has none of the rows any more that letters would bring back. A row that was deleted is not told
/// again by a copy.
fn supersede_table(letters: &mut DeadLetters, mutation: &Mutation) {
    let by = mutation.position;
    match &mutation.effect {
        Effect::Clear(table) => letters.supersede_if(table, None, by, |_| true),
        Effect::Append(Event { change: Change::Truncate { relation }, .. }) => {
            letters.supersede_if(&relation.name, Some(relation.oid), by, |_| true);
        }
        Effect::Append(Event { change: Change::CopyBegun { relation }, .. }) => {
            letters.supersede_if(&relation.name, Some(relation.oid), by, |letter| !letter.is_delete);
        }
        Effect::Append(_) | Effect::Put { .. } | Effect::Delete | Effect::Sweep { .. } => {}
    }
}
