//! The demo: PostgreSQL, Redis and walbridge at work on a small social network, shown live, and compared at the end.
//!
//! It ends by itself after `DEMO_SECONDS`, or after twenty seconds where there is no terminal; else at Ctrl-C. Then
//! every sink is compared with the source, key by key, and any difference makes the exit code 1. Whatever ends it, its
//! servers are ended and its directories removed.

mod network;
mod screen;
mod spotlight;
mod status;
#[path = "../integration-tests/support/mod.rs"]
mod support;

use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::network::compare::{self, Verdict};
use crate::network::stage::Stage;
use crate::network::writers::Writers;
use crate::screen::{Scene, Screen, grouped};
use crate::spotlight::{Sighting, Spotlight};
use crate::status::Report;

/// Without a terminal and without `DEMO_SECONDS`.
const DEFAULT_SECONDS: u64 = 20;
/// The picture, and the line that stands for it where nobody watches.
const REDRAW: Duration = Duration::from_millis(250);
const LINE: Duration = Duration::from_secs(2);
/// How long the sinks may take for the last changes.
const CATCH_UP: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    support::process::own_groups();
    std::panic::set_hook(Box::new(|panic| {
        screen::give_back();
        eprintln!("demo: {}", panic.payload_as_str().unwrap_or("failed"));
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(run())
}

async fn run() -> ExitCode {
    let mut end = End::listen();
    let mut stage = Stage::set(|line| println!("demo: {line}"));
    let mut writers = Writers::start(&stage.postgres).await;
    let stop = CancellationToken::new();
    let (sighting, spotlight) = spotlight(&stage, &stop).await;
    let watched = watch(&mut stage, &writers, &sighting, &mut end).await;
    stop.cancel();
    let _ended = spotlight.await;
    writers.stop().await;
    match watched {
        Watched::Failed(why) => {
            println!("demo: {why}");
            return ExitCode::FAILURE;
        }
        Watched::AtOnce => {
            println!("demo: ended");
            return ExitCode::SUCCESS;
        }
        Watched::Enough => {}
    }
    println!("demo: the writers stop after {} transactions", grouped(writers.transactions()));
    tokio::select! {
        biased;
        () = end.asked() => {
            println!("demo: ended before the comparison");
            ExitCode::FAILURE
        }
        code = finish(&mut stage) => code,
    }
}

/// What asks the demo to end.
struct End {
    seconds: Option<u64>,
    deadline: Option<Instant>,
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl End {
    /// From here on a signal does not kill this process, but ends it in good order.
    fn listen() -> End {
        let on = |kind| signal(kind).expect("signals can be listened for");
        let interactive = std::io::IsTerminal::is_terminal(&std::io::stdout());
        let seconds = std::env::var("DEMO_SECONDS").ok().map(|text| {
            let seconds = text.parse::<u64>();
            assert!(seconds.is_ok(), "DEMO_SECONDS={text} is not a number of seconds");
            seconds.unwrap_or(DEFAULT_SECONDS)
        });
        let seconds = seconds.or((!interactive).then_some(DEFAULT_SECONDS));
        End {
            seconds,
            deadline: None,
            interrupt: on(SignalKind::interrupt()),
            terminate: on(SignalKind::terminate()),
            hang_up: on(SignalKind::hangup()),
        }
    }

    /// Somebody wants it to end now.
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }

    /// The show begins: the seconds count from here.
    fn begin(&mut self) {
        self.deadline = self.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    }

    fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// How the watching ended.
enum Watched {
    /// Time is up, or Ctrl-C: compare.
    Enough,
    /// The terminal went away, or SIGTERM: just go.
    AtOnce,
    /// walbridge ended.
    Failed(String),
}

/// Draws until the end.
async fn watch(stage: &mut Stage, writers: &Writers, sighting: &Mutex<Sighting>, end: &mut End) -> Watched {
    let screen = Screen::open();
    let client = stage.postgres.client().await;
    let mut cache = stage.redis.connection().await;
    let started = Instant::now();
    let mut pace = Pace::default();
    end.begin();
    loop {
        let report = stage.walbridge.try_status().await.ok().map(|status| Report::of(&status));
        if let Some(status) = stage.walbridge.ended() {
            return Watched::Failed(format!("walbridge ended with {status}:\n{}", stage.walbridge.log()));
        }
        let (changes, changes_per_second) = pace.look(&client).await;
        let sighting = sighting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        screen.draw(&Scene {
            elapsed: started.elapsed(),
            remaining: end.remaining(),
            writers: writers.count(),
            changes,
            changes_per_second,
            cache_keys: redis::cmd("DBSIZE").query_async(&mut cache).await.ok(),
            kinds: stage.sinks.iter().map(|sink| (sink.name.clone(), sink.kind.clone())).collect(),
            report,
            sighting,
        });
        let rest = if screen.live() { REDRAW } else { LINE };
        let rest = end.remaining().map_or(rest, |remaining| remaining.min(rest));
        tokio::select! {
            biased;
            _ = end.interrupt.recv() => return Watched::Enough,
            _ = end.terminate.recv() => return Watched::AtOnce,
            _ = end.hang_up.recv() => return Watched::AtOnce,
            () = tokio::time::sleep(rest) => {}
        }
        if end.remaining() == Some(Duration::ZERO) {
            return Watched::Enough;
        }
    }
}

/// Row changes at the source since the start, by its own statistics, and how many a second lately.
#[derive(Default)]
struct Pace {
    first: Option<u64>,
    lately: VecDeque<(Instant, u64)>,
}

impl Pace {
    async fn look(&mut self, client: &tokio_postgres::Client) -> (u64, f64) {
        let sum = "SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint FROM pg_stat_user_tables";
        let now = client.query_one(sum, &[]).await.map_or(0, |row| row.get::<_, i64>(0));
        let now = u64::try_from(now).unwrap_or_default();
        let first = *self.first.get_or_insert(now);
        self.lately.push_back((Instant::now(), now));
        while self.lately.front().is_some_and(|(at, _)| at.elapsed() > Duration::from_secs(5)) {
            self.lately.pop_front();
        }
        let since = self.lately.front().map_or((0.0, now), |&(at, then)| (at.elapsed().as_secs_f64(), then));
        let changed = u32::try_from(now.saturating_sub(since.1)).unwrap_or(u32::MAX);
        let rate = if since.0 > 0.5 { f64::from(changed) / since.0 } else { 0.0 };
        (now.saturating_sub(first), rate)
    }
}

/// Starts the stopwatch on single UPDATEs.
async fn spotlight(stage: &Stage, stop: &CancellationToken) -> (Arc<Mutex<Sighting>>, JoinHandle<()>) {
    let of_users = |kind: &str| {
        let mut sinks = stage.sinks.iter();
        sinks.find(|sink| sink.kind == kind && sink.takes("public.users")).cloned()
    };
    let shown = Arc::<Mutex<Sighting>>::default();
    let spotlight = Spotlight {
        client: stage.postgres.client().await,
        cache: stage.redis.connection().await,
        cache_sink: of_users("redis").filter(|sink| sink.value == "json"),
        search_url: of_users("tantivy").map(|sink| stage.walbridge.admin_url(&format!("/search/{}", sink.name))),
        http: reqwest::Client::new(),
        shown: Arc::clone(&shown),
    };
    (shown, tokio::spawn(spotlight.run(stop.clone())))
}

/// Waits for the sinks, compares, prints the summary.
async fn finish(stage: &mut Stage) -> ExitCode {
    let started = Instant::now();
    let last = stage.postgres.psql("SELECT pg_current_wal_insert_lsn()");
    println!("demo: waiting for everything up to {last} to reach the sinks");
    // The last batch may be on its way after the lag has been read as zero, so equality decides; but not for ever.
    let verdicts = loop {
        let caught_up = stage.walbridge.try_status().await.is_ok_and(|status| Report::of(&status).caught_up());
        let late = started.elapsed() > CATCH_UP;
        if caught_up || late {
            let verdicts = compare::all(stage).await;
            let equal = verdicts.iter().all(|verdict| verdict.differences.is_empty());
            if equal || late || started.elapsed() > CATCH_UP / 4 {
                break verdicts;
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    summary(stage, &verdicts)
}

fn summary(stage: &mut Stage, verdicts: &[Verdict]) -> ExitCode {
    println!("\nsource and sinks, key by key ({}):", stage.config.display());
    for verdict in verdicts {
        let outcome = match verdict.differences.len() {
            0 => "equal".to_owned(),
            count => format!("{count} DIFFERENCES"),
        };
        println!("  {:<16} {:<52} {:>7} keys  {outcome}", verdict.sink, verdict.what, grouped(verdict.keys as u64));
        verdict.told().for_each(|difference| println!("      {difference}"));
    }
    let code = stage.walbridge.sigterm();
    let differences: usize = verdicts.iter().map(|verdict| verdict.differences.len()).sum();
    let keys: usize = verdicts.iter().map(|verdict| verdict.keys).sum();
    if verdicts.is_empty() || code != Some(0) || differences > 0 {
        println!("\n{differences} differences in {} keys; walbridge ended with {code:?}.", grouped(keys as u64));
        println!("{}", stage.walbridge.log());
        return ExitCode::FAILURE;
    }
    println!("\nAll {} keys are equal. walbridge stopped cleanly.", grouped(keys as u64));
    ExitCode::SUCCESS
}
