//! The source's keys against the sink's, whatever their number: a set difference that changes under way, in memory of a stated size.
//!
//! It is a hash join of two lists, as databases do it. While the source's keys fit into memory they are a set, and nothing else is needed (`roster`). Else both sides are spread over parts of
//! a file by their hashes, and the parts have their turn one after the other, as many at a time as fit (`spill`). What is left of the sink's keys then are suspects, in the order of their hashes (`suspects`): each is
//! looked at in the target itself before it is told, with its row known as of the same place in the log.
//!
//! That order is what makes it exact while keys come and go. Should the source's keys of a turn outgrow the memory because many are inserted meanwhile, the turn ends where
//! it has come to, and the next begins behind it: no suspect is looked at twice, and none is left out. What the target's listing tells twice has one hash, and is one suspect.

mod roster;
mod spill;
mod suspects;

pub(super) use self::roster::Roster;
pub(super) use self::spill::{Cutter, Spill, Stored};
pub(super) use self::suspects::{Batch, Suspects};

/// For hashes of the source's keys, unless something else is wanted: two million.
pub(super) const MEMORY_BYTES: usize = 64 << 20;
/// Of what the source's keys may take, the sink's suspects have so much besides.
pub(super) const SUSPECTS_SHARE: usize = 4;

#[cfg(test)]
mod tests;
