//! Tokens for SASL's OAUTHBEARER: read anew before the old one expires.
//!
//! A client that is polled asks for one by itself (`ClientContext::generate_oauth_token`). One that only answers questions is never polled,
//! so it is shown a token before each of them ([`Pass`]); for that the Rust crate has no call. No error quotes a token.

#![expect(unsafe_code, reason = "a call of librdkafka's that its Rust crate leaves out")]

use std::ffi::CString;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::bindings as native;
use rdkafka::client::{Client, OAuthToken};
use serde_json::Value;

use super::KafkaError;
use super::settings::{Sasl, Settings, TokenSource};
use crate::decode::base64;
use crate::event::Timestamp;

/// How long a token is taken to be good that does not tell.
const LIFETIME: Duration = Duration::from_secs(300);
/// More than any token has.
const BYTES_MAX: u64 = 1 << 20;

/// A token, now.
///
/// # Errors
/// There is none; says why.
pub(super) fn fetch(source: &TokenSource) -> Result<OAuthToken, String> {
    let text = match source {
        TokenSource::File(path) => read(path)?,
        TokenSource::Command(words) => run(words)?,
    };
    let token = text.trim();
    if token.is_empty() || token.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(format!("{source} holds no token, which is one word"));
    }
    let now_ms = Timestamp::now().unix_micros().div_euclid(1000);
    let claims = claims(token);
    let number = |name: &str| claims.as_ref().and_then(|claims| claims.get(name)).and_then(Value::as_f64);
    // A whole number of seconds, as a float where some issuers write it so; far below 2^53.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and such a token is refused below or good for ever"
    )]
    let lifetime_ms = number("exp").map_or_else(|| after(now_ms, LIFETIME), |seconds| (seconds * 1000.0) as i64);
    if lifetime_ms <= now_ms {
        return Err(format!("the token in {source} has expired"));
    }
    let name = claims.as_ref().and_then(|claims| claims.get("sub")).and_then(Value::as_str);
    Ok(OAuthToken { token: token.to_owned(), principal_name: name.unwrap_or("walbridge").to_owned(), lifetime_ms })
}

fn after(now_ms: i64, time: Duration) -> i64 {
    now_ms.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

fn read(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(BYTES_MAX).read_to_string(&mut text));
    read.map_err(|error| format!("the token in {} cannot be read: {error}", path.display()))?;
    Ok(text)
}

/// What it says on stderr goes to ours.
fn run(words: &[String]) -> Result<String, String> {
    let (program, arguments) = words.split_first().ok_or("token_command is empty")?;
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("token_command {program} cannot be run: {error}"))?;
    if !output.status.success() {
        return Err(format!("token_command {program} ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_| format!("token_command {program} prints no text"))
}

/// What a JWT claims; `None` of another token.
fn claims(token: &str) -> Option<Value> {
    let mut parts = token.split('.');
    let (_, payload) = (parts.next()?, parts.next()?);
    let mut letters: Vec<u8> = payload
        .bytes()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            byte => byte,
        })
        .collect();
    letters.resize(letters.len().next_multiple_of(4), b'=');
    serde_json::from_slice(&base64::decode(&letters)?).ok()
}

/// What a client that nobody polls is let in with.
pub(super) struct Pass {
    source: Option<TokenSource>,
    good_until: Mutex<Option<Instant>>,
}

impl Pass {
    pub(super) fn new(settings: &Settings) -> Self {
        Pass { source: source(settings), good_until: Mutex::new(None) }
    }

    /// Before a question: shows the client a token, if the last one does not last.
    ///
    /// # Errors
    /// There is none.
    pub(super) fn show<C: ClientContext>(&self, client: &Client<C>) -> Result<(), KafkaError> {
        let Some(source) = &self.source else { return Ok(()) };
        let mut good_until = self.good_until.lock().unwrap_or_else(PoisonError::into_inner);
        if good_until.is_some_and(|until| Instant::now() < until) {
            return Ok(());
        }
        let refuse = |detail: String| KafkaError::Credentials { detail };
        let token = fetch(source).map_err(refuse)?;
        give(client, &token).map_err(refuse)?;
        let now_ms = Timestamp::now().unix_micros().div_euclid(1000);
        let left = u64::try_from(token.lifetime_ms.saturating_sub(now_ms)).unwrap_or(0);
        *good_until = Instant::now().checked_add(Duration::from_millis(left / 5 * 4));
        Ok(())
    }
}

/// Where tokens come from, if who we are is told by one.
pub(super) fn source(settings: &Settings) -> Option<TokenSource> {
    match &settings.sasl {
        Some(Sasl::Token(source)) => Some(source.clone()),
        Some(Sasl::Password { .. }) | None => None,
    }
}

fn give<C: ClientContext>(client: &Client<C>, token: &OAuthToken) -> Result<(), String> {
    let zero = |_| "the token holds a zero byte".to_owned();
    let value = CString::new(token.token.as_str()).map_err(zero)?;
    let name = CString::new(token.principal_name.as_str()).map_err(zero)?;
    let none = std::ptr::null_mut();
    // SAFETY: the client's handle lives as long as `client`; both strings end in a zero, outlive the call and are copied by it; there are no
    // extensions and no room for a message.
    let code = unsafe {
        native::rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            value.as_ptr(),
            token.lifetime_ms,
            name.as_ptr(),
            std::ptr::null_mut(),
            0,
            none,
            0,
        )
    };
    if code == native::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        Ok(())
    } else {
        Err("the client does not take the token: it has characters that none has, or has expired".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<OAuthToken, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("token");
        std::fs::write(&path, text).expect("written");
        fetch(&TokenSource::File(path))
    }

    #[test]
    fn a_token_tells_whose_it_is_and_how_long_it_is_good() {
        // {"alg":"none"} {"sub":"bridge","exp":4102444800}
        let token = of("eyJhbGciOiJub25lIn0.eyJzdWIiOiJicmlkZ2UiLCJleHAiOjQxMDI0NDQ4MDB9.\n").expect("a token");
        assert_eq!((token.principal_name.as_str(), token.lifetime_ms), ("bridge", 4_102_444_800_000));
        let token = of("opaque").expect("a token");
        assert_eq!((token.token.as_str(), token.principal_name.as_str()), ("opaque", "walbridge"));
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_quoted() {
        // {"sub":"bridge","exp":1}
        let expired = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJicmlkZ2UiLCJleHAiOjF9.secret";
        for (text, why) in [("", "no token"), ("two secret words", "no token"), (expired, "expired")] {
            let error = of(text).err().expect("refused");
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
        let run = |words: &[&str]| fetch(&TokenSource::Command(words.iter().map(ToString::to_string).collect()));
        assert_eq!(run(&["echo", "word"]).expect("a token").token, "word");
        assert!(run(&["false"]).err().expect("refused").contains("ended with"));
    }
}
