//! What can go wrong with a target, by consequence.

use crate::project::mutation::Rejection;
use crate::status::{Code, Disposition};

/// An error of a target as a whole.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// It cannot be reached, is starting, or went away. Tried again for ever.
    #[error(
        "{target} is unavailable: {detail}. It is tried again; see that the target runs and can be reached from here"
    )]
    Unavailable {
        /// Its address, without secrets.
        target: String,
        /// The error.
        detail: String,
    },
    /// It is there but asks for patience: out of memory, read-only, too many requests. Tried again for ever.
    #[error("{target} cannot take writes now: {detail}. It is tried again; give the target room, or make it writable")]
    Throttled {
        /// Its address, without secrets.
        target: String,
        /// The error.
        detail: String,
    },
    /// It lost what it had: emptied, restored, failed over to a replica that was behind. The loop reads the checkpoint
    /// again and goes on from there.
    #[error("{target} is not where it was left: {detail}")]
    Regressed {
        /// Its address, without secrets.
        target: String,
        /// What was found.
        detail: String,
    },
    /// Somebody else moves this sink's checkpoint.
    #[error(
        "{target} is being written by another walbridge: {detail}. Stop one of them, or give one sink another name"
    )]
    Fenced {
        /// Its address, without secrets.
        target: String,
        /// What was found.
        detail: String,
    },
    /// Another walbridge that shares the sink has claimed what this one had. The loop joins the group anew.
    #[error("{target}: {detail}, which shares the sink. What was not committed here is done there")]
    TakenOver {
        /// Its address, without secrets.
        target: String,
        /// What was found.
        detail: String,
    },
    /// Credentials refused.
    #[error("{target} refused the credentials: {detail}. Mend them in the configuration, then restart walbridge")]
    Auth {
        /// Its address, without secrets.
        target: String,
        /// The error.
        detail: String,
    },
    /// We are let in, and may not do what we must.
    #[error("{target} does not allow it: {detail}. {remedy}, then restart walbridge")]
    Denied {
        /// Its address, without secrets.
        target: String,
        /// The error.
        detail: String,
        /// What to do.
        remedy: String,
    },
    /// A certificate is not what it should be. It may be renewed: tried again for ever.
    #[error("{target}: {detail}")]
    Tls {
        /// Its address, without secrets.
        target: String,
        /// The error, and what to do.
        detail: String,
    },
    /// The schema registry beside it does not take a table's schema.
    #[error("{target}: {detail}")]
    Schema {
        /// Its address, without secrets.
        target: String,
        /// Why, and what to do.
        detail: String,
    },
    /// It is not what the configuration says, and will not become so by waiting.
    #[error("{target}: {detail}. {remedy}")]
    Unusable {
        /// Its address, without secrets.
        target: String,
        /// What is wrong.
        detail: String,
        /// What to do.
        remedy: String,
    },
}

impl SinkError {
    /// Of a commit: the loop has flushed before it, and set aside what was refused then.
    pub(super) fn unless_all_taken(target: &str, refused: &[Rejection]) -> Result<(), Self> {
        let Some(first) = refused.first() else { return Ok(()) };
        let detail = format!("it refuses the event at {}: {}", first.mutation.position, first.reason);
        Err(SinkError::Unusable { target: target.to_owned(), detail, remedy: "Mend what refuses it".to_owned() })
    }

    /// The public code.
    #[must_use]
    pub const fn code(&self) -> Code {
        match self {
            SinkError::Unavailable { .. } => Code::SinkUnavailable,
            SinkError::Throttled { .. } => Code::SinkThrottled,
            SinkError::Regressed { .. } => Code::SinkRegressed,
            SinkError::Fenced { .. } | SinkError::TakenOver { .. } => Code::SinkFenced,
            SinkError::Auth { .. } | SinkError::Denied { .. } => Code::SecurityAuth,
            SinkError::Tls { .. } => Code::SecurityTls,
            SinkError::Schema { .. } => Code::KafkaSchema,
            SinkError::Unusable { .. } => Code::SinkRejected,
        }
    }

    /// What it calls for.
    #[must_use]
    pub const fn disposition(&self) -> Disposition {
        match self {
            SinkError::Unavailable { .. }
            | SinkError::Throttled { .. }
            | SinkError::Regressed { .. }
            | SinkError::TakenOver { .. }
            | SinkError::Tls { .. } => Disposition::Retry,
            SinkError::Fenced { .. }
            | SinkError::Auth { .. }
            | SinkError::Denied { .. }
            | SinkError::Schema { .. }
            | SinkError::Unusable { .. } => Disposition::Stop,
        }
    }
}
