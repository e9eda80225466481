//! A target that is built anew beside the one that readers have, under load, and cut short at any step: readers always have a whole one, and
//! the last one has what the source has.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use walbridge::dead_letter::DeadLetters;
use walbridge::deliver::rebuild::{Begin, Beside, Rebuild, RebuildOrder, Verification, Verify};
use walbridge::event::{Offset, Span};
use walbridge::log::embedded::Log;
use walbridge::sink::opensearch::OpenSearchSink;
use walbridge::sink::postgres::PostgresSink;
use walbridge::sink::redis::RedisSink;
#[cfg(feature = "search")]
use walbridge::sink::tantivy::TantivySink;
use walbridge::sink::{Old, Replaceable, SinkError};
use walbridge::status::{Board, RebuildStatus, State};

use super::any::AnySink;
use super::kind::Promise;
use super::running::{Fragile, assert_documents, caught_up, deliver, log, record, until_unlocked};
use super::target::Target;
use super::world::Table::{Items, Others};
use super::world::{Statement, World, rename, values};
use crate::support::eventually;

impl Replaceable for AnySink {
    async fn identity(&mut self) -> Result<String, SinkError> {
        match self {
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.identity().await,
            AnySink::OpenSearch(sink) => sink.identity().await,
            AnySink::Postgres(sink) => sink.identity().await,
            AnySink::Redis(sink) => sink.identity().await,
            AnySink::Webhook(_) | AnySink::Exec(_) | AnySink::File(_) => {
                unreachable!("it is not replaced")
            }
        }
    }

    async fn replace(&mut self, by: &str, old: Old) -> Result<(), SinkError> {
        match self {
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.replace(by, old).await,
            AnySink::OpenSearch(sink) => sink.replace(by, old).await,
            AnySink::Postgres(sink) => sink.replace(by, old).await,
            AnySink::Redis(sink) => sink.replace(by, old).await,
            AnySink::Webhook(_) | AnySink::Exec(_) | AnySink::File(_) => {
                unreachable!("it is not replaced")
            }
        }
    }

    async fn remove(&mut self) -> Result<(), SinkError> {
        match self {
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.remove().await,
            AnySink::OpenSearch(sink) => sink.remove().await,
            AnySink::Postgres(sink) => sink.remove().await,
            AnySink::Redis(sink) => sink.remove().await,
            AnySink::Webhook(_) | AnySink::Exec(_) | AnySink::File(_) => {
                unreachable!("it is not removed")
            }
        }
    }
}

impl<S: Replaceable> Replaceable for Fragile<S> {
    async fn identity(&mut self) -> Result<String, SinkError> {
        self.call()?;
        self.sink.identity().await
    }

    /// It may fail before, or when it has been done.
    async fn replace(&mut self, by: &str, old: Old) -> Result<(), SinkError> {
        self.call()?;
        self.sink.replace(by, old).await?;
        self.call()
    }

    async fn remove(&mut self) -> Result<(), SinkError> {
        self.call()?;
        self.sink.remove().await
    }
}

/// Makes the sink beside a target's, again and again.
fn beside(target: &Target, world: &World) -> Box<dyn Fn() -> AnySink + Send + Sync> {
    match target.open(world) {
        #[cfg(feature = "search")]
        AnySink::Tantivy(_) => {
            let options = target.tantivy_options(world).beside();
            Box::new(move || AnySink::Tantivy(TantivySink::new(options.clone()).expect("sound options")))
        }
        AnySink::Redis(_) => {
            let options = target.cache().options(world, target.port()).beside();
            Box::new(move || AnySink::Redis(Box::new(RedisSink::new(options.clone()).expect("an address"))))
        }
        AnySink::Postgres(_) => {
            let options = super::database::options(target.port()).beside();
            Box::new(move || AnySink::Postgres(Box::new(PostgresSink::new(options.clone()))))
        }
        _ => {
            let options = target.index().options(target.port()).beside();
            Box::new(move || {
                AnySink::OpenSearch(Box::new(OpenSearchSink::new(options.clone()).expect("sound options")))
            })
        }
    }
}

/// What a kill would have ended may hold a lock for a moment yet: its calls run on threads.
async fn unlocked(target: &Target, world: &World) {
    let mut sinks = vec![target.open(world)];
    #[cfg(feature = "search")]
    if matches!(sinks[0], AnySink::Tantivy(_)) && target.tantivy_options(world).beside().path.exists() {
        sinks.push(beside(target, world)());
    }
    for mut sink in sinks {
        until_unlocked(&mut sink).await;
    }
}

