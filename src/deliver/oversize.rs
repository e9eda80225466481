//! Rows that are larger than a sink is to be given. Pure.
//!
//! Such a row is refused like one that the target itself refuses, and what the target has under its key goes: a later change that leaves
//! the large value alone would be merged with a document of before, and half a row be taken for a whole one. The row is
//! there again as soon as a change makes it small enough.

use crate::project::mutation::{Effect, Mutation};
use crate::sink::Rejection;

/// Refuses what an event's mutations, those from `first` on, would write, if that is a row larger than `bytes_max`.
pub(super) fn refuse(bytes_max: usize, mutations: &mut Vec<Mutation>, first: usize, refused: &mut Vec<Rejection>) {
    if mutations.iter().skip(first).all(|mutation| bytes_of(mutation) <= bytes_max) {
        return;
    }
    for mutation in mutations.split_off(first) {
        let bytes = bytes_of(&mutation);
        match mutation.effect {
            Effect::Put { .. } => {
                mutations.push(Mutation { effect: Effect::Delete, ..mutation.clone() });
                refused.push(rejection(mutation, bytes, bytes_max));
            }
            // A history just lacks it.
            Effect::Append(_) => refused.push(rejection(mutation, bytes, bytes_max)),
            Effect::Delete | Effect::Clear(_) | Effect::Sweep { .. } => mutations.push(mutation),
        }
    }
}

/// Why it is refused.
pub(super) fn rejection(mutation: Mutation, bytes: usize, bytes_max: usize) -> Rejection {
    Rejection { mutation, reason: too_large(bytes, bytes_max) }
}

/// Why what would be written again is refused; `None` if it is small enough.
pub(super) fn reason(mutation: &Mutation, bytes_max: usize) -> Option<String> {
    let bytes = bytes_of(mutation);
    (bytes > bytes_max).then(|| too_large(bytes, bytes_max))
}

/// The size of the row that would be written.
fn bytes_of(mutation: &Mutation) -> usize {
    match &mutation.effect {
        Effect::Put { document, .. } => document.row.as_bytes().len(),
        Effect::Append(event) => event.change.bytes(),
        Effect::Delete | Effect::Clear(_) | Effect::Sweep { .. } => 0,
    }
}

fn too_large(bytes: usize, bytes_max: usize) -> String {
    format!("the row has {bytes} bytes, and row_bytes_max of this sink is {bytes_max}")
}
