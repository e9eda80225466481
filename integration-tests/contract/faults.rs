//! What sinks promise when targets are lost, shared, or looked at while they are written.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use walbridge::sink::{Sink, SinkError};

use super::delivery::Delivery;
use super::kind::Promise::{Fence, Loss, Restart, Whole};
use super::target::Target;
use super::world::Table::Items;
use super::world::{Statement, World, rename, values};
use crate::support::eventually;

const PATIENCE: Duration = Duration::from_secs(60);

fn world(transactions: usize) -> World {
    let mut world = World::new();
    world.commit(&[Statement::Insert(Items, 1, values("a", "1", "x"))]);
    for number in 1..transactions {
        world.commit(&[rename(Items, 1, &number.to_string())]);
    }
    world
}

#[tokio::test]
async fn a_restarted_target_tells_the_truth_and_delivery_goes_on() {
    let world = world(4);
    for mut target in Target::each(Restart) {
        for transactions in 1..=world.len() {
            let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
            assert_eq!(delivery.at, transactions - 1, "{:?}", target.kind);
            delivery.deliver_to(&world, transactions).await.expect("delivered");
            drop(delivery);
            target.restart();
        }
        let delivery = Delivery::begin(&target, &world).await.expect("a target");
        assert_eq!(delivery.at, world.len(), "{:?}", target.kind);
        target.assert_after(&delivery.sink, &world, world.len(), "in the end").await;
    }
}

#[tokio::test]
async fn a_target_emptied_while_away_is_filled_from_the_start() {
    let world = world(3);
    for target in Target::each(Loss) {
        let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
        delivery.deliver_to(&world, 2).await.expect("delivered");
        drop(delivery);
        target.empty().await;
        let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
        assert_eq!(delivery.at, 0, "{:?}", target.kind);
        delivery.deliver(&world).await.expect("delivered");
        target.assert_after(&delivery.sink, &world, 3, "in the end").await;
    }
}

/// Going on from memory would leave a target with the latest changes and nothing before them.
#[tokio::test]
async fn a_target_emptied_while_running_is_noticed_by_the_probe_and_by_the_commit() {
    let world = world(3);
    for target in Target::each(Loss) {
        for probes in [true, false] {
            target.empty_if_filled().await;
            let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
            delivery.deliver_to(&world, 2).await.expect("delivered");
            delivery.sink.probe().await.expect("all is well");
            target.empty().await;
            let noticed = if probes { delivery.sink.probe().await } else { delivery.deliver_to(&world, 3).await };
            assert!(matches!(noticed, Err(SinkError::Regressed { .. })), "{:?} {noticed:?}", target.kind);
            assert_eq!(delivery.resume(&world).await.expect("resumed"), 0, "{:?}", target.kind);
            delivery.deliver(&world).await.expect("delivered");
            target.assert_after(&delivery.sink, &world, 3, "in the end").await;
        }
    }
}

/// Two processes with one configuration: the second is kept out, at the latest when it commits.
#[tokio::test]
async fn of_two_writers_only_one_goes_on() {
    let world = world(3);
    for target in Target::each(Fence) {
        let mut first = Delivery::begin(&target, &world).await.expect("a target");
        let refused = match Delivery::try_begin(&target, &world).await {
            Err(error) => error,
            Ok(mut second) => {
                second.stage_to(&world, 1).await.expect("staged");
                first.deliver_to(&world, 2).await.expect("the first goes on");
                second.sink.commit(world.checkpoint(1)).await.expect_err("the second does not")
            }
        };
        assert!(matches!(refused, SinkError::Fenced { .. }), "{:?} {refused}", target.kind);
        first.deliver(&world).await.expect("the first goes on");
        target.assert_after(&first.sink, &world, 3, "in the end").await;
    }
}

/// Money goes from one row to another and back, in one transaction each time. Nobody may ever see it in both or in neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_never_sees_half_a_transaction() {
    let mut world = World::new();
    let amount = |id, amount: i64| Statement::Update(Items, id, [None, Some(Some(amount.to_string())), None]);
    world.commit(&[
        Statement::Insert(Items, 1, values("a", "100", "x")),
        Statement::Insert(Items, 2, values("b", "0", "x")),
    ]);
    for number in 1..60_i64 {
        let moved = number % 7 * 10;
        world.commit(&[amount(1, 100 - moved), amount(2, moved)]);
    }
    for target in Target::each(Whole) {
        let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
        // A run for each event: the two halves are staged apart.
        delivery.run = 1;
        delivery.deliver_to(&world, 1).await.expect("delivered");
        let ended = Arc::new(AtomicBool::new(false));
        let reads = {
            let reader = target.reader(&delivery.sink).await;
            let (ended, world, reads) = (Arc::clone(&ended), &world, Cell::new(0));
            let write = async {
                for transactions in 2..=world.len() {
                    delivery.deliver_to(world, transactions).await.expect("delivered");
                    // A target that is written faster than it is read was read once, and proved nothing.
                    let enough = async || if reads.get() >= transactions / 5 { Ok(()) } else { Err("not read") };
                    eventually(PATIENCE, enough).await;
                }
                ended.store(true, Ordering::SeqCst);
            };
            let read = async {
                while !ended.load(Ordering::SeqCst) {
                    let Some(sum) = target.two_amounts(&reader, [1, 2]).await else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    assert_eq!(sum[0] + sum[1], 100, "{:?} {sum:?}", target.kind);
                    reads.set(reads.get() + 1);
                    tokio::task::yield_now().await;
                }
            };
            tokio::join!(write, read);
            reads.get()
        };
        assert!(reads > 10, "{:?} was read {reads} times", target.kind);
    }
}
