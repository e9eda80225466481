//! Removes what nobody needs any more, and says so when somebody does.

use std::time::Duration;

use crate::config::Retain;
use crate::event::Timestamp;
use crate::log::embedded::{Log, Retention};
use crate::status::{Board, SinkStatus};

const INTERVAL: Duration = Duration::from_secs(30);

/// Applies the limits now and then. A sink that has not told its checkpoint yet needs everything.
pub(super) async fn run(source: String, log: Log, retain: Retain, board: Board) {
    let retention = Retention { age: retain.age, size_bytes: retain.size_bytes };
    loop {
        tokio::time::sleep(INTERVAL).await;
        let status = board.read();
        let sinks = status.sinks.values().filter(|sink| sink.source == source);
        let end = log.durable().borrow().offset;
        let keep_from = sinks.map(SinkStatus::needs_from).min().unwrap_or(end);
        let (reader, limits) = (log.clone(), retention);
        let work = move || reader.retain(&limits, keep_from, Timestamp::now());
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(retained)) if retained.held_back_bytes > 0 => {
                tracing::warn!(%source, %keep_from, bytes = retained.held_back_bytes, "the log is over its limits, but a sink still needs what would be removed");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::error!(%source, %error, "retention failed"),
            Err(error) => tracing::error!(%source, %error, "retention ended unexpectedly"),
        }
    }
}
