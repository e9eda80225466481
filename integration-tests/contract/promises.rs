//! The promises of `Sink`, one by one.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use walbridge::log::LogId;
use walbridge::project::mutation::{Document, Effect, Key, Mutation};
use walbridge::sink::{Checkpoint, Sink, Staged};

use super::delivery::Delivery;
use super::kind::Promise::{Loss, State, Told, Values};
use super::target::Target;
use super::world::Table::{Items, Others};
use super::world::{Statement, World, position_beyond, rename, values};

/// Three transactions: rows, updates that leave `big` alone, a delete.
fn world() -> World {
    let mut world = World::new();
    world.commit(&[
        Statement::Insert(Items, 1, values("one", "10", "a long text")),
        Statement::Insert(Items, 2, values("two", "20", "another")),
        Statement::Insert(Others, 1, values("other", "30", "a third")),
    ]);
    world.commit(&[rename(Items, 1, "uno"), rename(Others, 1, "altro")]);
    world.commit(&[Statement::Delete(Items, 2), rename(Items, 1, "eins")]);
    world
}

async fn delivered(target: &Target, world: &World) -> Delivery {
    let mut delivery = Delivery::begin(target, world).await.expect("a target");
    delivery.deliver(world).await.expect("delivered");
    delivery
}

async fn assert_equal(target: &Target, delivery: &Delivery, world: &World) {
    target.assert_after(&delivery.sink, world, world.len(), "in the end").await;
}

#[tokio::test]
async fn a_target_ends_up_with_what_the_source_has() {
    let world = world();
    for target in Target::each(State) {
        let delivery = delivered(&target, &world).await;
        assert_equal(&target, &delivery, &world).await;
    }
}

#[tokio::test]
async fn applying_twice_equals_once() {
    let world = world();
    for target in Target::each(State) {
        let mut delivery = delivered(&target, &world).await;
        for _ in 0..2 {
            delivery.at = 0;
            delivery.deliver(&world).await.expect("delivered again");
            assert_equal(&target, &delivery, &world).await;
        }
    }
}

/// A lost answer, or two loops for a moment: what is behind the checkpoint arrives again, without what came after it.
#[tokio::test]
async fn an_older_change_never_wins_over_a_newer() {
    let world = world();
    for target in Target::each(State) {
        let mut delivery = delivered(&target, &world).await;
        delivery.at = 0;
        delivery.stage_to(&world, 1).await.expect("staged");
        delivery.sink.commit(world.checkpoint(world.len())).await.expect("committed");
        assert_equal(&target, &delivery, &world).await;
    }
}

#[tokio::test]
async fn what_was_only_staged_is_not_there_after_resume() {
    let world = world();
    for mut target in Target::each(Loss) {
        let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
        delivery.deliver_to(&world, 1).await.expect("delivered");
        delivery.stage_to(&world, 3).await.expect("staged");
        assert_eq!(delivery.resume(&world).await.expect("resumed"), 1, "{:?}", target.kind);
        target.assert_after(&delivery.sink, &world, 1, "with its session gone").await;
        delivery.stage_to(&world, 2).await.expect("staged");
        drop(delivery);
        target.restart();
        let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
        assert_eq!(delivery.at, 1, "{:?}", target.kind);
        delivery.deliver(&world).await.expect("delivered");
        assert_equal(&target, &delivery, &world).await;
    }
}

/// Verification compares what a target tells of a key with what a put of the row would leave there.
#[tokio::test]
async fn what_is_read_back_is_what_was_put_and_nothing_that_is_only_staged() {
    let (earlier, mut later) = (world(), world());
    later.commit(&[
        rename(Items, 1, "\"ein\"\n"),
        Statement::Delete(Others, 1),
        // Without an amount it would be in no sorted set.
        Statement::Insert(Items, 2, [None, Some("0".to_owned()), None]),
    ]);
    let asked = [(Items, 1), (Items, 2), (Others, 1), (Items, 3)];
    for target in Target::each(Told) {
        let mut delivery = delivered(&target, &earlier).await;
        let keys = asked.map(|(table, id)| delivery.key(&earlier, table, id));
        let images = |world: &World, delivery: &mut Delivery| asked.map(|(table, id)| delivery.image(world, table, id));
        let read = async |delivery: &mut Delivery| delivery.sink.read(&keys).await.expect("an answer");
        let before = images(&earlier, &mut delivery);
        assert_eq!(read(&mut delivery).await, before, "{:?}", target.kind);
        delivery.stage_to(&later, later.len()).await.expect("staged");
        assert_eq!(read(&mut delivery).await, before, "{:?}", target.kind);
        delivery.sink.commit(later.checkpoint(later.len())).await.expect("committed");
        let after = images(&later, &mut delivery);
        assert_eq!(read(&mut delivery).await, after, "{:?}", target.kind);
        assert_eq!(delivery.sink.read(&[]).await.expect("an answer"), []);
    }
}

