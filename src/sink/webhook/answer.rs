//! What an answer means, by its status.

use std::time::Duration;

use crate::http::Answer;
use crate::sink::SinkError;

/// An answer that settles a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The events are the receiver's now, or were before.
    Taken,
    /// It never takes one of them.
    Refused(String),
}

/// An answer that does not.
#[derive(Debug)]
pub(super) struct Unsettled {
    pub(super) error: SinkError,
    /// It asks to be left alone for so long.
    pub(super) wait: Option<Duration>,
}

/// However long it asks for, it is looked at again after this.
const WAIT_MAX: Duration = Duration::from_hours(1);
/// Of what it says so much is told.
const SAID_BYTES_MAX: usize = 300;

/// Judges an answer. 409 says that it has the request already. 401, 403, 404 and their like are about us or the place, not about an event: they stop the sink, or
/// every event would be refused.
pub(super) fn judge(target: String, answer: &Answer) -> Result<Verdict, Unsettled> {
    let said = said(&answer.body);
    let detail = format!("it answers {}{said}", answer.status);
    let settle = |error| Err(Unsettled { error, wait: None });
    let unusable = |target, detail, remedy: &str| SinkError::Unusable { target, detail, remedy: remedy.to_owned() };
    match answer.status {
        200..=299 | 409 => Ok(Verdict::Taken),
        429 | 503 => {
            let wait = answer.retry_after.as_deref().and_then(wait);
            Err(Unsettled { error: SinkError::Throttled { target, detail }, wait })
        }
        401 | 403 | 407 => settle(SinkError::Auth { target, detail }),
        300..=399 => settle(unusable(
            target,
            detail,
            "It names another place, and walbridge follows nobody there: give its own url",
        )),
        404 | 405 | 410 | 501 => {
            settle(unusable(target, detail, "Mend the url, or the receiver, then restart walbridge"))
        }
        408 | 421 | 425 => settle(SinkError::Unavailable { target, detail }),
        400..=499 => Ok(Verdict::Refused(detail)),
        _ => settle(SinkError::Unavailable { target, detail }),
    }
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn wait(text: &str) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            Duration::try_from(until.duration_since(jiff::Timestamp::now())).ok()?
        }
    };
    Some(wait.min(WAIT_MAX))
}

/// In the receiver's words, as far as they are words.
fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..SAID_BYTES_MAX.min(body.len())).unwrap_or_default());
    let text: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    if text.trim().is_empty() { String::new() } else { format!(": {}", text.trim()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Disposition;

    fn answer(status: u16, retry_after: Option<&str>) -> Answer {
        Answer { status, retry_after: retry_after.map(str::to_owned), body: bytes::Bytes::from_static(b"because\n") }
    }

    #[test]
    fn a_status_decides_and_what_is_about_the_place_refuses_no_event() {
        let judge = |status| judge("t".to_owned(), &answer(status, None));
        assert!([200, 202, 204, 409].iter().all(|&status| matches!(judge(status), Ok(Verdict::Taken))));
        assert!([400, 413, 415, 422].iter().all(|&status| {
            judge(status).is_ok_and(|verdict| verdict == Verdict::Refused(format!("it answers {status}: because")))
        }));
        let disposition = |status| judge(status).expect_err("unsettled").error.disposition();
        assert!([408, 429, 500, 502, 503, 504].iter().all(|&status| disposition(status) == Disposition::Retry));
        assert!([301, 307, 401, 403, 404, 405, 410].iter().all(|&status| disposition(status) == Disposition::Stop));
    }

    #[test]
    fn patience_is_asked_for_in_seconds_or_by_a_date() {
        let asked = |text: &str| judge("t".to_owned(), &answer(429, Some(text))).expect_err("unsettled").wait;
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(asked("99999999"), Some(WAIT_MAX));
        assert_eq!(asked("soon"), None);
        assert_eq!(asked("Wed, 21 Oct 2015 07:28:00 GMT"), None, "it has passed");
        assert!(asked("Thu, 21 Oct 2100 07:28:00 GMT") == Some(WAIT_MAX));
    }
}
