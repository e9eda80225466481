//! A source as the loop wants it, and what it is to do where there is a choice.

use std::path::PathBuf;
use std::time::Duration;

use super::budget::OverBudget;
use crate::event::{MessageFilter, TableFilter};
use crate::postgres::address::Address;

/// A source, as configured.
#[derive(Clone)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub address: Address,
    /// Its tables.
    pub tables: TableFilter,
    /// Those of them that the configuration names, rather than means by a wildcard.
    pub named: TableFilter,
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// Copy existing rows.
    pub snapshot: bool,
    /// What happens to tables without a primary key: their whole row is the key, or they are refused.
    pub whole_rows: bool,
    /// What happens when a table's definition changes.
    pub on_schema_change: OnSchemaChange,
    /// What happens to the documents of a table that is gone.
    pub on_table_drop: OnTableDrop,
    /// What happens when a table is truncated.
    pub on_truncate: OnTruncate,
    /// How often the catalog is looked at.
    pub watch_interval: Duration,
    /// Where what is known of the tables' definitions is kept from run to run.
    pub catalog_file: PathBuf,
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

/// What to do when the definition of a captured table changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSchemaChange {
    /// Go on with the new one, and copy the table again where no event tells what became of its rows.
    Follow,
    /// Halt.
    Halt,
}

/// What to do when a captured table is dropped, or renamed so that it is no longer meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTableDrop {
    /// Remove its documents, as if it had been truncated.
    Clear,
    /// Leave them.
    Keep,
}

/// What to do when a captured table is truncated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTruncate {
    /// Remove its documents.
    Apply,
    /// Leave them, and tell no sink.
    Ignore,
    /// Halt.
    Halt,
}

/// What a break of the source's history is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnBreak {
    /// The source halts, until an operator asks for a copy of the tables, or mends what is wrong.
    Halt,
    /// All tables are copied again.
    CopyAgain,
}
