//! What a source does where there is a choice: each a word in the configuration.

use super::value::Choice;

/// Whether standbys keep copies of the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failover {
    /// Where the server can.
    Auto,
    /// Never.
    Never,
}

impl Choice for Failover {
    const WORDS: &'static [(&'static str, Self)] = &[("auto", Failover::Auto), ("never", Failover::Never)];
}

/// What a break of the source's history is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnHistoryBreak {
    /// The source halts.
    Halt,
    /// The tables are copied again.
    CopyAgain,
}

impl Choice for OnHistoryBreak {
    const WORDS: &'static [(&'static str, Self)] =
        &[("halt", OnHistoryBreak::Halt), ("copy_again", OnHistoryBreak::CopyAgain)];
}

/// What happens when the server keeps more WAL for the slot than the budget allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnWalBudget {
    /// It is said.
    Warn,
    /// The slot is dropped.
    ProtectSource,
    /// The slot is kept, and it is said loudly.
    ProtectData,
}

impl Choice for OnWalBudget {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("warn", OnWalBudget::Warn),
        ("protect_source", OnWalBudget::ProtectSource),
        ("protect_data", OnWalBudget::ProtectData),
    ];
}

/// What happens to tables without a primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TablesWithoutKey {
    /// The source is refused, with their list.
    Refuse,
    /// Their whole row is their key.
    Full,
}

impl Choice for TablesWithoutKey {
    const WORDS: &'static [(&'static str, Self)] =
        &[("refuse", TablesWithoutKey::Refuse), ("full", TablesWithoutKey::Full)];
}

/// What happens when a table's definition changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSchemaChange {
    /// It is followed.
    Follow,
    /// The source halts.
    Halt,
}

impl Choice for OnSchemaChange {
    const WORDS: &'static [(&'static str, Self)] =
        &[("follow", OnSchemaChange::Follow), ("halt", OnSchemaChange::Halt)];
}

/// What happens to the documents of a table that is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTableDrop {
    /// They are removed.
    Clear,
    /// They stay.
    Keep,
}

impl Choice for OnTableDrop {
    const WORDS: &'static [(&'static str, Self)] = &[("clear", OnTableDrop::Clear), ("keep", OnTableDrop::Keep)];
}

/// What happens when a table is truncated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnTruncate {
    /// Its documents are removed.
    Apply,
    /// They stay.
    Ignore,
    /// The source halts.
    Halt,
}

impl Choice for OnTruncate {
    const WORDS: &'static [(&'static str, Self)] =
        &[("apply", OnTruncate::Apply), ("ignore", OnTruncate::Ignore), ("halt", OnTruncate::Halt)];
}
