//! The admin port's questions, asked of the search sinks.

use std::sync::{Arc, OnceLock};

use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::Semaphore;

use crate::admin;
use crate::sink::tantivy::{SearchAnswer, SearchError, SearchHandle, SearchRequest, Sort};

/// Searches of one index at once; others wait, and give up with their request. A search keeps a thread busy, and delivery has need of
/// threads too.
const SEARCHES_MAX: usize = 2;

/// A sink's handle, once it has opened its index.
pub(super) type Slot = Arc<OnceLock<SearchHandle>>;

/// Registers a sink, so that it can be asked for from the start; until its index is open the answer says so.
pub(super) fn register(registry: &mut admin::SearchRegistry, sink: &str) -> Slot {
    let slot = Slot::default();
    let (handle, room) = (slot.clone(), Arc::new(Semaphore::new(SEARCHES_MAX)));
    registry.add(sink, move |request| ask(handle.get().cloned(), room.clone(), request));
    slot
}

async fn ask(
    handle: Option<SearchHandle>,
    room: Arc<Semaphore>,
    request: admin::SearchRequest,
) -> Result<Box<RawValue>, admin::SearchError> {
    let handle = handle.ok_or_else(|| refuse(&SearchError::NotReady))?;
    let unavailable = |error: &dyn std::fmt::Display| admin::SearchError::Unavailable(error.to_string());
    let place = room.acquire_owned().await.map_err(|error| unavailable(&error))?;
    let highlight = request.highlight.clone();
    let search = move || {
        // As long as the search takes, also when nobody waits for it any more.
        let _place = place;
        handle.search(&question(request))
    };
    let searched = tokio::task::spawn_blocking(search).await;
    let answer = searched.map_err(|error| unavailable(&error))?.map_err(|error| refuse(&error))?;
    to_raw_value(&only_highlights_of(&highlight, answer)).map_err(|error| unavailable(&error))
}

fn question(request: admin::SearchRequest) -> SearchRequest {
    let sort = request.sort.map(|column| match column.strip_prefix('-') {
        Some(column) => Sort { column: column.to_owned(), is_descending: true },
        None => Sort { column, is_descending: false },
    });
    SearchRequest {
        q: request.query,
        filters: request.filters,
        fields: Some(request.fields).filter(|fields| !fields.is_empty()),
        fuzzy: request.fuzzy,
        sort,
        facets: request.facets,
        facet_limit: request.facet_limit,
        limit: request.limit,
        offset: request.offset,
        highlight: !request.highlight.is_empty(),
    }
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
        SearchError::NotReady | SearchError::TooSlow { .. } | SearchError::Index(_) => {
            admin::SearchError::Unavailable(error.to_string())
        }
        SearchError::Syntax { .. }
        | SearchError::Query { .. }
        | SearchError::UnknownField { .. }
        | SearchError::NoFacet { .. }
        | SearchError::TooMuch { .. } => admin::SearchError::BadRequest(error.to_string()),
    }
}
