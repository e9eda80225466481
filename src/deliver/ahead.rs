//! Reading on while the target commits: what comes next is decoded in the target's time. One batch, no more.

use std::future::Future;

use crate::log::{Batch, Limit, LogError, LogReader};

/// A reader, and what it has read ahead of its loop.
pub(super) struct Ahead<R> {
    reader: R,
    limit: Limit,
    read: Option<Result<Batch, LogError>>,
}

impl<R: LogReader> Ahead<R> {
    pub(super) fn new(reader: R, limit: Limit) -> Self {
        Ahead { reader, limit, read: None }
    }

    /// The next events, as [`LogReader::next`] gives them. Cancel-safe, as that is.
    pub(super) async fn next(&mut self) -> Result<Batch, LogError> {
        match self.read.take() {
            Some(read) => read,
            None => self.reader.next(self.limit).await,
        }
    }

    /// Does this, and meanwhile reads what is there to be read.
    pub(super) async fn during<T>(&mut self, mut work: impl Future<Output = T> + Unpin) -> T {
        if self.read.is_none() {
            let read = async {
                // Who sends the work's request has its turn first: a reader may have much to decode before it waits.
                tokio::task::yield_now().await;
                self.reader.next(self.limit).await
            };
            tokio::select! {
                biased;
                done = &mut work => return done,
                read = read => self.read = Some(read),
            }
        }
        work.await
    }
}