fn targets() -> impl Iterator<Item = Target> {
    Target::each(Promise::Rebuild)
}

const FAR: usize = 1 << 20;
/// Are applied at once.
const ROWS: usize = 64;

/// A sink's loop, and what is built beside it.
struct Running {
    board: Board,
    orders: mpsc::Sender<RebuildOrder>,
    stop: CancellationToken,
    work: JoinHandle<()>,
}

impl Running {
    fn start(target: &Arc<Target>, log: &Log, home: &Path, world: &World, calls: &Arc<AtomicUsize>) -> Running {
        Running::start_with(target, log, home, world, target.open(world), calls, 0)
    }

    fn start_with(
        target: &Arc<Target>,
        log: &Log,
        home: &Path,
        world: &World,
        sink: AnySink,
        calls: &Arc<AtomicUsize>,
        differences: u64,
    ) -> Running {
        let fragile = |sink, calls: &Arc<AtomicUsize>| Fragile { sink, calls: calls.clone(), fails_at: FAR };
        let (live, board) = deliver(target, log, home, fragile(sink, calls), ROWS);
        let make = Arc::new(beside(target, world));
        let (for_beside, log, owned, calls) = (target.clone(), log.clone(), home.to_owned(), calls.clone());
        let begin: Begin<Log, Fragile<AnySink>> = Box::new(move |board| {
            let (mut beside, _) = deliver(&for_beside, &log, &owned, fragile(make(), &calls), ROWS);
            beside.board = board;
            let letters = owned.join("dead/rebuild");
            beside.dead_letters = DeadLetters::open(&letters, "contract", "world").expect("dead letters");
            let right = Verification::Done { differences };
            let verify: Verify = Box::new(move || Box::pin(std::future::ready(right.clone())));
            Box::pin(std::future::ready(Ok(Beside { deliver: beside, verify })))
        });
        let (orders, receiver) = mpsc::channel(1);
        let rebuild = Rebuild {
            directory: home.join("dead/rebuild"),
            letters: home.join("dead"),
            source: "world".to_owned(),
            begin,
            copy: Box::new(|| Box::pin(std::future::ready(Err("there is no source".to_owned())))),
            orders: receiver,
        };
        let stop = CancellationToken::new();
        let ending = stop.clone();
        let work = tokio::spawn(async move { Box::pin(rebuild.run(live, &ending)).await.expect("a disk") });
        Running { board, orders, stop, work }
    }

    async fn begin(&self, old: Old) -> Result<Option<Span>, String> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(RebuildOrder::Begin { old, copy: false, answer }).await.expect("somebody");
        answered.await.expect("an answer")
    }

    async fn cancel(&self) -> Result<Option<Span>, String> {
        let (answer, answered) = oneshot::channel();
        self.orders.send(RebuildOrder::Cancel { answer }).await.expect("somebody");
        answered.await.expect("an answer")
    }

    fn rebuild(&self) -> Option<RebuildStatus> {
        self.board.read().sinks.get("contract")?.rebuild.clone()
    }

    fn has_rebuilt(&self) -> bool {
        let status = self.board.read();
        status.sinks.get("contract").is_some_and(|sink| sink.rebuild.is_none() && sink.rebuilt.is_some())
    }

    async fn rebuilt(&self) {
        eventually(Duration::from_secs(60), || async {
            if self.has_rebuilt() { Ok(()) } else { Err(format!("{:?}", self.rebuild())) }
        })
        .await;
    }

    async fn end(self) {
        self.stop.cancel();
        self.work.await.expect("no panic");
    }

    /// What SIGKILL leaves behind.
    async fn kill(self) {
        self.work.abort();
        let _ = self.work.await;
    }
}

fn world() -> World {
    let mut world = World::new();
    let insert = |table, id: i64| Statement::Insert(table, id, values(&format!("n{id}"), "1", &"big".repeat(50)));
    world.commit(&(0..200).map(|id| insert(Items, id)).collect::<Vec<_>>());
    world.commit(&(0..20).map(|id| insert(Others, id)).collect::<Vec<_>>());
    world.commit(&[rename(Items, 1, "one"), Statement::Move(Items, 2, 500, None), Statement::Delete(Items, 3)]);
    world.commit(&[Statement::Truncate(Others), insert(Others, 4), rename(Items, 500, "moved")]);
    world
}

