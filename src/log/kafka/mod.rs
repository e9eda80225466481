//! The log on Kafka: a topic for each table, and one for the log's own state.
//!
//! Events are numbered densely over all topics of the source, in the order of commits; the number is in a header of each record
//! ([`headers::OFFSET_HEADER`](crate::kafka::headers::OFFSET_HEADER)), so that whoever has all partitions can put them in order again. What the log holds is said by one record in
//! the control topic, which is written in the same Kafka transaction as the records it speaks of (`control`): records and the place
//! to go on from become true together.
//!
//! A Kafka transaction holds whole transactions of PostgreSQL, as many as there are at once, or under load in a tenth of a second; it is
//! committed while the next one is filled (`commit`). One that is too large is cut; the state then says how much of it is there, and what PostgreSQL sends again of it is passed over.
//!
//! Opening fences whoever wrote before, which also ends what that had open, and then reads the control topic to its end. Nothing
//! else is trusted: after any error the log is opened again.

mod commit;
mod control;
mod find;
mod follow;
mod gather;
mod group;
mod handle;
mod judge;
mod lane;
mod lanes;
mod load;
mod member;
mod merge;
mod reader;
mod seek;
mod sender;
mod start;
mod writer;

use std::path::PathBuf;

pub use self::handle::Log;
pub use self::reader::Reader;
pub use self::writer::Writer;
use crate::kafka::Settings;

/// Where the log is.
#[derive(Clone, Debug)]
pub struct Options {
    /// The source's name, by which its topics are called.
    pub source: String,
    /// The database's name, for formats that tell it.
    pub database: String,
    /// A local directory for what is kept beside the log.
    pub directory: PathBuf,
    /// The cluster.
    pub settings: Settings,
}
