//! The words walbridge has for how it is doing, and the board on which the loops write them.
//!
//! States, codes and exit codes are a public vocabulary: operators' alerts and outside programs rely on them.

mod board;
mod code;
mod size;

pub use board::{Board, Finding, LogEnd, RebuildStatus, SinkStatus, SourceStatus, Status, TableStatus, Verified};
pub use code::{Code, Disposition, ExitCode, State};
pub use size::bytes;
