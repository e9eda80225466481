//! A connection breaks after any byte, or a program's input ends there; a server dies in the middle of a `COPY`. What is there then is whole where that is
//! promised, no checkpoint speaks of what was not acknowledged, and delivery goes on.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use walbridge::project::line::write_event;
use walbridge::sink::SinkError;

use super::delivery::Delivery;
use super::kind::Kind;
use super::kind::Promise::Cut;
use super::target::Target;
use super::world::Table::{Items, Others};
use super::world::{Statement, World, rename, values};
use crate::support::Direction;
use crate::support::proxy::Before;

/// So many rows at once that they go to PostgreSQL by `COPY`, then what changes some of them, and another table's.
fn world() -> World {
    let mut world = World::new();
    let insert = |table, id: i64| Statement::Insert(table, id, values(&format!("n{id}"), "1", &"x".repeat(400)));
    world.commit(&(0..150).map(|id| insert(Items, id)).collect::<Vec<_>>());
    world.commit(&[rename(Items, 1, "one"), Statement::Move(Items, 2, 500, None), Statement::Delete(Items, 3)]);
    world.commit(&(0..120).map(|id| insert(Others, id)).collect::<Vec<_>>());
    world.commit(&[rename(Others, 1, "one"), Statement::Move(Items, 500, 2, None)]);
    world
}

/// Everything, in two commits.
async fn deliver(target: &Target, world: &World) -> Result<(), SinkError> {
    let mut delivery = Delivery::begin(target, world).await?;
    for transactions in [2, 4] {
        delivery.deliver_to(world, transactions).await?;
    }
    Ok(())
}

/// How many bytes that is.
async fn bytes(target: &mut Target, world: &World, direction: Direction) -> u64 {
    if target.proxy().is_none() {
        let line = |event| {
            let mut line = Vec::new();
            write_event("public", event, &mut line);
            line.len() as u64 + 30
        };
        return world.events.iter().map(line).sum();
    }
    let passed = |target: &mut Target| target.proxy().map_or(0, |proxy| proxy.bytes(direction));
    let before = passed(target);
    deliver(target, world).await.expect("delivered");
    passed(target) - before
}

/// What holds whenever a session has ended, and that delivery goes on from there.
async fn assert_sound(target: &Target, world: &World, what: &str) {
    let mut delivery = Delivery::begin(target, world).await.expect("a target");
    let at = delivery.at;
    match target.kind {
        Kind::Webhook => {
            let place = |event: &serde_json::Value| event["position"].to_string();
            let told = target.told().iter().map(place).collect::<BTreeSet<_>>().len();
            assert!(told >= world.offset(at), "{what}: {told} events were taken, {at} transactions are told to be");
        }
        // It may be ahead of its checkpoint.
        Kind::OpenSearch => {}
        _ => target.assert_after(&delivery.sink, world, at, what).await,
    }
    delivery.deliver(world).await.expect("delivered");
    target.assert_after(&delivery.sink, world, world.len(), &format!("{what}, in the end")).await;
}

