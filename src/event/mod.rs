//! The vocabulary of the log: what changed, where it stands in the source's history, and how its bytes are to be read.
//!
//! Nothing here does I/O, and nothing here imports another part of walbridge: every stage speaks these types.
//! Rows stay the bytes PostgreSQL sent; a value is decoded where a sink needs it, and only if it does.

mod change;
mod lsn;
mod place;
mod position;
mod relation;
mod row;
mod shape;
mod time;

pub use change::{COPY_PREFIX, Change, Event, OldRow, Op, Transaction};
pub use lsn::{Lsn, ParseLsnError};
pub use place::{ParsePlaceError, Place};
pub use position::{Offset, Position, Span};
pub use relation::{Column, MessageFilter, Relation, ReplicaIdentity, TableFilter, TableName};
pub use row::{Cell, Cells, Row, RowBuilder};
pub use shape::{Scalar, Shape};
pub use time::Timestamp;
