//! `POST /api/sinks/{name}/rebuild`, and what the status says of it.

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Pages;
use super::api::{json_text, tenths};
use super::control::Controls;
use crate::event::{Offset, Span};
use crate::status::SinkStatus;

/// Who can be told to build its target anew; the answer is the events that are applied to it, or none if it leaves off.
pub type RebuildControls = Controls<RebuildRequest, Option<Span>>;

/// What is to be done about a sink's target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, tag = "action", rename_all = "lowercase")]
pub enum RebuildRequest {
    /// Build another beside it, which takes its place.
    Begin {
        /// What readers have now is not removed then.
        #[serde(default)]
        keep_old: bool,
        /// It begins with new copies of the tables, and not with the log's beginning.
        #[serde(default)]
        copy: bool,
    },
    /// Leave off, and remove what is beside it.
    Cancel {},
}

/// A rebuild under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RebuildView {
    /// See [`State`]; `halted` if it does not go on.
    pub state: String,
    /// What it is held up by, or why it does not go on.
    pub message: Option<String>,
    /// The first event that is applied to it, and the first behind the log's end.
    #[serde(flatten)]
    pub events: Span,
    /// The first event that is not applied yet.
    pub checkpoint: Offset,
    /// How much of them is applied, 0 to 100.
    pub percent: f64,
    /// Changes that it refused.
    pub dead_letters: usize,
}

impl RebuildView {
    /// `end`: of the log, as far as its source has told.
    pub(super) fn of(sink: &SinkStatus, end: Offset) -> Option<Self> {
        let rebuild = sink.rebuild.as_ref()?;
        let events = Span { from: rebuild.from, until: end.max(sink.checkpoint.unwrap_or_default()) };
        Some(RebuildView {
            state: rebuild.state.to_string(),
            message: rebuild.message.clone(),
            events,
            checkpoint: rebuild.checkpoint,
            percent: tenths(events.percent(rebuild.checkpoint)),
            dead_letters: rebuild.dead_letters,
        })
    }
}

pub(super) async fn rebuild(State(shared): State<Pages>, Path(sink): Path<String>, body: Bytes) -> Response {
    let help = "send {\"action\": \"begin\"}, with \"keep_old\": true or \"copy\": true as you like, or {\"action\": \"cancel\"}";
    let order = serde_json::from_slice(&body).map_err(|_| help);
    match shared.rebuilds.give("sink", &sink, order).await {
        Ok(events) => json_text(json!({ "sink": sink, "events": events }).to_string()).into_response(),
        Err(refusal) => refusal,
    }
}
