//! How a session ends that is not broken, and what ends it from outside.

use super::IngestError;
use super::monitor::Signal;
use crate::capture::CaptureError;
use crate::postgres::address::Address;

/// How a connection ended that was not broken.
pub(super) enum Ended {
    /// The slot is to be let go of.
    OverBudget(String),
    /// The server wants to go.
    ShuttingDown,
    /// We were told to stop.
    Stopped,
    /// The next must ask for text.
    TextNeeded,
}

/// Whether a binary stream ended for a value's form: a type we do not know, or one that the server itself cannot send so (an
/// array of a type without `typsend` fails with 42883, in tables that nobody captures too). If it was something else, the
/// same comes again with text.
pub(super) fn needs_text(error: &IngestError) -> bool {
    match error {
        IngestError::TextNeeded { .. } => true,
        IngestError::Capture(CaptureError::Server { source, .. }) => {
            matches!(source.sqlstate.get(..2), Some("0A" | "22" | "42"))
        }
        IngestError::Capture(_) | IngestError::Log(_) => false,
    }
}

pub(super) const AFTER_LETTING_GO: &str = "Find out what held the WAL; then `walbridge resnapshot` copies the tables again, and removes from \
     the sinks what was deleted in between";

/// What a session does when something is seen from outside.
pub(super) fn heed(signal: Signal) -> Ended {
    match signal {
        Signal::OverBudget(why) => Ended::OverBudget(why),
        Signal::ShuttingDown => Ended::ShuttingDown,
    }
}

/// What is said of it until the server is back.
pub(super) fn shutting_down(address: &Address) -> IngestError {
    let detail = "the server is shutting down; all connections to it were closed, so that it need not wait".to_owned();
    CaptureError::Unreachable { address: address.to_string(), detail }.into()
}
