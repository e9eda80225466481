//! SIGKILL at random moments: while rows are copied, while transactions arrive, between two writes of a sink.
//!
//! The demo's network is at work, with all kinds of statement, and nothing may be missing, doubled or stale in any sink
//! when the dust has settled. `KILLS=200` makes a long run of it; `SEED=n` repeats one (the schedule, not the machine's).

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::network::compare::{self, Verdict};
use crate::network::stage::Stage;
use crate::network::writers::Writers;
use crate::support::eventually;

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