/// The one that is there goes on being delivered, and is what readers have, until the other takes its place with all that it had.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_have_all_rows_while_a_target_is_built_anew_under_load() {
    for target in targets().map(Arc::new) {
        let mut world = world();
        let home = tempfile::tempdir().expect("a directory");
        let (mut writer, log) = log(home.path(), &world.events).await;
        let stays: BTreeSet<String> = world.documents_after(world.len()).keys().cloned().collect();
        let sink = target.open(&world);
        let reader = target.reader(&sink).await;
        let running = Running::start_with(&target, &log, home.path(), &world, sink, &Arc::default(), 0);
        caught_up(&running.board, Offset(world.events.len() as u64)).await;
        for old in [Old::Kept, Old::Dropped] {
            running.board.sink("contract", |status| status.rebuilt = None);
            running.begin(old).await.expect("a beginning").expect("events");
            assert!(running.begin(old).await.is_err_and(|why| why.contains("is being rebuilt")));
            let mut round = 0;
            while !running.has_rebuilt() {
                round += 1;
                world.commit(&[rename(Items, round % 100 + 10, &format!("round {round}"))]);
                let new = world.events.len() - 1;
                record(&mut writer, &world.events[new..]).await;
                if let Some(seen) = target.keys_seen(&reader).await {
                    let missing: Vec<_> = stays.difference(&seen).collect();
                    assert!(missing.is_empty(), "{:?}: {missing:?} cannot be seen", target.kind);
                }
                let failed = running.rebuild().filter(|rebuild| rebuild.state == State::Halted);
                assert!(failed.is_none(), "{failed:?}");
            }
            caught_up(&running.board, Offset(world.events.len() as u64)).await;
        }
        assert!(running.cancel().await.is_err_and(|why| why.contains("nothing is being rebuilt")));
        running.end().await;
        assert_documents(&target, target.open(&world), &world).await;
    }
}

/// However it is cut short, whoever comes next brings it to its end, and readers have a whole target then.
#[tokio::test]
async fn a_rebuild_goes_on_after_a_kill_at_any_step() {
    for target in targets().filter(|target| target.kind.is_first()).map(Arc::new) {
        let world = world();
        let home = tempfile::tempdir().expect("a directory");
        let (_writer, log) = log(home.path(), &world.events).await;
        let end = Offset(world.events.len() as u64);
        for fails_at in 1.. {
            let calls = Arc::new(AtomicUsize::new(0));
            let running = Running::start(&target, &log, home.path(), &world, &calls);
            caught_up(&running.board, end).await;
            calls.store(FAR - fails_at, Ordering::SeqCst);
            running.begin(Old::Dropped).await.expect("a beginning");
            while calls.load(Ordering::SeqCst) < FAR && !running.has_rebuilt() {
                tokio::task::yield_now().await;
            }
            let went_through = running.has_rebuilt();
            running.kill().await;
            unlocked(&target, &world).await;
            let next = Running::start(&target, &log, home.path(), &world, &Arc::default());
            if !went_through {
                next.rebuilt().await;
            }
            caught_up(&next.board, end).await;
            assert!(next.cancel().await.is_err_and(|why| why.contains("nothing is being rebuilt")), "{fails_at}");
            next.end().await;
            assert_documents(&target, target.open(&world), &world).await;
            if went_through {
                assert!(fails_at > 8, "{fails_at}");
                break;
            }
        }
    }
}

/// Readers keep what they have, which goes on being delivered, and nothing is left of what was built once that is canceled.
#[tokio::test]
async fn what_differs_from_the_source_never_takes_the_place() {
    for target in targets().map(Arc::new) {
        let mut world = world();
        let home = tempfile::tempdir().expect("a directory");
        let (mut writer, log) = log(home.path(), &world.events).await;
        let sink = target.open(&world);
        let running = Running::start_with(&target, &log, home.path(), &world, sink, &Arc::default(), 1);
        running.begin(Old::Dropped).await.expect("a beginning");
        eventually(Duration::from_secs(60), || async {
            match running.rebuild() {
                Some(RebuildStatus { state: State::Halted, message: Some(why), .. }) if why.starts_with("1 keys") => {
                    Ok(())
                }
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        world.commit(&[rename(Items, 10, "goes on")]);
        record(&mut writer, &world.events[world.events.len() - 1..]).await;
        caught_up(&running.board, Offset(world.events.len() as u64)).await;
        assert_eq!(running.cancel().await, Ok(None));
        assert!(running.cancel().await.is_err_and(|why| why.contains("nothing is being rebuilt")));
        running.end().await;
        assert_documents(&target, target.open(&world), &world).await;
    }
}
