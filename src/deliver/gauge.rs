//! Keeps a sink's lag true while its loop is held up: the log grows on, and the board should say so.

use tokio_util::task::AbortOnDropHandle;

use crate::log::Log;
use crate::status::Board;

/// Starts it; dropping the handle ends it.
pub(super) fn start(sink: String, log: impl Log, board: Board) -> AbortOnDropHandle<()> {
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut durable = log.durable();
        while durable.changed().await.is_ok() {
            let end = *durable.borrow_and_update();
            board.sink(&sink, |status| status.set_lag(&end.log_end(), None));
            // The log may become durable a thousand times a second; nobody looks that often.
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }))
}
