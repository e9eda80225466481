//! Verifications: who may be told to begin one, and what becomes of it. One at a time of each sink.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::admin::{ControlError, VerifyControl};
use crate::config::{self, RedisValue, Target};
use crate::event::Timestamp;
use crate::ingest::Source;
use crate::log::Log;
use crate::status::{Board, Verified};
use crate::verify::{Options, Origin, Progress, Report, Shared, Verifier};

/// Verifies a sink, and writes the report.
pub(super) type Runner = Arc<dyn Fn(Options, Shared) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Where a sink's runner is once its loop has begun.
pub(super) type Slot = Arc<OnceLock<Runner>>;

/// What the admin port asks, and the slot that it asks for.
pub(super) fn of_sink(sink: &config::Sink, board: &Board) -> (VerifyControl, Slot) {
    let slot = Slot::default();
    let (runner, refusal) = (slot.clone(), why_not_verified(&sink.target));
    let (name, board) = (sink.name.clone(), board.clone());
    let last: Mutex<Option<Shared>> = Mutex::default();
    let control: VerifyControl = Arc::new(move |order| {
        let outcome = match (refusal, order) {
            (Some(why), _) => Err(refuse(why)),
            (None, None) => {
                let last = last.lock().unwrap_or_else(PoisonError::into_inner).clone();
                last.map(|last| last.read())
                    .ok_or_else(|| refuse("it has not been verified since walbridge was started"))
            }
            (None, Some(options)) => match runner.get() {
                None => Err(refuse("its loop has not begun; its status says why")),
                Some(runner) => {
                    begin(&name, options, &mut last.lock().unwrap_or_else(PoisonError::into_inner), runner, &board)
                }
            },
        };
        Box::pin(async move { outcome })
    });
    (control, slot)
}

fn begin(
    name: &str,
    options: Options,
    last: &mut Option<Shared>,
    runner: &Runner,
    board: &Board,
) -> Result<Report, ControlError> {
    let before = last.as_ref().map(Shared::read);
    if before.as_ref().is_some_and(|report| report.state == Progress::Running) {
        return Err(refuse("it is being verified already; `walbridge verify` without --repair shows how far that is"));
    }
    let report = Report {
        sink: name.to_owned(),
        number: before.map_or(0, |report| report.number).saturating_add(1),
        repair: options.repair,
        sample: options.sample,
        ..Report::default()
    };
    let shared = Shared::begin(report.clone());
    *last = Some(shared.clone());
    tracing::info!(sink = name, repair = options.repair, sample = options.sample, "verifying");
    let (run, name, board) = (runner(options, shared.clone()), name.to_owned(), board.clone());
    tokio::spawn(async move {
        // Should it panic, nobody waits for it for ever.
        let ended = tokio::spawn(run).await;
        if ended.is_err() {
            shared.fail("a bug; please report it");
        }
        tell(&name, &shared.read(), &board);
    });
    Ok(report)
}

/// On the board, and in the process's log.
fn tell(name: &str, report: &Report, board: &Board) {
    let (differences, remaining) = (report.differences(), report.remaining());
    let skipped = report.tables.iter().filter(|table| table.skipped.is_some()).count();
    let (from, until) = (report.from.unwrap_or_default(), report.until.unwrap_or_default());
    match (&report.state, remaining) {
        (Progress::Done, 0) => {
            tracing::info!(sink = name, %from, %until, differences, skipped, "verified");
        }
        (Progress::Done, _) => {
            tracing::warn!(sink = name, %from, %until, differences, remaining, skipped, "verified: the sink differs from its source");
        }
        _ => tracing::warn!(sink = name, why = report.message, differences, remaining, "not verified"),
    }
    let is_whole = report.state == Progress::Done && report.tables.iter().all(|table| table.whole);
    let verified = Verified { at: Timestamp::now(), from, until, differences, remaining, is_whole };
    board.sink(name, |status| status.verified = Some(verified));
}

/// The source as a verification reads it.
pub(super) fn origin(source: &Source) -> Origin {
    Origin {
        name: source.name.clone(),
        address: source.address.clone(),
        tables: source.tables.clone(),
        publication: source.publication.clone(),
        copies: source.snapshot,
        binary: source.binary,
        rate: source.snapshot_rate,
    }
}

/// The sink's loop has begun: from now on it can be verified.
pub(super) fn register<L: Log>(slot: &Slot, verifier: Verifier<L>) {
    let verifier = Arc::new(verifier);
    let runner: Runner = Arc::new(move |options, report| {
        let verifier = verifier.clone();
        Box::pin(async move { verifier.run(options, &report).await })
    });
    // A sink's loop is started once.
    let _ = slot.set(runner);
}

/// Why a sink of this kind is not verified, and what helps instead; `None`: it is.
#[must_use]
pub fn why_not_verified(target: &Target) -> Option<&'static str> {
    match target {
        Target::Redis(redis) if redis.shared => Some(
            "several processes share this sink, and each knows only its own part of the log. Have it copied again if it may be wrong (walbridge resnapshot)",
        ),
        Target::Redis(redis) if redis.form.value == RedisValue::Stream => Some(
            "a stream keeps history, not the rows as they are. `walbridge log verify` proves that the log it is written from is whole",
        ),
        Target::Redis(redis) if redis.form.entries_max.is_some() => {
            Some("it keeps only `entries_max` of the rows, so what is missing may well be missing")
        }
        Target::Redis(redis) if redis.form.value == RedisValue::Invalidate => Some(
            "it holds no documents: a changed row's key is removed, and whoever fills the cache decides what stands there",
        ),
        Target::File(_) => Some(
            "a file keeps history, not the rows as they are. `walbridge log verify` proves that the log it is written from is whole",
        ),
        Target::Webhook(_) | Target::Exec(_) => {
            Some("whoever is told events keeps what it wants of them, and cannot be asked")
        }
        Target::Kafka(_) => Some(
            "topics keep history, not the rows as they are. `walbridge log verify` proves that the log they are written from is whole",
        ),
        Target::Redis(_) | Target::Tantivy(_) | Target::OpenSearch(_) | Target::Postgres(_) => None,
    }
}

fn refuse(why: &str) -> ControlError {
    ControlError::Refused(why.to_owned())
}
