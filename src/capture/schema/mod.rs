//! The definitions of the captured tables, watched: the stream tells what happens to rows, the catalog what happens to
//! tables, and some of that changes rows without an event.
//!
//! - `fingerprint`: what is kept of a table.
//! - `look`: asks the catalog.
//! - `compare`: what happened between two looks, and whether rows must be read again for it.
//! - `inspect`: what is wrong as things are.

mod compare;
mod fingerprint;
mod inspect;
mod look;
#[cfg(test)]
mod tests;

pub use compare::{Change, What, compare};
pub use fingerprint::{ColumnPrint, Fingerprint, Inventory, Left, Member, Publication, Published, TypePrint};
pub use inspect::{Alarm, Expected, inspect};
pub use look::{Look, look, partition_tree, publication, writers};
