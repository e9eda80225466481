//! The admin port's orders, handed to the loops that can carry them out.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::admin::{Control, ControlError, RebuildRequest};
use crate::config::{self, Target};
use crate::dead_letter;
use crate::deliver::{Order, Orders, RebuildOrder};
use crate::event::{Place, Span};
use crate::ingest::Resnapshot;
use crate::sink::Old;

/// The port answers in ten seconds, so the loop has less.
const PATIENCE: Duration = Duration::from_secs(8);

/// Orders that wait for a loop.
const WAITING_MAX: usize = 4;

/// Who hears what became of an order.
type Answer<A> = oneshot::Sender<Result<A, String>>;

/// One end for the admin port, the other for a source's loop.
pub(super) fn of_source() -> (Control<Vec<String>, Vec<String>>, mpsc::Receiver<Resnapshot>) {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    (control(&sender, |tables, answer| Resnapshot { tables, answer }), receiver)
}

/// What can be ordered of a sink, and where its loop gets the orders from.
pub(super) struct OfSink {
    pub(super) replay: Control<Place, Span>,
    pub(super) letters: Control<dead_letter::Request, dead_letter::Outcome>,
    pub(super) rebuild: Control<RebuildRequest, Option<Span>>,
    pub(super) orders: Orders,
    pub(super) rebuilds: mpsc::Receiver<RebuildOrder>,
    /// Gives orders to the same loop.
    pub(super) sender: mpsc::Sender<Order>,
}

/// One end for the admin port, the other for a sink's loop.
pub(super) fn of_sink(sink: &config::Sink) -> OfSink {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    let replay: Control<Place, Span> = match no_replay(&sink.target) {
        Some(why) => Arc::new(move |_| Box::pin(async move { Err(ControlError::Refused(why.to_owned())) })),
        None => control(&sender, |from, answer| Order::Replay { from, answer }),
    };
    let letters = control(&sender, |request, answer| Order::Letters { request, answer });
    let (to_builder, rebuilds) = mpsc::channel(WAITING_MAX);
    let rebuild: Control<RebuildRequest, Option<Span>> = match no_rebuild(&sink.target) {
        Some(why) => Arc::new(move |_| Box::pin(async move { Err(ControlError::Refused(why.to_owned())) })),
        None => control(&to_builder, |request, answer| match request {
            RebuildRequest::Begin { keep_old, copy } => {
                RebuildOrder::Begin { old: if keep_old { Old::Kept } else { Old::Dropped }, copy, answer }
            }
            RebuildRequest::Cancel {} => RebuildOrder::Cancel { answer },
        }),
    };
    OfSink { replay, letters, rebuild, orders: Orders::from(receiver), rebuilds, sender }
}

/// Why a sink of this kind is not replayed, and what helps instead.
fn no_replay(target: &Target) -> Option<&'static str> {
    match target {
        Target::Redis(redis) if redis.shared => Some(
            "several processes share this sink, and each has checkpoints of its own. Stop all of them, remove the keys walbridge:SINK:* from Redis \
             and start them again: then all that the log has is applied",
        ),
        Target::Redis(redis) if redis.form.stream.is_some() => Some(
            "a stream keeps history: the entries that it has would be passed over, for each change has one id for ever. Remove the stream's key and \
             walbridge:SINK:checkpoint, and it is written anew from the log's beginning",
        ),
        Target::File(_) => Some(
            "a file keeps history: what it has cannot be replaced, and would be in it twice. `walbridge log dump --json --from` prints the events from a \
             place on; or move the file and its .checkpoint away, and it is written anew from the log's beginning",
        ),
        Target::Webhook(_) | Target::Exec(_) => Some(
            "whoever is told events would be told them twice. `walbridge log dump --json --from` prints the events from a place on; or remove the sink's checkpoint \
             file, and all that the log has is told again",
        ),
        Target::Kafka(_) => Some(
            "topics keep history: what they have cannot be replaced, and would be in them twice. Give the sink another name and other topics, and they are \
             written from the log's beginning",
        ),
        Target::Redis(_) | Target::Tantivy(_) | Target::OpenSearch(_) | Target::Postgres(_) => None,
    }
}

/// Why nothing is built beside a target of this kind, and what helps instead.
fn no_rebuild(target: &Target) -> Option<&'static str> {
    match target {
        Target::OpenSearch(index) if index.index.contains('{') => Some(
            "its rows tell their indexes, and no server can put several in the place of others at once. `walbridge verify SINK --repair` writes what differs, and \
             `walbridge replay SINK --from start` all rows again; or give the sink another `index`, let it catch up beside this one, and point readers there",
        ),
        Target::Redis(redis) if redis.shared => Some(
            "several processes share this sink, and none of them has all of it. Stop all of them, remove the keys walbridge:SINK:* from Redis and start them \
             again: then all that the log has is applied",
        ),
        Target::Redis(redis) if redis.form.stream.is_some() => Some(
            "a stream keeps history, which is written once. Give the sink another name and another stream, and it is written from the log's beginning",
        ),
        Target::Redis(redis) if redis.is_spread() => Some(
            "its keys lie in many slots of a cluster, and no transaction could put others in their place at once. `walbridge verify SINK --repair` writes what \
             differs, and `walbridge replay SINK --from start` all rows again; or give another sink another `key`, let it catch up, and point readers there",
        ),
        Target::Redis(redis) if redis.form.value == config::RedisValue::Invalidate => {
            Some("it keeps nothing: the application puts there what readers find")
        }
        Target::File(_) | Target::Kafka(_) | Target::Webhook(_) | Target::Exec(_) => Some(
            "it keeps history, which is written once. Give the sink another name and another place, and it is written from the log's beginning",
        ),
        Target::Tantivy(_) | Target::OpenSearch(_) | Target::Postgres(_) | Target::Redis(_) => None,
    }
}

/// Sends orders to a loop, each as the loop has it, and waits for the answers.
fn control<O: Send + 'static, A: Send + 'static, C: Send + 'static>(
    sender: &mpsc::Sender<C>,
    command: fn(O, Answer<A>) -> C,
) -> Control<O, A> {
    let sender = sender.clone();
    Arc::new(move |order| {
        let sender = sender.clone();
        Box::pin(async move { give(&sender, |answer| command(order, answer)).await })
    })
}

/// Gives an order and waits for the answer.
async fn give<A, C>(sender: &mpsc::Sender<C>, command: impl FnOnce(Answer<A>) -> C) -> Result<A, ControlError> {
    let ended =
        || ControlError::Refused("its loop has ended; mend what its status says, and restart walbridge".to_owned());
    let (answer, answered) = oneshot::channel();
    sender.try_send(command(answer)).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => ControlError::Busy,
        mpsc::error::TrySendError::Closed(_) => ended(),
    })?;
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(answer)) => answer.map_err(ControlError::Refused),
        Ok(Err(_)) => Err(ControlError::Lost),
        Err(_) => Err(ControlError::Late),
    }
}
