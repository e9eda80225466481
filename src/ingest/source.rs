//! A source, as the loop wants it.

use super::budget::OverBudget;
use crate::capture::address::Address;
use crate::event::{MessageFilter, TableFilter};

/// A source, as configured.
#[derive(Clone)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// Its tables.
    pub tables: TableFilter,
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// Copy existing rows.
    pub snapshot: bool,
    /// So many workers copy.
    pub snapshot_workers: usize,
    /// They read so many bytes a second together; `None`: as many as they can.
    pub snapshot_rate: Option<u64>,
    /// Ask for values in binary form while every type is known.
    pub binary: bool,
    /// Which logical messages become events; `None` asks the server for none.
    pub messages: Option<MessageFilter>,
    /// Whether transactions that came to the source by replication become events.
    pub foreign: bool,
    /// Have prepared transactions sent when they are prepared.
    pub two_phase: bool,
    /// Whether copies of the slot are kept on standbys; `None`: where the server can.
    pub failover: Option<bool>,
    /// What a break of history is answered with.
    pub on_break: OnBreak,
    /// How much WAL the server may keep for the slot.
    pub wal_budget: Option<u64>,
    /// And if it keeps more.
    pub on_wal_budget: OverBudget,
}

/// What a break of the source's history is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBreak {
    /// The source halts, until an operator asks for a copy of the tables, or mends what is wrong.
    Halt,
    /// All tables are copied again.
    CopyAgain,
}
