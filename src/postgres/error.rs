//! What can go wrong between us and a server.

use crate::status::Disposition;

/// An `ErrorResponse` of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("{message} (SQLSTATE {sqlstate}){}", if detail.is_empty() { String::new() } else { format!("; {detail}") })]
pub struct ServerError {
    /// Five characters; the only part programs may rely on.
    pub sqlstate: String,
    /// The primary message, in the server's language.
    pub message: String,
    /// Detail and hint, if any.
    pub detail: String,
}

impl ServerError {
    /// A bug of the server's, or damage to its data (class XX).
    #[must_use]
    pub fn is_internal(&self) -> bool {
        self.sqlstate.starts_with("XX")
    }

    /// Whether trying again may help. Unknown means no: going on would be a guess.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        let class = self.sqlstate.get(..2).unwrap_or_default();
        match (class, self.sqlstate.as_str()) {
            // Connection trouble, too many connections or slots, shutdown, start-up, cancel, lock and I/O trouble, the slot
            // being in use, serialization failures: all pass by themselves or by another's hand.
            ("08" | "53" | "57" | "58" | "40", _) | (_, "55006" | "55P03" | "25006") => Disposition::Retry,
            _ => Disposition::Stop,
        }
    }
}

/// An error of a connection, or of what was asked over it.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// No connection, or it broke, or nothing was heard for too long.
    #[error("{address}: {detail}")]
    Unreachable {
        /// Where, without secrets.
        address: String,
        /// What happened.
        detail: String,
    },
    /// None of the hosts is what `target_session_attrs` asks for. A failover may be under way.
    #[error("{detail}. If no failover is under way, mend the hosts in the url")]
    Unfit {
        /// The last host is a standby.
        standby: bool,
        /// What it is, and what was asked for.
        detail: String,
    },
    /// The server answered with an error.
    #[error("while {doing}: {source}")]
    Server {
        /// What was asked for.
        doing: &'static str,
        /// The answer.
        source: ServerError,
    },
    /// The TLS settings, or the certificate, do not fit.
    #[error("TLS with {address} failed: {detail}")]
    Tls {
        /// Where.
        address: String,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// The credentials, or the way the server wants them.
    #[error("{address}: {detail}")]
    Auth {
        /// Where.
        address: String,
        /// What is wrong, and what to do.
        detail: String,
    },
    /// The server said something that the protocol does not allow.
    #[error("the server broke the protocol: {0}. Nothing of it was kept; report this with the server's version")]
    Protocol(String),
}

impl PostgresError {
    /// Whether trying again may help.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            PostgresError::Unreachable { .. } | PostgresError::Unfit { .. } => Disposition::Retry,
            PostgresError::Server { source, .. } => source.disposition(),
            PostgresError::Tls { .. } | PostgresError::Auth { .. } | PostgresError::Protocol(_) => Disposition::Stop,
        }
    }
}
