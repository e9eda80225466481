//! Errors by consequence: by SQLSTATE, never by the text.

use crate::postgres::{PostgresError, ServerError};
use crate::sink::SinkError;

/// Whether the server refuses the row, or the rows, and takes others: data exceptions, integrity constraints, a check option, limits of a row or
/// an index entry, and what a trigger raises.
pub(super) fn refuses_row(error: &ServerError) -> bool {
    let class = error.sqlstate.get(..2).unwrap_or_default();
    matches!(class, "22" | "23" | "44" | "54") || error.sqlstate == "P0001"
}

/// What an error means for the target as a whole. What is not known stops: going on would be a guess.
pub(super) fn judge(target: &str, error: PostgresError) -> SinkError {
    let target = target.to_owned();
    let unusable = |target: String, detail: String, remedy: &str| SinkError::Unusable {
        target,
        detail,
        remedy: remedy.to_owned(),
    };
    match error {
        PostgresError::Unreachable { detail, .. } | PostgresError::Unfit { detail, .. } => {
            SinkError::Unavailable { target, detail }
        }
        // Whatever garbled it, the next connection is another.
        PostgresError::Protocol(detail) => SinkError::Unavailable { target, detail },
        PostgresError::Auth { detail, .. } => SinkError::Auth { target, detail },
        PostgresError::Tls { detail, .. } => {
            unusable(target, format!("TLS failed: {detail}"), "Then restart walbridge")
        }
        PostgresError::Server { doing, source } => {
            let class = source.sqlstate.get(..2).unwrap_or_default();
            let detail = format!("while {doing}: {source}");
            match (class, source.sqlstate.as_str()) {
                ("28", _) => SinkError::Auth { target, detail },
                (_, "42501") => unusable(
                    target,
                    detail,
                    "Grant the role what it lacks (docs/configuration.md, \"PostgreSQL\"), then restart walbridge",
                ),
                (_, "3D000") => {
                    unusable(target, detail, "Make the database, or mend its name in the url, then restart walbridge")
                }
                // Read only, full, out of connections or memory, or a lock that somebody holds.
                ("53", _) | (_, "25006" | "55P03") => SinkError::Throttled { target, detail },
                ("08" | "57" | "58" | "40", _) => SinkError::Unavailable { target, detail },
                // It was there a moment ago: look again.
                (_, "42P01" | "3F000") => SinkError::Regressed { target, detail },
                (_, "2BP01") => unusable(
                    target,
                    detail,
                    "Drop what depends on it, or make the change yourself, then restart walbridge",
                ),
                ("23", _) => unusable(
                    target,
                    detail,
                    "A deferred constraint of the target refuses a transaction of the source. Drop it, or make it NOT DEFERRABLE so that \
                     only the row is refused, then restart walbridge",
                ),
                _ => unusable(target, detail, "See what the server says, mend it, then restart walbridge"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Disposition;

    #[test]
    fn what_passes_is_waited_for_and_what_is_not_known_stops() {
        let server = |state: &str| ServerError { sqlstate: state.to_owned(), ..ServerError::default() };
        let verdict =
            |state: &str| judge("t", PostgresError::Server { doing: "x", source: server(state) }).disposition();
        for passes in ["57P01", "08006", "40001", "40P01", "53100", "53300", "25006", "55P03"] {
            assert_eq!(verdict(passes), Disposition::Retry, "{passes}");
        }
        for stops in ["42501", "28P01", "3D000", "XX000", "42804", ""] {
            assert_eq!(verdict(stops), Disposition::Stop, "{stops}");
        }
        assert!(["23505", "22003", "P0001", "54000"].iter().all(|state| refuses_row(&server(state))));
        assert!(!["40001", "42501", "55P03"].iter().any(|state| refuses_row(&server(state))));
    }
}
