//! Rows that a target refuses: what is kept, what waits, and what a retry does, for every sink under both policies.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use walbridge::dead_letter::Action;
use walbridge::deliver::OnReject;
use walbridge::status::{Code, State};

use super::kind::Promise::{Kills, Letters};
use super::picky::{MANY, Stage, letters_of};
use super::running::Fragile;
use super::target::Target;
use super::world::Table::{Items, Others};
use super::world::{Statement, rename, values};
use crate::support::eventually;

/// A row is refused when it is made; then it changes, moves to another key, another takes its place, both change again and one goes.
/// Rows beside it change in the same transactions; where refusals come late, all is one, so that much is sent before they do.
async fn busy(stage: &mut Stage) {
    let insert = |id, name: &str| Statement::Insert(Items, id, values(name, "1", "large"));
    let other = Statement::Insert(Others, 2, values("o", "1", "x"));
    let transactions = [
        vec![insert(1, "a"), insert(2, "b"), insert(3, "c"), other],
        vec![rename(Items, 2, "bb"), rename(Items, 1, "aa"), rename(Others, 2, "oo")],
        vec![Statement::Move(Items, 2, 7, None), insert(2, "again")],
        vec![rename(Items, 7, "seven"), rename(Items, 3, "cc")],
        vec![Statement::Delete(Items, 2), rename(Items, 1, "aaa")],
    ];
    if stage.is_late {
        return stage.commit(&transactions.concat()).await;
    }
    for transaction in &transactions {
        stage.commit(transaction).await;
    }
}

/// Every target that refuses what it is given, and again, unless it keeps history, as one that refuses what it was sent.
fn targets() -> impl Iterator<Item = (Target, bool)> {
    let late = Target::each(Letters).filter(|target| !target.keeps_history()).map(|target| (target, true));
    Target::each(Letters).map(|target| (target, false)).chain(late)
}

const HELD: [&str; 2] = ["public.items:2", "public.items:7"];

#[tokio::test]
async fn where_changes_wait_a_row_is_told_in_order_after_the_retry_and_others_are_not_held_up() {
    for (target, is_late) in targets() {
        let mut stage = Stage::set(target, OnReject::Park, &["public.items:2"]).await;
        stage.is_late = is_late;
        busy(&mut stage).await;
        let running = stage.run(stage.picky(), stage.events());
        stage.caught_up(&running).await;
        let status = running.status();
        assert_eq!((status.state, status.code, status.parked_keys), (State::Degraded, Some(Code::SinkRejected), 2));
        running.kill().await;
        stage.assert_all_but(&HELD).await;
        let kept = stage.letters();
        // It comes again from the checkpoint on, or from the beginning into a target that was emptied.
        for empties in [false, true] {
            if empties {
                stage.target.empty().await;
            }
            let running = stage.run(stage.picky(), MANY);
            stage.caught_up(&running).await;
            assert_eq!((running.status().parked_keys, running.status().dead_letters), (2, kept.len()));
            // Where only the latest counts, that is not refused: the key that was is free by now.
            if stage.target.keeps_history() {
                let refused = running.order(Action::Retry, &[]).await.expect("carried out");
                assert!(refused.delivered.is_empty() && refused.refused.len() == 1, "{refused:?}");
            }
            running.end().await;
            assert_eq!(stage.letters(), kept, "nothing is kept twice");
            stage.assert_all_but(&HELD).await;
        }
        stage.accept();
        let running = stage.run(stage.picky(), stage.events());
        let outcome = running.order(Action::Retry, &[kept[0].0]).await.expect("carried out");
        assert_eq!((outcome.delivered.len(), outcome.open), (kept.len(), 0), "one brings the others: {outcome:?}");
        stage.commit(&[rename(Items, 7, "flows"), rename(Items, 1, "flows")]).await;
        stage.caught_up(&running).await;
        let status = running.status();
        assert_eq!((status.state, status.dead_letters, status.parked_keys), (State::Streaming, 0, 0));
        running.end().await;
        stage.assert_all().await;
    }
}

/// Whatever step fails, or is the last before a kill: what was delivered is not delivered twice, and what was not is not lost.
#[tokio::test]
async fn a_retry_cut_short_at_any_step_is_done_once() {
    const FAR: usize = 1 << 20;
    for target in Target::each(Kills) {
        let mut stage = Stage::set(target, OnReject::Park, &[]).await;
        busy(&mut stage).await;
        for fails_at in 1.. {
            stage.target.empty_if_filled().await;
            let _ = std::fs::remove_dir_all(letters_of(stage.home.path()));
            stage.refused.lock().expect("no panic").insert("public.items:2".to_owned());
            let calls = Arc::new(AtomicUsize::new(0));
            let running =
                stage.run(Fragile { sink: stage.picky(), calls: calls.clone(), fails_at: FAR }, stage.events());
            stage.caught_up(&running).await;
            stage.accept();
            calls.store(FAR - fails_at, Ordering::SeqCst);
            let answer = running.order(Action::Retry, &[]).await;
            running.kill().await;
            let running = stage.run(stage.picky(), stage.events());
            let again = running.order(Action::Retry, &[]).await.expect("carried out");
            stage.caught_up(&running).await;
            running.end().await;
            stage.assert_all().await;
            assert_eq!(stage.open(), 0, "{answer:?} {again:?}");
            if answer.is_ok() {
                assert!(fails_at > 1 && again.delivered.is_empty(), "{again:?}");
                break;
            }
        }
    }
}