/// What is committed between two pages moves documents about in a target. Those that were there all along are told all the same.
#[tokio::test]
async fn keys_are_listed_once_and_for_all_while_documents_come_and_go() {
    let mut world = World::new();
    let row = |id: i64| Statement::Insert(Items, id, values("n", "1", "b"));
    // As many pages as make several commits, and as many segments as are merged, in between.
    (0..6).for_each(|part: i64| world.commit(&(part * 1000..part * 1000 + 1000).map(row).collect::<Vec<_>>()));
    for part in 0..6 {
        world.commit(&(part * 1000..part * 1000 + 900).map(|id| Statement::Delete(Items, id)).collect::<Vec<_>>());
        world.commit(&(part * 1000..part * 1000 + 10).map(row).collect::<Vec<_>>());
    }
    for target in Target::each(Told) {
        let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
        delivery.deliver_to(&world, 6).await.expect("delivered");
        let (mut from, mut found) = (None, BTreeSet::new());
        let table = &world.relation(Items).name;
        loop {
            let page = delivery.sink.keys(table, from).await.expect("keys");
            found.extend(page.keys.iter().map(|key| target.kind.plain(&key.to_string())));
            from = page.next;
            if from.is_none() {
                break;
            }
            let next = (delivery.at + 1).min(world.len());
            delivery.deliver_to(&world, next).await.expect("delivered");
        }
        let missed = (0..6000).filter(|id| id % 1000 >= 900).find(|id| !found.contains(&format!("public.items:{id}")));
        assert_eq!(missed, None, "{:?}", target.kind);
    }
}

/// PostgreSQL does not send a large value that an update left alone. It is neither NULL nor empty.
#[tokio::test]
async fn a_large_value_left_alone_stays_through_updates_and_new_keys() {
    let mut world = World::new();
    world.commit(&[
        Statement::Insert(Items, 1, values("a", "1", &"x".repeat(9000))),
        Statement::Insert(Items, 2, values("b", "2", "y")),
        Statement::Insert(Items, 3, [None, None, None]),
    ]);
    world.commit(&[rename(Items, 1, "a2"), rename(Items, 3, "")]);
    world.commit(&[Statement::Move(Items, 1, 10, None)]);
    // Three rows change places by way of a free key, in one transaction.
    world.commit(&[
        Statement::Move(Items, 10, 11, Some("c".to_owned())),
        Statement::Move(Items, 2, 10, None),
        Statement::Move(Items, 11, 2, None),
    ]);
    for target in Target::each(Values) {
        let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
        for transactions in 1..=world.len() {
            delivery.deliver_to(&world, transactions).await.expect("delivered");
            target.assert_after(&delivery.sink, &world, transactions, &format!("after {transactions}")).await;
        }
        drop(delivery);
        target.empty().await;
        // And all at once.
        let delivery = delivered(&target, &world).await;
        assert_equal(&target, &delivery, &world).await;
    }
}

/// `UPDATE t SET id = id + 1`: old keys are the new keys of other rows. Deletes before puts, or puts before deletes, lose
/// rows; and a run that ends inside the statement must not change that.
#[tokio::test]
async fn every_id_moved_up_by_one_loses_no_row() {
    let mut world = World::new();
    // As many as go to PostgreSQL by `COPY`.
    let rows: Vec<i64> = (0..120).collect();
    let insert = |&id: &i64| Statement::Insert(Items, id, values(&format!("n{id}"), "1", &format!("big{id}")));
    world.commit(&rows.iter().map(insert).collect::<Vec<_>>());
    world.commit(&rows.iter().rev().map(|&id| Statement::Move(Items, id, id + 1, None)).collect::<Vec<_>>());
    for target in Target::each(State) {
        for run in [1000, 7] {
            target.empty_if_filled().await;
            let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
            delivery.run = run;
            delivery.deliver(&world).await.expect("delivered");
            assert_equal(&target, &delivery, &world).await;
        }
    }
}