#[tokio::test]
async fn wherever_a_connection_is_cut_nothing_is_lost_and_what_is_there_is_whole() {
    let world = world();
    for mut target in Target::each(Cut) {
        let is_program = target.proxy().is_none();
        let directions = [(Direction::Up, 12), (Direction::Down, 6)];
        for (direction, cuts) in
            directions.into_iter().filter(|(direction, _)| !is_program || *direction == Direction::Up)
        {
            target.empty_if_filled().await;
            let all = bytes(&mut target, &world, direction).await;
            let mut broken = 0;
            for cut in 0..cuts {
                target.empty_if_filled().await;
                let after = all * (2 * cut + 1) / (2 * cuts);
                target.cut_after(direction, after);
                let outcome = deliver(&target, &world).await;
                target.heal();
                let what = format!("cut {direction:?} after {after} of {all} bytes, {outcome:?}");
                broken += u64::from(outcome.is_err());
                assert_sound(&target, &world, &what).await;
            }
            // Cut between two requests, a connection is made anew, and nobody notices.
            assert!(2 * broken > cuts, "{:?}: {broken} of {cuts} cuts {direction:?} were noticed", target.kind);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    Kill,
    EndSession,
    CancelStatement,
}

/// Half of the rows have reached the server then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_is_ended_in_its_middle_leaves_nothing_of_it_and_is_done_again() {
    let world = world();
    let mut target = Target::only(Kind::Postgres);
    for harm in [Harm::CancelStatement, Harm::EndSession, Harm::Kill] {
        target.empty().await;
        let (reached, is_reached) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let (may_go_on, was_reached) = (Mutex::new(may_go_on), AtomicBool::new(false));
        let before: Before = Arc::new(move |bytes| {
            let is_row = bytes.windows(5).any(|part| part == b"\tn75\t");
            if is_row && !was_reached.swap(true, Ordering::SeqCst) {
                let _the_test_is_over = reached.send(());
                let _ = may_go_on.lock().unwrap_or_else(PoisonError::into_inner).recv();
            }
        });
        target.proxy().expect("it has a server").before_requests(Some(before));
        let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
        let writing = tokio::spawn({
            let world = self::world();
            async move { delivery.deliver_to(&world, 2).await.map_err(|error| error.to_string()) }
        });
        tokio::task::spawn_blocking(move || is_reached.recv().expect("a COPY")).await.expect("no panic");
        let on_copy = |function: &str| {
            // Not of whoever asks.
            let asked = format!(
                "SELECT count(*) FROM pg_stat_activity WHERE CASE WHEN query LIKE 'SAVEPOINT%COPY%' THEN {function}(pid) END"
            );
            assert_eq!(target.database().psql(&asked), "1", "{harm:?}");
        };
        match harm {
            Harm::CancelStatement => on_copy("pg_cancel_backend"),
            Harm::EndSession => on_copy("pg_terminate_backend"),
            Harm::Kill => target.restart(),
        }
        go_on.send(()).expect("a COPY that waits");
        let outcome = writing.await.expect("no panic");
        target.proxy().expect("it has a server").before_requests(None);
        // A statement that is canceled is another way to say that it does not go by `COPY`.
        assert_eq!(outcome.is_ok(), matches!(harm, Harm::CancelStatement), "{harm:?}: {outcome:?}");
        assert_sound(&target, &world, &format!("{harm:?}: {outcome:?}")).await;
    }
}

/// The answer to the making of an index was lost, and by the time that the sink asked again the server was still at it: there was no such index, and then, when it
/// was to be made, there was. The sink halted, and asked for another version of the server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_a_lost_request_makes_meanwhile_is_the_sinks() {
    let world = world();
    for kind in [Kind::OpenSearch, Kind::OpenSearchIndexes] {
        let mut target = Target::only(kind);
        let (node, made) = (target.index().port(), Arc::new(AtomicBool::new(false)));
        let was_made = Arc::clone(&made);
        let before: Before = Arc::new(move |bytes| {
            if bytes.starts_with(b"PUT /test-") && !was_made.swap(true, Ordering::SeqCst) {
                let mut lost = TcpStream::connect(("127.0.0.1", node)).expect("the node");
                lost.write_all(bytes).expect("a request");
                let mut answer = [0; 12];
                lost.read_exact(&mut answer).expect("an answer");
                assert_eq!(&answer, b"HTTP/1.1 200");
            }
        });
        target.proxy().expect("it has a server").before_requests(Some(before));
        let mut delivery = Delivery::begin(&target, &world).await.expect("a target");
        delivery.deliver(&world).await.expect("delivered");
        target.proxy().expect("it has a server").before_requests(None);
        assert!(made.load(Ordering::SeqCst));
        target.assert_after(&delivery.sink, &world, world.len(), "in the end").await;
    }
}
