//! `POST /api/sources/{name}/resnapshot`: the one thing that can be changed here. What it does is not known here; it is a function that
//! answers.
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

/// Why an order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// It cannot be, as things are; says why.
    #[error("{0}")]
    Refused(String),
    /// The source is busy with another order.
    #[error("the source is busy; look at its status, and ask again")]
    Busy,
}

/// An answer to come: the tables that are going to be copied; none if all are.
pub type ControlFuture = Pin<Box<dyn Future<Output = Result<Vec<String>, ControlError>> + Send>>;

/// Copies the named tables of a source again, or all.
pub type Control = Arc<dyn Fn(Vec<String>) -> ControlFuture + Send + Sync>;

/// Who can be told, by the source's name. Complete before the port answers.
#[derive(Clone, Default)]
pub struct Controls(Arc<BTreeMap<String, Control>>);

impl Controls {
    /// Adds one.
    pub fn add(&mut self, source: impl Into<String>, control: Control) {
        Arc::make_mut(&mut self.0).insert(source.into(), control);
    }
}

impl std::fmt::Debug for Controls {
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
    let Some(control) = shared.controls.0.get(&source) else {
        let known = shared.controls.0.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        return error(StatusCode::NOT_FOUND, &format!("no source of that name; there is: {known}"));
    };
    let order: Order = match serde_json::from_slice(&body) {
        Ok(order) => order,
        Err(_) => return error(StatusCode::BAD_REQUEST, "send {\"tables\": [\"schema.table\"]}, or {} for all"),
    };
    match control(order.tables).await {
        Ok(tables) => json_text(json!({ "source": source, "tables": tables }).to_string()).into_response(),
        Err(why @ ControlError::Refused(_)) => error(StatusCode::CONFLICT, &why.to_string()),
        Err(why @ ControlError::Busy) => error(StatusCode::SERVICE_UNAVAILABLE, &why.to_string()),
    }
}
