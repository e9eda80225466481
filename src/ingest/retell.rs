//! What a copy owed when the process ended, found out from the log: it has every row that came without all its values, and every
//! row that paid for one. So nothing needs to be written down for it, and nothing is forgotten.
//!
//! Read before the first stream after the log was opened, from the beginning of the oldest unfinished copy on.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use crate::event::{Event, Offset};
use crate::log::{Limit, Log, LogError, LogReader as _};

/// How much of the log is read at once.
const READ: Limit = Limit { events: 10_000, bytes: 4 << 20 };

/// What is told of each event.
pub(super) type Listener<'a> = &'a mut (dyn FnMut(&Event) + Send);

/// A log that can be read again. Any log is one; that it is one of any kind is no matter of the loop's.
pub(super) trait Retold: Send + Sync {
    /// Tells these events, which are durable, in order.
    fn retell<'a>(
        &'a self,
        stretch: Range<Offset>,
        listener: Listener<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<(), LogError>> + Send + 'a>>;
}

impl<L: Log> Retold for L {
    fn retell<'a>(
        &'a self,
        stretch: Range<Offset>,
        listener: Listener<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<(), LogError>> + Send + 'a>> {
        Box::pin(async move {
            self.open().await?;
            // A log that others write to may hear of it a moment later.
            let mut durable = self.durable();
            let _or_reading_tells_why = durable.wait_for(|durable| durable.offset >= stretch.end).await.is_ok();
            let (mut reader, mut at) = (self.reader(stretch.start)?, stretch.start);
            while at < stretch.end {
                let batch = reader.next(READ).await?;
                batch.events.iter().for_each(&mut *listener);
                at = batch.next;
            }
            Ok(())
        })
    }
}
