//! The admin port's questions, asked of the search sinks.

use std::sync::{Arc, OnceLock};

use serde_json::value::{RawValue, to_raw_value};

use crate::admin;
use crate::sink::tantivy::{SearchAnswer, SearchError, SearchHandle, SearchRequest};

/// A sink's handle, once it has opened its index.
pub(super) type Slot = Arc<OnceLock<SearchHandle>>;

/// Registers a sink, so that it can be asked for from the start; until its index is open the answer says so.
pub(super) fn register(registry: &mut admin::SearchRegistry, sink: &str) -> Slot {
    let slot = Slot::default();
    let handle = slot.clone();
    registry.add(sink, move |request| ask(handle.get().cloned(), request));
    slot
}

async fn ask(handle: Option<SearchHandle>, request: admin::SearchRequest) -> Result<Box<RawValue>, admin::SearchError> {
    let handle = handle.ok_or_else(|| refuse(&SearchError::NotReady))?;
    let question = SearchRequest {
        q: request.query,
        fields: Some(request.fields).filter(|fields| !fields.is_empty()),
        limit: request.limit,
        offset: request.offset,
        highlight: !request.highlight.is_empty(),
    };
    let unavailable = |error: &dyn std::fmt::Display| admin::SearchError::Unavailable(error.to_string());
    let searched = tokio::task::spawn_blocking(move || handle.search(&question)).await;
    let answer = searched.map_err(|error| unavailable(&error))?.map_err(|error| refuse(&error))?;
    to_raw_value(&only_highlights_of(&request.highlight, answer)).map_err(|error| unavailable(&error))
}

/// `highlight=name,bio` shows those columns' passages, `highlight=*` all.
fn only_highlights_of(columns: &[String], mut answer: SearchAnswer) -> SearchAnswer {
    if !columns.iter().any(|column| column == "*") {
        for hit in &mut answer.hits {
            hit.highlights.retain(|column, _| columns.contains(column));
        }
    }
    answer
}

fn refuse(error: &SearchError) -> admin::SearchError {
    match error {
        SearchError::NotReady | SearchError::Index(_) => admin::SearchError::Unavailable(error.to_string()),
        SearchError::Syntax { .. }
        | SearchError::Query { .. }
        | SearchError::UnknownField { .. }
        | SearchError::TooMuch { .. } => admin::SearchError::BadRequest(error.to_string()),
    }
}
