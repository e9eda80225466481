//! Refusals by consequence: by HTTP status and by the type of the server's error, never by its text.

use serde::Deserialize;

use crate::sink::SinkError;

/// What the server says of a failure.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Reason {
    #[serde(default, rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    caused_by: Option<Box<Reason>>,
}

impl Reason {
    /// In the server's words, from the outside in.
    pub(super) fn text(&self) -> String {
        let own = self.reason.as_deref().unwrap_or(&self.kind);
        match &self.caused_by {
            Some(cause) => format!("{own}: {}", cause.text()),
            None => own.to_owned(),
        }
    }
}

/// What can be worked with.
pub(super) const NEEDED: &str = "walbridge needs OpenSearch 2 or Elasticsearch 7.10, or newer. See what it says";

#[derive(Deserialize)]
struct Body {
    error: Reason,
}

/// The reason in an answer's body, if it has one.
pub(super) fn reason(body: &[u8]) -> Reason {
    serde_json::from_slice(body).map_or_else(|_| Reason::default(), |body: Body| body.error)
}

/// What a refusal of a whole request means. What is not known is waited for, visibly.
pub(super) fn refused(target: String, doing: &str, status: u16, body: &[u8]) -> SinkError {
    judge(target, doing, status, &reason(body))
}

/// The server has no room for a whole bulk request, or none of this size.
pub(super) fn no_room(target: String, status: u16, body: &[u8]) -> SinkError {
    let reason = reason(body);
    // Another may stand in front of it, and say so of itself.
    judge(target, "bulk request", if status == 413 { 429 } else { status }, &reason)
}

/// The server does not say of one of several documents what it is.
pub(super) fn judge_read(target: String, doing: &str, reason: &Reason) -> SinkError {
    let status = if reason.kind == "index_not_found_exception" { 404 } else { 503 };
    judge(target, doing, status, reason)
}

/// The same of one item of a bulk request.
pub(super) fn judge(target: String, doing: &str, status: u16, reason: &Reason) -> SinkError {
    let detail = format!("{doing}: {status} {}", reason.text());
    let unusable = |remedy: &str| SinkError::Unusable {
        target: target.clone(),
        detail: detail.clone(),
        remedy: remedy.to_owned(),
    };
    match (status, reason.kind.as_str()) {
        // A full disk, or somebody's order; lifted by whoever made room.
        (_, "cluster_block_exception") | (429, _) => SinkError::Throttled { target, detail },
        (401 | 403, _) => SinkError::Auth { target, detail },
        (404, "index_not_found_exception") => SinkError::Regressed { target, detail },
        (300..=399, _) => unusable("It names another place, and walbridge follows nobody there: give its own url"),
        (400 | 404 | 405 | 406, _) => unusable(NEEDED),
        _ => SinkError::Unavailable { target, detail },
    }
}
