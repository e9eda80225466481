//! What a new search index is told before its sink starts, in the sink's own shape; an index that is there, and every other sink, learn from the log.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::sinks::{Parts, halt};
use super::tables;
use crate::event::Relation;
use crate::retry::Backoff;
use crate::status::{Code, Disposition, State};

/// The sink's tables as they are now, for an index that is to be made. Waits for a source that is not there yet; a source that refuses is for the ingest
/// loop to report.
pub(super) async fn relations(parts: &Parts, stop: &CancellationToken) -> Option<Vec<Arc<Relation>>> {
    let mut backoff = Backoff::default();
    loop {
        let found = tokio::select! {
            () = stop.cancelled() => return None,
            found = tables::relations(&parts.source, &parts.config.tables) => found,
        };
        match found {
            Ok(relations) => match tables::derived(&parts.config.shapes, &relations) {
                Ok(derived) => return Some(derived.into_iter().map(|(relation, _)| relation).collect()),
                Err(error) => {
                    halt(parts, Code::ConfigInvalid, &error.to_string());
                    return None;
                }
            },
            Err(error) => {
                let waits = error.disposition() == Disposition::Retry;
                parts.board.sink(&parts.config.name, |status| {
                    status.state = if waits { State::Starting } else { State::Paused };
                    status.code = Some(error.code());
                    status.message = Some(format!("waiting for the source, to learn its tables: {error}"));
                });
            }
        }
        tokio::select! {
            () = stop.cancelled() => return None,
            () = tokio::time::sleep(backoff.next_delay()) => {}
        }
    }
}
