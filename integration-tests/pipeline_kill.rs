//! SIGKILL at random moments: while rows are copied, while transactions arrive, between two writes of a sink.
//!
//! The demo's network is at work, with all kinds of statement, and nothing may be missing, doubled or stale in any sink
//! when the dust has settled. `KILLS=200` makes a long run of it; `SEED=n` repeats one (the schedule, not the machine's).

use std::collections::BTreeSet;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::network::compare::{self, Verdict};
use crate::network::stage::Stage;
use crate::network::writers::Writers;
use crate::pipeline::caught_up;
use crate::shop::Shop;
use crate::support::{PgOptions, Postgres, eventually};

/// Few enough for every run of the suite.
const KILLS: u64 = 12;
/// The longest life between two kills; long enough to finish the copy of the existing rows now and then.
const LIFE_MILLIS: u64 = 1_500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sinks_equal_the_source_after_sigkills_at_random_moments() {
    let (kills, seed) = (setting("KILLS", KILLS), setting("SEED", u64::from(std::process::id())));
    println!("KILLS={kills} SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut stage = Stage::set(|line| println!("{line}"));
    let mut writers = Writers::start(&stage.postgres).await;
    for kill in 1..=kills {
        // Not a wait for something: the moment is the test.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..LIFE_MILLIS))).await;
        let ended = stage.walbridge.ended();
        assert!(ended.is_none(), "before kill {kill} it ended by itself, {ended:?}:\n{}", stage.walbridge.log());
        stage.walbridge.sigkill();
        stage.walbridge.start_again();
    }
    writers.stop().await;
    assert!(writers.transactions() > 0, "the writers wrote");
    all_equal(&stage).await;
    assert_eq!(stage.walbridge.sigterm(), Some(0), "{}", stage.walbridge.log());
}

/// Waits until every sink equals the source.
async fn all_equal(stage: &Stage) {
    let verdicts = eventually(Duration::from_secs(90), || async {
        let verdicts = compare::all(stage).await;
        if verdicts.iter().all(|verdict| verdict.differences.is_empty()) { Ok(verdicts) } else { Err(told(&verdicts)) }
    })
    .await;
    assert!(
        verdicts.iter().map(|verdict| verdict.keys).sum::<usize>() > 10_000,
        "everything was compared: {verdicts:?}"
    );
}

fn told(verdicts: &[Verdict]) -> Vec<String> {
    let different = verdicts.iter().filter(|verdict| !verdict.differences.is_empty());
    different
        .flat_map(|verdict| verdict.told().map(|told| format!("{}: {}: {told}", verdict.sink, verdict.what)))
        .collect()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

/// Scenario 24. Killed in the middle of the copy, while rows that are copied already, and rows that are not, are deleted and changed:
/// the next start goes on with what is missing, tells of no copy that is not complete, and finds what is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_copy_killed_again_and_again_goes_on_and_loses_no_delete_in_between() {
    let (kills, seed) = (setting("KILLS", 6), setting("SEED", u64::from(std::process::id())));
    println!("KILLS={kills} SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let postgres = Postgres::start(PgOptions::default());
    let url = postgres.url();
    let mut shop = Shop::stock(postgres, &url, "snapshot_rate = \"8MiB\"");
    shop.postgres.psql(
        "ALTER TABLE t ADD COLUMN filler text NOT NULL DEFAULT repeat('x', 1000);
         INSERT INTO t SELECT i, 0 FROM generate_series(1000, 25000) i; ANALYZE t",
    );
    shop.walbridge.start_again();
    let (mut rows, mut in_the_middle, mut told_done) = (0, 0, false);
    for kill in 0..kills {
        let copied = |status: &serde_json::Value| {
            let table = &status["sources"]["shop"]["tables"]["public.t"];
            (table["rows"].as_u64().unwrap_or_default(), table["done"] == true)
        };
        let status =
            shop.walbridge.wait_for(Duration::from_secs(60), |status| copied(status).0 > rows || copied(status).1);
        rows = copied(&status.await).0;
        // Not a wait for something: the moment is the test.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..200))).await;
        let (_, done) = copied(&shop.walbridge.status().await);
        shop.walbridge.sigkill();
        if done && !told_done {
            complete(&shop);
        }
        told_done |= done;
        in_the_middle += u64::from(!done);
        let spread = |of: u64| format!("id % 97 = {}", (kill * 31 + of) % 97);
        shop.postgres.psql(&format!(
            "DELETE FROM t WHERE {}; UPDATE t SET n = n + 1 WHERE {}; UPDATE t SET id = id + 100000 WHERE {}; INSERT INTO t VALUES ({}, {kill})",
            spread(0),
            spread(1),
            spread(2),
            500_000 + kill
        ));
        shop.walbridge.go_on();
    }
    assert!(in_the_middle >= kills / 2, "{in_the_middle} of {kills} kills were in the middle of the copy");
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    complete(&shop);
    shop.same().await;
    assert_eq!(shop.walbridge.sigterm(), Some(0), "{}", shop.walbridge.log());
}

/// Of every row that is there, the log has something to tell.
fn complete(shop: &Shop) {
    let dump = shop.walbridge.run(&["log", "dump", "--json"]);
    let key = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["key"]["id"].as_i64();
    let told: BTreeSet<i64> = String::from_utf8_lossy(&dump.stdout).lines().filter_map(key).collect();
    let rows = shop.postgres.psql("SELECT id FROM t");
    let missing: Vec<&str> = rows.lines().filter(|id| !told.contains(&id.parse().expect("a number"))).take(5).collect();
    assert!(missing.is_empty(), "the copy is told to be complete, and {missing:?} were never told of");
}
