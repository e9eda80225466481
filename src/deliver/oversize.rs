//! Rows that are larger than a sink is to be given. Pure.
//!
//! Such a row is refused like one that the target itself refuses, and what the target has under its key goes: a later change that leaves
//! the large value alone would be merged with a document of before, and half a row be taken for a whole one. The row is
//! there again as soon as a change makes it small enough.

use crate::event::Event;
use crate::project::mutation::{Effect, Mutation};
use crate::sink::Rejection;

/// Refuses what this event's mutations, those from `first` on, would write, if its row is larger than `bytes_max`.
pub(super) fn refuse(
    event: &Event,
    bytes_max: usize,
    mutations: &mut Vec<Mutation>,
    first: usize,
    refused: &mut Vec<Rejection>,
) {
    let bytes = event.change.bytes();
    if bytes <= bytes_max {
        return;
    }
    for mutation in mutations.split_off(first) {
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
    let reason = format!("the row has {bytes} bytes, and row_bytes_max of this sink is {bytes_max}");
    Rejection { mutation, reason }
}
