//! `POST /api/sinks/{name}/verify` begins a verification of a sink, and `GET` tells how far it is, or what the last one has found.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Pages;
use super::api::json_text;
use super::control::Controls;
use crate::event::{Span, Timestamp};
use crate::status::Verified;
use crate::verify::{MEMORY_BYTES_MIN, Options, Report};

/// Who can be verified. An order begins a verification; none asks after the last.
pub type VerifyControls = Controls<Option<Options>, Report>;

/// One of them.
pub type VerifyControl = super::Control<Option<Options>, Report>;

/// See [`Verified`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct VerifiedView {
    /// Seconds since it ended.
    pub age_seconds: f64,
    /// The places in the log as of which it compared.
    #[serde(flatten)]
    pub events: Span,
    /// Keys that were not as they should be.
    pub differences: u64,
    /// Those that were not repaired.
    pub remaining: u64,
    /// All keys of all tables were compared.
    pub is_whole: bool,
}

impl VerifiedView {
    pub(super) fn of(verified: &Verified, now: Timestamp) -> Self {
        let Verified { at, from, until, differences, remaining, is_whole } = *verified;
        let age_seconds = at.seconds_until(now).round();
        VerifiedView { age_seconds, events: Span { from, until }, differences, remaining, is_whole }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(default)]
    repair: bool,
    /// Percent.
    #[serde(default)]
    sample: Option<f64>,
    /// Bytes.
    #[serde(default)]
    memory: Option<usize>,
}

pub(super) async fn begin(State(shared): State<Pages>, Path(sink): Path<String>, body: Bytes) -> Response {
    let help = "send {\"repair\": false, \"sample\": 5, \"memory\": 67108864}; without `sample`, which is in percent, all is verified; `memory` is in bytes, 65536 at least";
    let order = serde_json::from_slice(&body).ok();
    let order = order.map(|Order { repair, sample, memory }| Options { repair, sample, memory_bytes: memory });
    let order = order.filter(|order: &Options| {
        order.sample.is_none_or(|percent| percent > 0.0 && percent <= 100.0)
            && order.memory_bytes.is_none_or(|bytes| bytes >= MEMORY_BYTES_MIN)
    });
    answer(&shared, &sink, order.map(Some).ok_or(help)).await
}

pub(super) async fn report(State(shared): State<Pages>, Path(sink): Path<String>) -> Response {
    answer(&shared, &sink, Ok(None)).await
}

async fn answer(shared: &Pages, sink: &str, order: Result<Option<Options>, &str>) -> Response {
    match shared.verifications.give("sink", sink, order).await {
        Ok(report) => json_text(serde_json::to_string(&report).unwrap_or_default()).into_response(),
        Err(refusal) => refusal,
    }
}
