//! A sink that applies again what it has applied: from every place the end is what the source has, whatever is cut short meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use walbridge::deliver::{DeliverError, Order, Orders};
use walbridge::event::{Change, Lsn, Offset, Place, Span, TableName, Timestamp};
use walbridge::log::embedded::{Log, Options, Retention};
use walbridge::project::mutation::Mutation;
use walbridge::sink::{Checkpoint, KeyPage, Sink, SinkError, Staged};
use walbridge::status::Board;

use super::kind::Promise;
use super::running::{Fragile, assert_documents, caught_up, deliver, log_of};
use super::target::Target;
use super::world::Table::{Items, Others};
use super::world::{Statement, World, rename, values};

/// Many segments, so that retention can cut where a test wants it.
const SMALL: Options = Options { segment_bytes: 4096, frame_bytes: 512, group_bytes: 2048 };

/// A world with all that a replay goes through once more, and where the copy in its middle begins and ends. It has no row that lacks its large value and is gone in
/// the end, for there is no server here to ask for it.
struct Past {
    world: World,
    since: Offset,
    done: Offset,
}

fn past() -> Past {
    let mut world = World::new();
    let insert = |table, id: i64| Statement::Insert(table, id, values(&format!("n{id}"), "1", &"big".repeat(50)));
    world.commit(&(0..60).map(|id| insert(Items, id)).collect::<Vec<_>>());
    world.commit(&(0..10).map(|id| insert(Others, id)).collect::<Vec<_>>());
    world.commit(&[rename(Items, 1, "one"), Statement::Delete(Items, 3), insert(Items, 60)]);
    // While nobody watches.
    for id in (0..60).step_by(7) {
        world.rows.remove(&(Items, id));
    }
    world.rows.get_mut(&(Items, 8)).expect("a row")[0] = Some("changed in the gap".to_owned());
    let since = Offset(world.events.len() as u64);
    let relation = world.relation(Items).clone();
    world.chunk([Change::CopyBegun { relation: relation.clone() }]);
    for first in (0..50).step_by(5) {
        world.chunk(world.reads(Items, first..first + 5));
        world.commit(&[rename(Items, 58, &format!("at {first}")), insert(Items, 100 + first)]);
    }
    let mut last = world.reads(Items, 50..i64::MAX);
    last.push(Change::CopyDone { relation, since });
    let done = Offset(world.events.len() as u64);
    world.chunk(last);
    world.commit(&[Statement::Truncate(Others), insert(Others, 4), insert(Items, 3)]);
    world.commit(&[Statement::Delete(Items, 2), rename(Items, 3, "three"), rename(Others, 4, "four")]);
    Past { world, since, done }
}

/// A loop at work that takes orders.
struct Loop {
    board: Board,
    orders: mpsc::Sender<Order>,
    stop: CancellationToken,
    work: JoinHandle<Result<(), DeliverError>>,
    end: Offset,
}

impl Loop {
    fn start<S: Sink + 'static>(target: &Target, log: &Log, home: &Path, sink: S, rows: usize) -> Loop {
        let (mut deliver, board) = deliver(target, log, home, sink, rows);
        let (orders, receiver) = mpsc::channel(1);
        deliver.orders = Orders::from(receiver);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let work = tokio::spawn(async move { deliver.run(&stopped).await });
        let end = log.durable().borrow().offset;
        Loop { board, orders, stop, work, end }
    }

    /// Gives the order, and returns what is going to be applied again.
    async fn order(&self, from: Place) -> Result<Span, String> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(Order::Replay { from, answer }).await.expect("a loop that takes orders");
        tokio::time::timeout(Duration::from_secs(60), answered).await.expect("an answer in time").expect("an answer")
    }

    async fn caught_up(&self) {
        caught_up(&self.board, self.end).await;
    }

    /// Ends it in good order, so that another can have the target.
    async fn end(self) {
        self.stop.cancel();
        self.work.await.expect("no panic").expect("no halt");
    }
}

