//! A sink whose target can be built anew beside: its loop, and what is made beside it.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{sinks, tables, verify};
use crate::admin::Control;
use crate::config::TablePatterns;
use crate::deliver::Orders;
use crate::deliver::rebuild::{Begin, CopyTables, Rebuild, Verification, Verify};
use crate::ingest::Source;
use crate::log::Log;
use crate::project::Kind;
use crate::project::known::KnownTables;
use crate::sink::Replaceable;
use crate::status::{Board, Code};
use crate::verify::{Options, Progress, Shared, TableReport, Verifier};

/// Makes the sink that is built beside, or says why it cannot be.
pub(super) type Make<S> = Box<dyn Fn(Beside) -> Pin<Box<dyn Future<Output = Result<S, String>> + Send>> + Send + Sync>;

/// What such a sink is made for.
#[derive(Clone)]
pub(super) struct Beside {
    pub(super) source: Source,
    pub(super) config: crate::config::Sink,
    /// What it will know of its tables.
    pub(super) known: Arc<KnownTables>,
}

/// Runs the sink, and what is ordered to be built beside it, until told to stop.
pub(super) async fn deliver<L: Log, S: Replaceable + 'static>(
    mut parts: sinks::Parts,
    log: L,
    sink: S,
    known: Arc<KnownTables>,
    make: Make<S>,
    stop: &CancellationToken,
) {
    let directory = parts.dead_letters.join("rebuild");
    let Some(orders) = parts.rebuilds.take() else { return };
    let (source, letters) = (parts.source.name.clone(), parts.dead_letters.clone());
    let (of, config) = (parts.source.clone(), parts.config.clone());
    let (captures, expires) = (parts.copy.is_some(), sinks::expires(&config.target));
    let copy = copy_tables(parts.copy.take(), of.clone(), config.tables.clone());
    let begin = begin(log.clone(), of, config, make, &directory, captures);
    let (name, board) = (parts.config.name.clone(), parts.board.clone());
    let (slot, origin, sender) = (parts.verify.clone(), verify::origin(&parts.source), parts.sender.clone());
    let Some(live) = sinks::prepare(parts, log, sink, Kind::State, known) else { return };
    verify::register(&slot, sinks::verifier(&live, origin, sender, letters.clone(), expires));
    let rebuild = Rebuild { directory, letters, source, begin, copy, orders };
    // Why a loop ended is on the board, and in the process's log, by then.
    if let Err(error) = rebuild.run(live, stop).await {
        sinks::show_halted(&board, &name, Code::LogIo, &format!("what is remembered of its rebuild: {error}"));
    }
}

/// `captures`: the source is captured in this process, and what is built can be compared with it.
fn begin<L: Log, S: Replaceable + 'static>(
    log: L,
    source: Source,
    config: crate::config::Sink,
    make: Make<S>,
    directory: &Path,
    captures: bool,
) -> Begin<L, S> {
    let (make, directory, expires) = (Arc::new(make), directory.to_owned(), sinks::expires(&config.target));
    let blind =
        verify::why_not_verified(&config.target).or((!captures).then_some("another process captures its source"));
    Box::new(move |board: Board| {
        let (log, make, dead_letters) = (log.clone(), Arc::clone(&make), directory.clone());
        let (source, config) = (source.clone(), config.clone());
        Box::pin(async move {
            let known = Arc::new(KnownTables::new(tables::naming(&config.target)?));
            let of = Beside { source: source.clone(), config: config.clone(), known: Arc::clone(&known) };
            let sink = make(of).await?;
            let (name, scratch) = (config.name.clone(), dead_letters.clone());
            let (sender, receiver) = mpsc::channel(1);
            let origin = verify::origin(&source);
            let parts = sinks::Parts {
                config,
                source,
                dead_letters,
                orders: Orders::from(receiver),
                sender: sender.clone(),
                verify: verify::Slot::default(),
                rebuilds: None,
                copy: None,
                board: board.clone(),
                #[cfg(feature = "search")]
                search: None,
            };
            let deliver = sinks::prepare(parts, log, sink, Kind::State, known).ok_or_else(|| {
                let said = board.read().sinks.remove(&name).and_then(|sink| sink.message);
                said.unwrap_or_else(|| "it cannot be prepared".to_owned())
            })?;
            let verifier = Arc::new(sinks::verifier(&deliver, origin, sender, scratch, expires));
            let verify: Verify = Box::new(move || {
                let verifier = Arc::clone(&verifier);
                Box::pin(async move {
                    match blind {
                        None => compare(&verifier).await,
                        Some(why) => unseen(&verifier.sink, why),
                    }
                })
            });
            Ok(crate::deliver::rebuild::Beside { deliver, verify })
        })
    })
}

/// Every key of every table.
async fn compare<L: Log>(verifier: &Verifier<L>) -> Verification {
    let report = Shared::default();
    verifier.run(Options::default(), &report).await;
    let report = report.read();
    let why_not = |table: &TableReport| table.skipped.clone().or_else(|| table.not_whole.clone());
    let skipped = report.tables.iter().find_map(|table| Some((&table.table, why_not(table)?)));
    match (report.state, skipped) {
        (Progress::Done, None) => {
            let differences = report.differences();
            tracing::info!(sink = %verifier.sink, differences, "what was built is verified");
            Verification::Done { differences }
        }
        (Progress::Done, Some((table, why))) => Verification::Failed(format!("table {table}: {why}")),
        _ => Verification::Failed(report.message.unwrap_or_default()),
    }
}

fn unseen(sink: &str, why: &str) -> Verification {
    tracing::warn!(%sink, why, "what was built is not compared with the source");
    Verification::Done { differences: 0 }
}

/// Has those of the source's tables copied again that the sink takes.
fn copy_tables(
    control: Option<Control<Vec<String>, Vec<String>>>,
    source: Source,
    patterns: TablePatterns,
) -> CopyTables {
    Box::new(move || {
        let (control, source, patterns) = (control.clone(), source.clone(), patterns.clone());
        Box::pin(async move {
            let elsewhere =
                "another process copies the source's tables: rebuild without --copy, from the log's beginning";
            let control = control.ok_or_else(|| elsewhere.to_owned())?;
            let names = names(&source, &patterns).await?;
            control(names).await.map_err(|error| format!("the tables cannot be copied now: {error}"))
        })
    })
}

async fn names(source: &Source, patterns: &TablePatterns) -> Result<Vec<String>, String> {
    let relations = tables::relations(source, patterns).await.map_err(|error| error.to_string())?;
    match relations.as_slice() {
        [] => Err("no table of the source goes to this sink".to_owned()),
        some => Ok(some.iter().map(|relation| relation.name.to_string()).collect()),
    }
}
