//! The few kinds of replies that matter here.

use redis::{ServerError, Value};

use super::error;
use crate::sink::SinkError;

/// A reply to one command.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reply {
    /// Nothing there; from `EXEC`: the watched key was touched.
    Nil,
    /// `+OK`
    Ok,
    /// `+QUEUED`: accepted into a transaction.
    Queued,
    /// A string, or another status, such as a type's name.
    Bytes(Vec<u8>),
    /// An array, or what RESP2 sends as one.
    Array(Vec<Reply>),
    /// An error reply.
    Refused(ServerError),
    /// A number.
    Number(i64),
    /// What only RESP3 has.
    Other,
}

impl From<Value> for Reply {
    #[expect(clippy::wildcard_enum_match_arm, reason = "the library may learn of more kinds, none of them ours")]
    fn from(value: Value) -> Self {
        match value {
            Value::Nil => Reply::Nil,
            Value::Okay => Reply::Ok,
            Value::SimpleString(text) if text == "QUEUED" => Reply::Queued,
            Value::SimpleString(text) => Reply::Bytes(text.into_bytes()),
            Value::BulkString(bytes) => Reply::Bytes(bytes),
            Value::Int(number) => Reply::Number(number),
            Value::Array(items) => Reply::Array(items.into_iter().map(Reply::from).collect()),
            Value::ServerError(refusal) => Reply::Refused(refusal),
            _ => Reply::Other,
        }
    }
}

impl Reply {
    /// Makes an error of a refusal.
    ///
    /// # Errors
    /// Redis refused the command.
    pub(super) fn accepted(self, target: &str, doing: &str) -> Result<Self, SinkError> {
        if let Some(refusal) = self.refusal() { Err(error::refused(target, doing, refusal)) } else { Ok(self) }
    }

    /// The error, if it is one.
    pub(super) fn refusal(&self) -> Option<&ServerError> {
        if let Reply::Refused(refusal) = self { Some(refusal) } else { None }
    }

    /// The strings of an array; `None` if it is not an array of strings.
    pub(super) fn strings(self) -> Option<Vec<Vec<u8>>> {
        let Reply::Array(items) = self else { return None };
        let strings = items.into_iter().map(|item| if let Reply::Bytes(bytes) = item { Some(bytes) } else { None });
        strings.collect()
    }

    /// The next cursor, 0 if there is none, and the keys of a `SCAN`.
    pub(super) fn scanned(self) -> Option<(u64, Vec<Vec<u8>>)> {
        let Reply::Array(parts) = self else { return None };
        let [Reply::Bytes(cursor), keys] = <[Reply; 2]>::try_from(parts).ok()? else { return None };
        Some((str::from_utf8(&cursor).ok()?.parse().ok()?, keys.strings()?))
    }
}

/// Every command of a transaction must have been queued (`MULTI` itself answers OK).
pub(super) fn queued(target: &str, replies: Vec<Reply>) -> Result<(), SinkError> {
    for reply in replies {
        if !matches!(reply.accepted(target, "MULTI")?, Reply::Ok | Reply::Queued) {
            return Err(error::strange(target, "MULTI"));
        }
    }
    Ok(())
}

/// Whether a transaction was applied; `false` if a key that it watched had been touched.
pub(super) fn executed(target: &str, reply: Option<Reply>) -> Result<bool, SinkError> {
    match reply.map(|reply| reply.accepted(target, "EXEC")).transpose()? {
        Some(Reply::Nil) => Ok(false),
        Some(Reply::Array(replies)) => {
            let failure = replies.iter().find_map(Reply::refusal);
            failure.map_or(Ok(true), |failure| Err(error::failed_inside(target, "EXEC", failure)))
        }
        _ => Err(error::strange(target, "EXEC")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Reply {
        Reply::from(redis::parse_redis_value(text.as_bytes()).expect("RESP"))
    }

    #[test]
    fn a_scan_is_a_cursor_and_keys() {
        let scan = reply("*2\r\n$1\r\n7\r\n*2\r\n$1\r\na\r\n$2\r\n\r\n\r\n");
        assert_eq!(scan.scanned(), Some((7, vec![b"a".to_vec(), b"\r\n".to_vec()])));
        assert_eq!(reply("*1\r\n$1\r\n7\r\n").scanned(), None);
        assert_eq!(reply("*2\r\n$1\r\n7\r\n$1\r\na\r\n").scanned(), None);
        assert_eq!(reply("*2\r\n$1\r\n7\r\n*1\r\n:1\r\n").scanned(), None);
    }

    #[test]
    fn an_error_inside_an_array_is_still_one() {
        let Reply::Array(replies) = reply("*2\r\n+OK\r\n-NOPERM no\r\n") else { panic!("an array") };
        assert!(matches!(replies.as_slice(), [Reply::Ok, Reply::Refused(refusal)] if refusal.code() == "NOPERM"));
    }
}
