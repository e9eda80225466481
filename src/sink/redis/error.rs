//! Redis's errors by consequence: by the kind of the library's error and by the code that starts every error reply, never by
//! their text.

use redis::{ErrorKind, RedisError, ServerError};

use super::tls;
use crate::sink::SinkError;

/// Redis tells these when it will take writes again later: memory is full, it cannot persist, too few replicas are attached, it is a
/// replica until it is promoted.
/// `EXECABORT` without an earlier refusal means that `EXEC` itself met one of these.
const PATIENCE: [&str; 5] = ["OOM", "MISCONF", "NOREPLICAS", "READONLY", "EXECABORT"];
const CREDENTIALS: [&str; 2] = ["NOAUTH", "WRONGPASS"];
/// The user is known, and may not do this.
const DENIED: &str = "NOPERM";
/// Our slot is at another node, or on its way there: who asks the cluster again finds it.
const MOVED: [&str; 2] = ["MOVED", "ASK"];
const CROSSED: &str = "CROSSSLOT";
/// A command it does not have, a key of ours with a foreign type, a failing script: the same tomorrow.
const HOPELESS: [&str; 3] = ["ERR", "WRONGTYPE", "NOPROTO"];

/// What an error reply means for the sink. Codes that are not known are waited for, visibly.
pub(super) fn refused(target: &str, doing: &str, error: &ServerError) -> SinkError {
    let (target, code) = (target.to_owned(), error.code());
    let detail = format!("{doing}: {code} {}", error.details().unwrap_or_default().trim_end_matches('.'));
    if CREDENTIALS.contains(&code) {
        SinkError::Auth { target, detail }
    } else if code == DENIED {
        denied(target, detail)
    } else if PATIENCE.contains(&code) {
        SinkError::Throttled { target, detail }
    } else if MOVED.contains(&code) {
        let detail =
            format!("{detail}: our slot is not there, or not any more. A cluster is named with redis-cluster://");
        SinkError::Unavailable { target, detail }
    } else if code == CROSSED {
        let remedy = "It is a node of a cluster: write redis-cluster:// in the url, and a hash tag into the key, as docs/redis.md says".to_owned();
        SinkError::Unusable { target, detail, remedy }
    } else if HOPELESS.contains(&code) {
        let remedy = "walbridge needs Redis 6.2 or newer with WATCH, MULTI and EVAL".to_owned();
        SinkError::Unusable { target, detail, remedy }
    } else {
        SinkError::Unavailable { target, detail }
    }
}

fn denied(target: String, detail: String) -> SinkError {
    let remedy = "Let its user do that (ACL SETUSER): docs/redis.md lists what walbridge needs".to_owned();
    SinkError::Denied { target, detail, remedy }
}

/// `AUTH` was refused. Only the code is told: some servers quote the command in the text.
pub(super) fn not_let_in(target: &str, refusal: &ServerError) -> SinkError {
    let (target, detail) = (target.to_owned(), format!("it answers AUTH with {}", refusal.code()));
    if refusal.code() == DENIED {
        denied(target, detail)
    } else if CREDENTIALS.contains(&refusal.code()) {
        SinkError::Auth { target, detail }
    } else {
        SinkError::Unavailable { target, detail }
    }
}

/// A command that was queued failed inside `EXEC`, or a script in the middle: something has changed just now. The next attempt is refused before it
/// touches anything, and that refusal tells what; inside a script Redis gives most errors the code `ERR`.
pub(super) fn failed_inside(target: &str, doing: &str, error: &ServerError) -> SinkError {
    let refusal = refused(target, doing, error);
    if let SinkError::Unusable { target, detail, .. } = refusal {
        return SinkError::Unavailable { target, detail };
    }
    refusal
}

/// What a failure below the replies means: nothing is known of what was sent, and the connection is of no more use.
pub(super) fn broken(target: &str, error: &RedisError) -> SinkError {
    let target = target.to_owned();
    if error.kind() == ErrorKind::InvalidClientConfig {
        let remedy = "Correct the url of this sink".to_owned();
        return SinkError::Unusable { target, detail: error.category().to_owned(), remedy };
    }
    if let Some(detail) = tls::explain(error) {
        return SinkError::Tls { target, detail };
    }
    SinkError::Unavailable { target, detail: error.to_string() }
}

/// The server answered, but not in the way of Redis.
pub(super) fn strange(target: &str, doing: &str) -> SinkError {
    SinkError::Unavailable { target: target.to_owned(), detail: format!("{doing}: an answer that Redis does not give") }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    fn meaning(reply: &str) -> SinkError {
        let Ok(Value::ServerError(error)) = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()) else {
            panic!("{reply} is an error reply")
        };
        refused("cache:6379", "SET", &error)
    }

    #[test]
    fn error_replies_are_told_apart_by_their_code() {
        for code in ["MOVED", "ASK", "LOADING", "MASTERDOWN", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "SOMETHINGNEW"] {
            assert!(matches!(meaning(&format!("{code} text")), SinkError::Unavailable { .. }), "{code}");
        }
        for code in PATIENCE {
            assert!(matches!(meaning(&format!("{code} text")), SinkError::Throttled { .. }), "{code}");
        }
        for code in ["NOAUTH", "WRONGPASS"] {
            assert!(matches!(meaning(&format!("{code} text")), SinkError::Auth { .. }), "{code}");
        }
        assert!(matches!(meaning("NOPERM text"), SinkError::Denied { .. }));
        for code in ["CROSSSLOT", "ERR", "WRONGTYPE"] {
            assert!(matches!(meaning(&format!("{code} 1 text")), SinkError::Unusable { .. }), "{code}");
        }
    }

    #[test]
    fn a_code_in_the_text_means_nothing() {
        assert!(matches!(meaning("LOADING before OOM and NOAUTH"), SinkError::Unavailable { .. }));
    }
}