fn states() -> impl Iterator<Item = Target> {
    Target::each(Promise::Replay)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_wherever_a_sink_is_replayed_it_ends_with_what_the_source_has() {
    let Past { world, .. } = past();
    for target in states() {
        let home = tempfile::tempdir().expect("a directory");
        let (_writer, log) = log_of(home.path(), &world.events, SMALL).await;
        let all = Loop::start(&target, &log, home.path(), target.open(&world), 16);
        all.caught_up().await;
        for from in (0..world.events.len() as u64).step_by(11) {
            let events = all.order(Place::Offset(Offset(from))).await.expect("a replay");
            assert!(events.from.0 <= from && events.until == all.end, "{events:?} from {from}");
            // Only where a transaction begins.
            world.transactions_before(Some(Checkpoint { offset: events.from, ..world.checkpoint(0) }));
            all.caught_up().await;
        }
        let from_start = all.order(Place::Start).await;
        assert_eq!(from_start, Ok(Span { from: Offset(0), until: all.end }));
        all.caught_up().await;
        all.end().await;
        assert_documents(&target, target.open(&world), &world).await;
    }
}

/// However it is cut short, whoever comes next goes on with the replay from where it was, and knows that it is one.
#[tokio::test]
async fn a_replay_goes_on_after_a_kill_at_any_step() {
    let Past { world, .. } = past();
    for target in states() {
        let home = tempfile::tempdir().expect("a directory");
        let (_writer, log) = log_of(home.path(), &world.events, SMALL).await;
        let first = Loop::start(&target, &log, home.path(), target.open(&world), 16);
        first.caught_up().await;
        first.end().await;
        for fails_at in [1, 2, 3, 5, 8, 13] {
            let calls = Arc::new(AtomicUsize::new(0));
            let sink = Fragile { sink: target.open(&world), calls: calls.clone(), fails_at };
            let killed = Loop::start(&target, &log, home.path(), sink, 16);
            killed.caught_up().await;
            let (answer, _nobody) = oneshot::channel();
            killed.orders.send(Order::Replay { from: Place::Start, answer }).await.expect("a loop that takes orders");
            while calls.load(Ordering::SeqCst) < fails_at {
                tokio::task::yield_now().await;
            }
            killed.work.abort();
            let _ = killed.work.await;
            let next = Loop::start(&target, &log, home.path(), target.open(&world), 16);
            next.caught_up().await;
            next.end().await;
            assert_documents(&target, target.open(&world), &world).await;
        }
    }
}

/// The beginning of a copy is gone from the log, and its end is not: the sweep there would read what is gone, and the sink halt in the middle of a
/// replay. The target has been swept already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_that_begins_inside_a_copy_does_not_need_the_copys_beginning() {
    let Past { world, since, done } = past();
    for target in states() {
        let home = tempfile::tempdir().expect("a directory");
        let (_writer, log) = log_of(home.path(), &world.events, SMALL).await;
        let all = Loop::start(&target, &log, home.path(), target.open(&world), 16);
        all.caught_up().await;
        let mut size_bytes = log.size_bytes();
        while log.start() <= since {
            size_bytes = size_bytes.saturating_sub(1024);
            let retention = Retention { age: None, size_bytes: Some(size_bytes) };
            log.retain(&retention, all.end, Timestamp::now()).expect("a disk");
        }
        assert!(log.start() <= done, "{} is behind the copy", log.start());
        let expired = all.order(Place::Offset(since)).await.expect_err("a refusal");
        assert!(expired.contains("no longer in the log"), "{expired}");
        let events = all.order(Place::Start).await.expect("a replay");
        assert_eq!(events, Span { from: log.start(), until: all.end });
        all.caught_up().await;
        all.end().await;
        assert_documents(&target, target.open(&world), &world).await;
    }
}

/// What cannot be done is refused with the reason, and leaves the sink where it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_makes_no_sense_changes_nothing() {
    let Past { world, .. } = past();
    let target = states().next().expect("one");
    let home = tempfile::tempdir().expect("a directory");
    let (_writer, log) = log_of(home.path(), &world.events, SMALL).await;
    let all = Loop::start(&target, &log, home.path(), target.open(&world), 16);
    all.caught_up().await;
    let end = all.end.0;
    let future = Timestamp::from_unix_micros(Timestamp::now().unix_micros() + 1_000_000_000);
    for (from, why) in [
        (Place::Offset(Offset(end)), "none of that is at"),
        (Place::Offset(Offset(end + 1)), "beyond the end"),
        (Place::Lsn(Lsn::new(u64::MAX)), "none of that is at"),
        (Place::Time(future), "none of that is at"),
    ] {
        let refusal = all.order(from).await.expect_err("a refusal");
        assert!(refusal.contains(why), "{from}: {refusal}");
        all.caught_up().await;
    }
    all.end().await;
}

/// A target that is away.
struct Away;

impl Sink for Away {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        Err(SinkError::Unavailable { target: "it".to_owned(), detail: "it is away".to_owned() })
    }

    async fn stage(&mut self, _: &[Mutation]) -> Result<Staged, SinkError> {
        Ok(Staged::default())
    }

    async fn keys(&mut self, _: &TableName, _: Option<u64>) -> Result<KeyPage, SinkError> {
        Ok(KeyPage::default())
    }

    async fn commit(&mut self, _: Checkpoint) -> Result<(), SinkError> {
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}

/// Whoever asks a sink that is held up hears why, at once, and it is not done later behind his back.
#[tokio::test]
async fn an_order_to_a_sink_that_is_held_up_is_answered_with_the_reason() {
    let target = states().next().expect("one");
    let home = tempfile::tempdir().expect("a directory");
    let (_writer, log) = log_of(home.path(), &past().world.events, SMALL).await;
    let all = Loop::start(&target, &log, home.path(), Away, 16);
    for _ in 0..2 {
        let refusal = all.order(Place::Start).await.expect_err("a refusal");
        assert!(refusal.contains("held up") && refusal.contains("it is away"), "{refusal}");
    }
    all.end().await;
}
