//! The checker: a workload in which every mistake shows, harm to all programs, and two witnesses that know nothing of walbridge:
//! PostgreSQL's own `SELECT`, and a second slot decoded by another plugin.
//!
//! Every run has two caches, a search index and a file of events; which other sinks it has, the seed draws (`drawn`).
//!
//! `CHECK_SECONDS=600` makes a long run of it, `SEED=n` repeats a schedule (not the machine's own timing), `CHECK_MAJOR=18`
//! chooses the server. The checks themselves are checked at the end of each run, on that run's own evidence.

mod checks;
mod drawn;
mod feed;
mod live;
mod nemesis;
mod oracle;
mod proof;
mod sinks;
mod stage;
mod workload;

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;

use self::live::Seen;
use self::stage::Stage;
use self::workload::Writers;

/// Few enough for every run of the suite.
const SECONDS: u64 = 12;

/// Scenarios 1, 2, 38 and all of "the checker": checks C1 to C6, C8, C10 and C12.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_swapped_or_torn_whatever_is_done_to_the_programs() {
    let seed = setting("SEED", u64::from(std::process::id()));
    run(setting("CHECK_MAJOR", 15), seed, setting("CHECK_SECONDS", SECONDS)).await;
}

async fn run(major: u64, seed: u64, seconds: u64) {
    println!("CHECK_MAJOR={major} CHECK_SECONDS={seconds} SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let schedule = nemesis::schedule(&mut random, seconds);
    let major = u32::try_from(major).expect("a major version");
    let mut stage = Stage::set(major, seed, format!("seed {seed}\n{schedule:#?}"));
    // Before the writers: a GRANT does not get on with a TRUNCATE beside it.
    stage.walbridge.set_up();
    let writers = Writers::start(&stage.postgres.superuser_url(), seed);
    let seen = Seen::default();
    let onlookers = (
        live::versions(&stage.redis.url(), seen.clone()),
        live::confirmations(stage.postgres.superuser_url(), stage.walbridge.admin_url("/api/status"), seen.clone()),
    );
    stage.walbridge.go_on();
    for (pause, harm) in schedule {
        // Not a wait for something: the moment is the test.
        tokio::time::sleep(Duration::from_millis(pause)).await;
        println!("{harm:?}");
        stage.suffer(harm).await;
        let ended = stage.walbridge.ended();
        assert!(ended.is_none(), "after {harm:?} it ended by itself, {ended:?}:\n{}", stage.walbridge.log());
    }
    let transactions = writers.transactions();
    writers.stop().await;
    println!("{transactions} transactions");
    assert!(transactions > 100, "the writers wrote");
    let began = std::time::Instant::now();
    stage.quiet().await;
    println!("quiet after {:.1?}", began.elapsed());
    let wrong = stage.sinks("", 0).await;
    println!("sinks read after {:.1?}", began.elapsed());
    stage.judge("in the sinks", &wrong);
    stage.judge("by walbridge's own word", &stage.verified());
    println!("verified after {:.1?}", began.elapsed());
    drop(onlookers);
    stage.judge("seen on the way", &seen.all());
    let evidence = stage.evidence().await;
    println!("{} events, {} by the second slot", evidence.events.len(), evidence.oracle.len());
    stage.judge("in the log", &checks::violations(&evidence));
    println!("log judged after {:.1?}", began.elapsed());
    let (tried, blind) = proof::blind_spots(&evidence);
    assert!(tried > 10 && blind.is_empty(), "of {tried} damages the checks misjudged {blind:#?}");
    println!("proved after {:.1?}", began.elapsed());
    replayed(&mut stage).await;
    println!("replayed after {:.1?}", began.elapsed());
}

/// C12: fresh sinks, filled from the log's beginning, end up the same, and the old ones stay as they are.
async fn replayed(stage: &mut Stage) {
    assert_eq!(stage.walbridge.sigterm(), Some(0), "{}", stage.walbridge.log());
    let config = stage.config(&[("", 0), ("-again", 3)]);
    stage.walbridge.configure(&config);
    stage.walbridge.go_on();
    stage.quiet().await;
    let mut wrong = stage.sinks("-again", 3).await;
    wrong.extend(stage.sinks("", 0).await);
    stage.judge("after a replay", &wrong);
    assert_eq!(stage.walbridge.sigterm(), Some(0), "{}", stage.walbridge.log());
    let verified = stage.walbridge.run(&["log", "verify"]);
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}
