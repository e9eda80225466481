//! What can be changed here: `POST /api/sources/{name}/resnapshot`, `POST /api/sinks/{name}/replay`, `…/dead-letters` and
//! `…/rebuild`.
//! What an order does is not known here; it is a function that answers.
//!
//! A page in a browser cannot send one: `guard` wants `Content-Type: application/json`, which a page of another origin may not send
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
use crate::dead_letter;
use crate::event::{ParsePlaceError, Place, Span};

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It cannot be, as things are; says why.
    #[error("{0}")]
    Refused(String),
    /// It is busy.
    #[error("it is busy; look at its status, and ask again")]
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

/// An answer to come.
pub type ControlFuture<A> = Pin<Box<dyn Future<Output = Result<A, ControlError>> + Send>>;

/// Carries out an order.
pub type Control<O, A> = Arc<dyn Fn(O) -> ControlFuture<A> + Send + Sync>;

/// Who can be told, by name. Complete before the port answers.
pub struct Controls<O, A>(Arc<BTreeMap<String, Control<O, A>>>);

/// Who can be told to copy tables again, or all where none is named; the answer is the tables that are going to be copied, none if all are.
pub type CopyControls = Controls<Vec<String>, Vec<String>>;

/// Who can be told to apply again what it has applied from a place on; the answer is the events that are going to be.
pub type ReplayControls = Controls<Place, Span>;

/// Who can be told what to do with dead letters.
pub type LetterControls = Controls<dead_letter::Request, dead_letter::Outcome>;

impl<O, A> Controls<O, A> {
    /// Adds one.
    pub fn add(&mut self, name: impl Into<String>, control: Control<O, A>) {
        Arc::make_mut(&mut self.0).insert(name.into(), control);
    }

    /// Gives an order to the one of this name. `what` it is, and how its order is written, is for messages.
    pub(super) async fn give(&self, what: &str, name: &str, order: Result<O, &str>) -> Result<A, Response> {
        let Some(control) = self.0.get(name) else {
            let known = self.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            let why = match known.as_str() {
                "" => format!("this process has no {what}s: ask the one that has, at its own [admin] listen"),
                known => format!("no {what} of that name; there is: {known}"),
            };
            return Err(error(StatusCode::NOT_FOUND, &why));
        };
        let order = order.map_err(|help| error(StatusCode::BAD_REQUEST, help))?;
        control(order).await.map_err(|why| match why {
            ControlError::Refused(_) => error(StatusCode::CONFLICT, &why.to_string()),
            ControlError::Busy | ControlError::Late | ControlError::Lost => {
                error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string())
            }
        })
    }
}

impl<O, A> Clone for Controls<O, A> {
    fn clone(&self) -> Self {
        Controls(Arc::clone(&self.0))
    }
}

impl<O, A> Default for Controls<O, A> {
    fn default() -> Self {
        Controls(Arc::default())
    }
}

impl<O, A> std::fmt::Debug for Controls<O, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(default)]
    tables: Vec<String>,
}

pub(super) async fn resnapshot(State(shared): State<Pages>, Path(source): Path<String>, body: Bytes) -> Response {
    let help = "send {\"tables\": [\"schema.table\"]}, or {} for all";
    let order = serde_json::from_slice(&body).map(|order: Order| order.tables).map_err(|_| help);
    match shared.controls.give("source", &source, order).await {
        Ok(tables) => json_text(json!({ "source": source, "tables": tables }).to_string()).into_response(),
        Err(refusal) => refusal,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayOrder {
    from: String,
}

pub(super) async fn replay(State(shared): State<Pages>, Path(sink): Path<String>, body: Bytes) -> Response {
    let help = format!("send {{\"from\": PLACE}}; for the place {ParsePlaceError}");
    let order = serde_json::from_slice(&body).ok().and_then(|order: ReplayOrder| order.from.parse().ok());
    match shared.replays.give("sink", &sink, order.ok_or(help.as_str())).await {
        Ok(Span { from, until }) => {
            json_text(json!({ "sink": sink, "from": from, "until": until }).to_string()).into_response()
        }
        Err(refusal) => refusal,
    }
}

pub(super) async fn dead_letters(State(shared): State<Pages>, Path(sink): Path<String>, body: Bytes) -> Response {
    let help = "send {\"action\": \"retry\"} or \"discard\", with \"ids\": [1], or \"key\": \"…\", or \"all\": true";
    let order = serde_json::from_slice(&body).map_err(|_| help);
    match shared.letters.give("sink", &sink, order).await {
        Ok(outcome) => json_text(json!(outcome).to_string()).into_response(),
        Err(refusal) => refusal,
    }
}
