//! The admin port's orders, handed to the loops that can carry them out.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::admin::{Control, ControlError, ReplayControl};
use crate::config::{self, Target};
use crate::deliver::Replay;
use crate::ingest::Resnapshot;

/// The port answers in ten seconds, so the loop has less.
const PATIENCE: Duration = Duration::from_secs(8);

/// One end for the admin port, the other for the source's loop.
pub(super) fn channel() -> (Control, mpsc::Receiver<Resnapshot>) {
    let (sender, receiver) = mpsc::channel(4);
    let control: Control = std::sync::Arc::new(move |tables| {
        let sender = sender.clone();
        Box::pin(async move { order(&sender, |answer| Resnapshot { tables, answer }).await })
    });
    (control, receiver)
}

/// The same for a sink's loop.
pub(super) fn of_sink(sink: &config::Sink) -> (ReplayControl, mpsc::Receiver<Replay>) {
    let (sender, receiver) = mpsc::channel(1);
    let refusal = no_replay(&sink.target);
    let control: ReplayControl = std::sync::Arc::new(move |from| {
        let sender = sender.clone();
        Box::pin(async move {
            match refusal {
                Some(why) => Err(ControlError::Refused(why.to_owned())),
                None => order(&sender, |answer| Replay { from, answer }).await,
            }
        })
    });
    (control, receiver)
}

/// Why a sink of this kind is not replayed, and what helps instead.
const fn no_replay(target: &Target) -> Option<&'static str> {
    match target {
        Target::Redis { shared: true, .. } => Some(
            "several processes share this sink, and each has checkpoints of its own. Stop all of them, remove the keys walbridge:SINK:* from Redis \
             and start them again: then all that the log has is applied",
        ),
        Target::File { .. } => Some(
            "a file keeps history: what it has cannot be replaced, and would be in it twice. `walbridge log dump --json --from` prints the events from a \
             place on; or move the file and its .checkpoint away, and it is written anew from the log's beginning",
        ),
        Target::Kafka(_) => Some(
            "topics keep history: what they have cannot be replaced, and would be in them twice. Give the sink another name and other topics, and they are \
             written from the log's beginning",
        ),
        Target::Redis { .. } | Target::Tantivy { .. } | Target::OpenSearch(_) => None,
    }
}

/// Gives an order and waits for the answer.
async fn order<O, A>(
    sender: &mpsc::Sender<O>,
    make: impl FnOnce(oneshot::Sender<Result<A, String>>) -> O,
) -> Result<A, ControlError> {
    let ended =
        || ControlError::Refused("its loop has ended; mend what its status says, and restart walbridge".to_owned());
    let (answer, answered) = oneshot::channel();
    sender.try_send(make(answer)).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => ControlError::Busy,
        mpsc::error::TrySendError::Closed(_) => ended(),
    })?;
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(answer)) => answer.map_err(ControlError::Refused),
        Ok(Err(_)) => Err(ControlError::Lost),
        Err(_) => Err(ControlError::Late),
    }
}
