//! `POST /api/sources/{name}/resnapshot` and `POST /api/sinks/{name}/replay`: what can be changed here. What they do is not known here; each is
//! a function that answers.
//!
//! A page in a browser cannot send it: `guard` wants `Content-Type: application/json`, which a page of another origin may not send
//! without being asked first, and that question is not answered; and an `Origin` that is not this port's own is refused.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::Pages;
use super::api::{error, json_text};
use crate::event::{ParsePlaceError, Place, Span};

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It cannot be, as things are; says why.
    #[error("{0}")]
    Refused(String),
    /// It is busy with another order.
    #[error("it is busy with another order; look at its status, and ask again")]
    Busy,
    /// It has not answered yet.
    #[error(
        "no answer yet: the order stands, and is carried out as soon as can be; its status, and the log of walbridge, show what becomes of it"
    )]
    Late,
    /// Something went wrong that may pass, and it is not known how far the order got.
    #[error("it was interrupted, and may or may not have begun; look at its status, and ask again")]
    Lost,
}

/// An answer to come: the tables that are going to be copied; none if all are.
pub type ControlFuture = Pin<Box<dyn Future<Output = Result<Vec<String>, ControlError>> + Send>>;

/// Copies the named tables of a source again, or all.
pub type Control = Arc<dyn Fn(Vec<String>) -> ControlFuture + Send + Sync>;

/// An answer to come: the events that are going to be applied again.
pub type ReplayFuture = Pin<Box<dyn Future<Output = Result<Span, ControlError>> + Send>>;

/// Has a sink apply again what it has applied from this place on.
pub type ReplayControl = Arc<dyn Fn(Place) -> ReplayFuture + Send + Sync>;

/// Who can be told, by name. Complete before the port answers.
#[derive(Clone, Default)]
pub struct Controls {
    sources: Arc<BTreeMap<String, Control>>,
    sinks: Arc<BTreeMap<String, ReplayControl>>,
}

impl Controls {
    /// Adds a source.
    pub fn add(&mut self, source: impl Into<String>, control: Control) {
        Arc::make_mut(&mut self.sources).insert(source.into(), control);
    }

    /// Adds a sink.
    pub fn add_sink(&mut self, sink: impl Into<String>, control: ReplayControl) {
        Arc::make_mut(&mut self.sinks).insert(sink.into(), control);
    }
}

impl std::fmt::Debug for Controls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.sources.keys().chain(self.sinks.keys())).finish()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(default)]
    tables: Vec<String>,
}

pub(super) async fn resnapshot(State(shared): State<Pages>, Path(source): Path<String>, body: Bytes) -> Response {
    let Some(control) = shared.controls.sources.get(&source) else {
        return unknown("source", shared.controls.sources.keys());
    };
    let order: Order = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(_) => return error(StatusCode::BAD_REQUEST, "send {\"tables\": [\"schema.table\"]}, or {} for all"),
    };
    answer(control(order.tables).await.map(|tables| json!({ "source": source, "tables": tables })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayOrder {
    from: String,
}

pub(super) async fn replay(State(shared): State<Pages>, Path(sink): Path<String>, body: Bytes) -> Response {
    let Some(control) = shared.controls.sinks.get(&sink) else {
        return unknown("sink", shared.controls.sinks.keys());
    };
    let order = serde_json::from_slice::<ReplayOrder>(&body).ok();
    let Some(Ok(from)) = order.map(|order| order.from.parse()) else {
        return error(StatusCode::BAD_REQUEST, &format!("send {{\"from\": PLACE}}; for the place {ParsePlaceError}"));
    };
    answer(control(from).await.map(|Span { from, until }| json!({ "sink": sink, "from": from, "until": until })))
}

fn unknown<'n>(what: &str, known: impl Iterator<Item = &'n String>) -> Response {
    let known = known.map(String::as_str).collect::<Vec<_>>().join(", ");
    let why = match known.as_str() {
        "" => format!("this process has no {what}s: ask the one that has, at its own [admin] listen"),
        known => format!("no {what} of that name; there is: {known}"),
    };
    error(StatusCode::NOT_FOUND, &why)
}

fn answer(outcome: Result<serde_json::Value, ControlError>) -> Response {
    match outcome {
        Ok(done) => json_text(done.to_string()).into_response(),
        Err(why @ ControlError::Refused(_)) => error(StatusCode::CONFLICT, &why.to_string()),
        Err(why @ (ControlError::Busy | ControlError::Late | ControlError::Lost)) => {
            error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())
        }
    }
}