#[tokio::test]
async fn where_changes_pass_a_retry_never_puts_older_over_newer() {
    for (target, is_late) in targets() {
        let refused = ["public.items:1", "public.items:2", "public.items:3"];
        let mut stage = Stage::set(target, OnReject::DeadLetter, &refused).await;
        stage.is_late = is_late;
        let insert = |id| Statement::Insert(Items, id, values("old", "1", "large"));
        stage.commit(&[insert(1), insert(2), insert(3), insert(4)]).await;
        let running = stage.run(stage.picky(), stage.events());
        stage.caught_up(&running).await;
        assert_eq!((running.status().dead_letters, running.status().parked_keys), (3, 0));
        let outcome = running.order(Action::Retry, &[3]).await.expect("carried out");
        assert_eq!((outcome.refused.len(), outcome.open), (1, 3), "{outcome:?}");
        stage.accept();
        let all = values("new", "2", "larger").map(Some);
        stage.commit(&[Statement::Update(Items, 1, all), Statement::Delete(Items, 2)]).await;
        stage.caught_up(&running).await;
        assert_eq!(running.status().dead_letters, 1, "two rows have told their newer state");
        let outcome = running.order(Action::Retry, &[1, 2, 3, 9]).await.expect("carried out");
        let left: Vec<u64> = outcome.left.iter().map(|told| told.id).collect();
        assert_eq!((outcome.delivered, left), (vec![3], vec![9, 1, 2]), "{:?}", outcome.left);
        assert!(outcome.left[1].reason.contains("superseded"), "{:?}", outcome.left);
        running.end().await;
        assert_eq!(stage.letters(), [(1, "superseded"), (2, "superseded"), (3, "delivered")]);
        stage.assert_all().await;
    }
}

/// What has a letter gets no second one, what waits waits on, and nothing is retried in between: it would be older than what is applied behind it.
#[tokio::test]
async fn a_replay_meets_its_letters_again_and_leaves_them_as_they_are() {
    for policy in [OnReject::Park, OnReject::DeadLetter] {
        for target in Target::each(Letters).filter(|target| !target.keeps_history()) {
            let mut stage = Stage::set(target, policy, &["public.items:2"]).await;
            let insert = |id| Statement::Insert(Items, id, values("old", "1", "large"));
            let all = || values("new", "2", "larger").map(Some);
            stage.commit(&[insert(1), insert(2), insert(3)]).await;
            stage.commit(&[Statement::Update(Items, 2, all()), Statement::Update(Items, 3, all())]).await;
            let running = stage.run(stage.picky(), stage.events());
            stage.caught_up(&running).await;
            let kept = stage.letters();
            let (replay, retry) = (running.replay(), running.order(Action::Retry, &[]));
            let (replayed, retried) = tokio::join!(replay, retry);
            replayed.expect("a replay");
            assert!(retried.is_err_and(|why| why.contains("is replaying")), "{policy:?}");
            stage.caught_up(&running).await;
            assert_eq!(stage.letters(), kept, "{policy:?}");
            running.end().await;
            stage.assert_all_but(&["public.items:2"]).await;
            stage.accept();
            let running = stage.run(stage.picky(), stage.events());
            running.order(Action::Retry, &[]).await.expect("carried out");
            let settled = stage.letters();
            assert_eq!(stage.open(), 0, "{settled:?}");
            running.replay().await.expect("a replay");
            stage.caught_up(&running).await;
            running.end().await;
            assert_eq!(stage.letters(), settled, "{policy:?}");
            stage.assert_all().await;
        }
    }
}

/// What a table was emptied of must not come back by a retry.
#[tokio::test]
async fn a_truncate_makes_letters_of_its_table_obsolete() {
    for policy in [OnReject::Park, OnReject::DeadLetter] {
        for target in Target::each(Letters) {
            let mut stage = Stage::set(target, policy, &["public.items:1", "public.others:1"]).await;
            let insert = |table, id| Statement::Insert(table, id, values("old", "1", "large"));
            stage.commit(&[insert(Items, 1), insert(Others, 1)]).await;
            let running = stage.run(stage.picky(), stage.events());
            stage.caught_up(&running).await;
            stage.commit(&[Statement::Truncate(Items), insert(Items, 2)]).await;
            stage.accept();
            stage.commit(&[insert(Items, 1)]).await;
            stage.caught_up(&running).await;
            let outcome = running.order(Action::Retry, &[1, 2]).await.expect("carried out");
            assert_eq!((outcome.delivered, outcome.left.len()), (vec![2], 1), "{policy:?} {:?}", outcome.left);
            running.end().await;
            stage.assert_all().await;
        }
    }
}

/// Scenario 146. Above the limit the sink pauses; it goes on by itself once there is room.
#[tokio::test]
async fn with_too_many_letters_a_sink_pauses_until_there_are_fewer() {
    for target in Target::each(Letters) {
        let mut stage = Stage::set(target, OnReject::DeadLetter, &["public.items:1", "public.items:2"]).await;
        stage.letters_max = 2;
        let insert = |id| Statement::Insert(Items, id, values("x", "1", "large"));
        stage.commit(&[insert(1), insert(2), insert(3)]).await;
        let running = stage.run(stage.picky(), stage.events());
        eventually(std::time::Duration::from_secs(60), || async {
            let status = running.board.read().sinks.get("contract").cloned().ok_or("no status")?;
            match (status.state, status.code) {
                (State::Paused, Some(Code::ResourceLimit)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        stage.commit(&[insert(4)]).await;
        let outcome = running.order(Action::Discard, &[1]).await.expect("carried out");
        assert_eq!((outcome.discarded, outcome.open), (vec![1], 1));
        stage.caught_up(&running).await;
        running.end().await;
        stage.assert_all_but(&["public.items:1", "public.items:2"]).await;
        assert_eq!(stage.letters(), [(2, "refused")]);
    }
}
