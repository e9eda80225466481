//! A table that is copied again, and a history with a gap before it: every sink ends up with what the source has, and its
//! readers never see less. The loop is the real one, on a real log.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;
use walbridge::event::{Change, Offset};

use super::kind::Promise::{Kills, Sweep};
use super::running::{Fragile, assert_documents, caught_up, deliver, log, record};
use super::target::Target;
use super::world::Table::{Items, Others};
use super::world::{Statement, World, rename, values};

/// Where the copy of a world begins: events before it, and the rows that are there all along.
struct Recopied {
    world: World,
    before: usize,
    stays: BTreeSet<String>,
}

/// Two tables, of which one has glob characters in its name and the other a name that those would match. Rows go and change
/// while nobody watches; then one table is copied again with the stream beside it.
fn recopied() -> Recopied {
    let mut world = World::of(["it[e]ms*", "items"]);
    let insert = |table, id: i64| Statement::Insert(table, id, values(&format!("n{id}"), "1", &format!("big{id}")));
    world.commit(&(0..400).map(|id| insert(Items, id)).collect::<Vec<_>>());
    world.commit(&(0..50).map(|id| insert(Others, id)).collect::<Vec<_>>());
    let before = world.events.len();
    for id in (0..400).step_by(3) {
        world.rows.remove(&(Items, id));
    }
    for id in (1..400).step_by(9) {
        world.rows.get_mut(&(Items, id)).expect("a row")[0] = Some("changed in the gap".to_owned());
    }
    let stays = |world: &World| world.documents_after(world.len()).keys().cloned().collect::<BTreeSet<_>>();
    let since = Offset(world.events.len() as u64);
    let relation = world.relation(Items).clone();
    world.chunk([Change::CopyBegun { relation: relation.clone() }]);
    let before_stream = stays(&world);
    world.chunk(world.reads(Items, 0..100));
    // Behind the copy and before it: changed, gone, new, moved in both directions, and back from the dead.
    world.commit(&[rename(Items, 1, "behind"), rename(Items, 302, "before"), Statement::Delete(Items, 2)]);
    world.commit(&[Statement::Delete(Items, 301), insert(Items, 3), insert(Items, 303), insert(Others, 900)]);
    world.commit(&[Statement::Move(Items, 4, 600, None), Statement::Move(Items, 305, 0, None)]);
    world.chunk(world.reads(Items, 100..300));
    world.commit(&[insert(Items, 1000), Statement::Delete(Items, 1000), Statement::Delete(Others, 7)]);
    let mut last = world.reads(Items, 300..i64::MAX);
    last.push(Change::CopyDone { relation, since });
    world.chunk(last);
    let after = stays(&world);
    world.commit(&[insert(Items, 6), Statement::Delete(Items, 8)]);
    world.commit(&[rename(Items, 6, "six"), rename(Others, 1, "one")]);
    let end = stays(&world);
    let stays = before_stream.iter().filter(|key| after.contains(*key) && end.contains(*key)).cloned().collect();
    Recopied { world, before, stays }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_copied_again_loses_what_is_gone_and_nothing_else_and_is_never_seen_emptied() {
    let Recopied { world, before, stays } = recopied();
    for target in Target::each(Sweep) {
        let home = tempfile::tempdir().expect("a directory");
        let (mut writer, log) = log(home.path(), &world.events[..before]).await;
        let sink = target.open(&world);
        let reader = target.reader(&sink).await;
        let (mut loop_, board) = deliver(&target, &log, home.path(), sink, 256);
        let stop = CancellationToken::new();
        let ending = stop.clone();
        let work = tokio::spawn(async move { loop_.run(&ending).await });
        caught_up(&board, Offset(before as u64)).await;
        record(&mut writer, &world.events[before..]).await;
        let watch = async {
            loop {
                if let Some(seen) = target.keys_seen(&reader).await {
                    let missing: Vec<_> = stays.difference(&seen).collect();
                    assert!(missing.is_empty(), "{:?}: {missing:?} cannot be seen", target.kind);
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            () = watch => {}
            () = caught_up(&board, Offset(world.events.len() as u64)) => {}
        }
        stop.cancel();
        work.await.expect("no panic").expect("no halt");
        let sink = target.open(&world);
        assert_documents(&target, sink, &world).await;
    }
}

/// Whatever step fails, or is the last before a kill, the whole is done again and ends the same.
#[tokio::test]
async fn a_sweep_cut_short_at_any_step_is_done_again() {
    let Recopied { world, .. } = recopied();
    for target in Target::each(Kills) {
        let home = tempfile::tempdir().expect("a directory");
        let (_writer, log) = log(home.path(), &world.events).await;
        // First without a failure, to know how many calls there are; the sweep is among the last.
        let (mut fails_at, mut last) = (usize::MAX, usize::MAX);
        loop {
            target.empty_if_filled().await;
            let calls = Arc::new(AtomicUsize::new(0));
            let sink = Fragile { sink: target.open(&world), calls: calls.clone(), fails_at };
            // A loop is dropped in the middle of its work, as a killed process drops it; the next one finds the rest.
            let (mut loop_, board) = deliver(&target, &log, home.path(), sink, 256);
            let stop = CancellationToken::new();
            let work = tokio::spawn(async move { loop_.run(&stop).await });
            let failed = async {
                while calls.load(Ordering::SeqCst) < fails_at {
                    tokio::task::yield_now().await;
                }
            };
            let finished = tokio::select! {
                biased;
                () = failed => false,
                () = caught_up(&board, Offset(world.events.len() as u64)) => true,
            };
            work.abort();
            let _ = work.await;
            let (mut loop_, board) = deliver(&target, &log, home.path(), target.open(&world), 256);
            let stop = CancellationToken::new();
            let ending = stop.clone();
            let work = tokio::spawn(async move { loop_.run(&ending).await });
            caught_up(&board, Offset(world.events.len() as u64)).await;
            stop.cancel();
            work.await.expect("no panic").expect("no halt");
            assert_documents(&target, target.open(&world), &world).await;
            if finished {
                last = calls.load(Ordering::SeqCst);
                fails_at = last.saturating_sub(8);
            } else if fails_at >= last {
                break;
            }
            fails_at += 1;
        }
    }
}