#[tokio::test]
async fn truncate_empties_its_table_and_no_other() {
    let mut world = world();
    world.commit(&[
        Statement::Insert(Items, 5, values("gone", "1", "x")),
        Statement::Truncate(Items),
        Statement::Insert(Items, 6, values("stays", "1", "x")),
    ]);
    for target in Target::each(State) {
        let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
        delivery.deliver_to(&world, 3).await.expect("delivered");
        delivery.deliver(&world).await.expect("delivered");
        assert_equal(&target, &delivery, &world).await;
    }
}

#[tokio::test]
async fn values_are_data_whatever_they_hold() {
    let nasty = [
        "",
        "null",
        "line\nbreak\r\nand\ttab",
        "\"},{\"delete\":{}}",
        "*1\r\n$8\r\nFLUSHALL\r\n",
        "../../etc/passwd",
        "\u{1}\u{7f}\u{2028}\u{fffd}🦀",
        "\\x00 \\ud800 %00 {id}",
        "1e999",
        "-0",
    ];
    let mut world = World::new();
    let insert = |(text, id): (&&str, i64)| Statement::Insert(Items, id, values(text, "1", text));
    world.commit(&nasty.iter().zip(1..).map(insert).collect::<Vec<_>>());
    let large = "0123456789abcdef".repeat(5 << 16);
    world.commit(&[Statement::Insert(Others, i64::MIN, values(&large, &i64::MAX.to_string(), ""))]);
    world.commit(&[rename(Others, i64::MIN, "small again")]);
    for target in Target::each(Values) {
        let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
        for transactions in 1..=world.len() {
            delivery.deliver_to(&world, transactions).await.expect("delivered");
            target.assert_after(&delivery.sink, &world, transactions, &format!("after {transactions}")).await;
        }
    }
}

#[tokio::test]
async fn a_mutation_that_the_target_cannot_take_is_named_and_the_rest_is_applied() {
    let mut world = World::new();
    world.commit(&[Statement::Insert(Items, 1, values("a", "1", "x"))]);
    for target in Target::each(State) {
        let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
        if target.keeps_history() && !target.kind.is_redis() {
            assert_eq!(
                delivery.sink.read(&[Key(Bytes::from_static(b"public.items:1"))]).await.expect("no answer"),
                [],
                "{:?}",
                target.kind
            );
        }
        let Staged { rejected, incomplete, .. } =
            delivery.sink.stage(&[refused(&target, &world)]).await.expect("the sink goes on");
        assert!(rejected.len() == 1 && !rejected[0].reason.is_empty() && incomplete.is_empty(), "{:?}", target.kind);
        delivery.deliver(&world).await.expect("delivered");
        assert_equal(&target, &delivery, &world).await;
    }
}

/// An event for a target that keeps documents, and the other way round.
fn refused(target: &Target, world: &World) -> Mutation {
    let event = world.events[0].clone();
    let effect = if target.keeps_history() {
        let relation = Arc::clone(&world.relations()[0]);
        let row = world.read_back(&relation, b"1").expect("a row");
        Effect::Put { document: Document { relation, row }, moved_from: None }
    } else {
        Effect::Append(event)
    };
    Mutation { key: Key(Bytes::from_static(b"public.items:77")), position: position_beyond(world), effect }
}

#[tokio::test]
async fn the_checkpoint_names_its_log() {
    let world = world();
    for target in Target::each(State) {
        let mut sink = target.open(&world);
        assert_eq!(sink.resume().await.expect("a target"), None);
        let foreign = Checkpoint { log: LogId(u128::MAX), ..world.checkpoint(2) };
        sink.commit(foreign).await.expect("committed");
        drop(sink);
        assert_eq!(target.open(&world).resume().await.expect("a target"), Some(foreign), "{:?}", target.kind);
    }
}
