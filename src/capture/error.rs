//! What can go wrong with a source, by consequence.

use crate::decode::DecodeError;
use crate::postgres::PostgresError;
pub use crate::postgres::ServerError;
use crate::status::{Code, Disposition};

/// What an answer means where the server is a source.
impl ServerError {
    /// The public code. Class 28 is authorization, 57P0x a server going down or coming up, 42501 a missing privilege.
    #[must_use]
    pub fn code(&self) -> Code {
        match self.sqlstate.as_str() {
            "28000" | "28P01" => Code::SourceAuth,
            "42501" => Code::SourcePrivilege,
            "55006" => Code::SourceSlotActive,
            "08P01" => Code::SourceProtocol,
            "3D000" => Code::SourceUnreachable,
            _ if self.disposition() == Disposition::Retry => Code::SourceUnreachable,
            _ => Code::SourceServer,
        }
    }

    /// What to do about it, where the SQLSTATE tells.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self.sqlstate.as_str() {
            "28P01" => ". Check the role and its password: in the url, PGPASSWORD, or ~/.pgpass",
            "28000" => {
                ". Let this role in: LOGIN and REPLICATION on the role, and a line for it in pg_hba.conf (logical replication \
                 matches the database's own lines, not `replication`)"
            }
            "3D000" => ". Mend the database's name in the url",
            "42501" => ". The role needs REPLICATION, SELECT on the captured tables, and USAGE on their schemas",
            "53400" => {
                ". Drop a slot that nobody uses, or raise max_replication_slots and max_wal_senders, which needs a restart"
            }
            "55006" => ". Another client reads this slot; it is taken over when that one lets go",
            "42704" => ". Something the stream needs was removed; see the server's log",
            _ if self.is_internal() => {
                ". This is an error inside the server, not of what it was asked: see its log. Where trying again did not help, \
                 mend the server, then restart walbridge. If it comes at the same place after that, drop the slot, and `walbridge resnapshot` \
                 copies the tables again"
            }
            _ => "",
        }
    }
}

/// An error of a source.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// No connection, or it broke, or nothing was heard for too long.
    #[error("{address}: {detail}")]
    Unreachable {
        /// Where, without secrets.
        address: String,
        /// What happened.
        detail: String,
    },
    /// The server answered with an error.
    #[error("while {doing}: {source}{}", source.remedy())]
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
    /// A message that cannot be decoded.
    #[error("{0}. {remedy}", remedy = .0.remedy())]
    Decode(#[from] DecodeError),
    /// What was found at the source does not allow going on, or not yet.
    #[error("{detail}. {remedy}")]
    Refused {
        /// The public code.
        code: Code,
        /// Whether it may pass by itself.
        disposition: Disposition,
        /// What was found, with both positions where there are two.
        detail: String,
        /// What to do.
        remedy: String,
    },
}

impl CaptureError {
    /// The public code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            CaptureError::Unreachable { .. } => Code::SourceUnreachable,
            CaptureError::Server { source, .. } => source.code(),
            CaptureError::Tls { .. } => Code::SecurityTls,
            CaptureError::Auth { .. } => Code::SourceAuth,
            CaptureError::Protocol(_) | CaptureError::Decode(_) => Code::SourceProtocol,
            CaptureError::Refused { code, .. } => *code,
        }
    }

    /// What it calls for.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            CaptureError::Unreachable { .. } => Disposition::Retry,
            CaptureError::Server { source, .. } => source.disposition(),
            CaptureError::Tls { .. }
            | CaptureError::Auth { .. }
            | CaptureError::Protocol(_)
            | CaptureError::Decode(_) => Disposition::Stop,
            CaptureError::Refused { disposition, .. } => *disposition,
        }
    }

    /// An operator is needed.
    pub(crate) fn halt(code: Code, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (detail, remedy) = (detail.into(), remedy.into());
        CaptureError::Refused { code, disposition: Disposition::Stop, detail, remedy }
    }

    /// It may pass by itself.
    pub(crate) fn wait(code: Code, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (detail, remedy) = (detail.into(), remedy.into());
        CaptureError::Refused { code, disposition: Disposition::Retry, detail, remedy }
    }
}

impl From<PostgresError> for CaptureError {
    fn from(error: PostgresError) -> Self {
        match error {
            PostgresError::Unreachable { address, detail } => CaptureError::Unreachable { address, detail },
            PostgresError::Unfit { standby, detail } => {
                let code = if standby { Code::SourceNotPrimary } else { Code::SourceUnreachable };
                CaptureError::wait(code, detail, "If no failover is under way, mend the hosts in the url")
            }
            PostgresError::Server { doing, source } => CaptureError::Server { doing, source },
            PostgresError::Tls { address, detail } => CaptureError::Tls { address, detail },
            PostgresError::Auth { address, detail } => CaptureError::Auth { address, detail },
            PostgresError::Protocol(detail) => CaptureError::Protocol(detail),
        }
    }
}
