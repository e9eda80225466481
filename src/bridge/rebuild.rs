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
use crate::deliver::rebuild::{Begin, CopyTables, Rebuild, Verification, Verify};
use crate::deliver::{Deliver, Orders};
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
}

/// Runs the sink, and what is ordered to be built beside it, until told to stop.
pub(super) async fn deliver<L: Log, S: Replaceable + 'static>(
    mut parts: sinks::Parts,
    log: L,
    sink: S,
    make: Make<S>,
    stop: &CancellationToken,
) {
    let directory = parts.dead_letters.join("rebuild");
    let Some(orders) = parts.rebuilds.take() else { return };
    let (source, letters) = (parts.source.name.clone(), parts.dead_letters.clone());
    let of_beside = Beside { source: parts.source.clone(), config: parts.config.clone() };
    let captures = parts.copy.is_some();
    let copy = copy_tables(parts.copy.take(), of_beside.clone());
    let begin = begin(log.clone(), of_beside, make, &directory, captures);
    let (name, board) = (parts.config.name.clone(), parts.board.clone());
    let (slot, origin, sender) = (parts.verify.clone(), verify::origin(&parts.source), parts.sender.clone());
    let Some(live) = prepare(parts, log, sink) else { return };
    verify::register(&slot, sinks::verifier(&live, origin, sender, letters.clone(), false));
    let rebuild = Rebuild { directory, letters, source, begin, copy, orders };
    // Why a loop ended is on the board, and in the process's log, by then.
    if let Err(error) = rebuild.run(live, stop).await {
        sinks::show_halted(&board, &name, Code::LogIo, &format!("what is remembered of its rebuild: {error}"));
    }
}

fn prepare<L: Log, S: Replaceable>(parts: sinks::Parts, log: L, sink: S) -> Option<Deliver<L, S>> {
    match tables::naming(&parts.config.target) {
        Ok(naming) => sinks::prepare(parts, log, sink, Kind::State, Arc::new(KnownTables::new(naming))),
        Err(detail) => {
            sinks::show_halted(&parts.board, &parts.config.name, Code::ConfigInvalid, &detail);
            None
        }
    }
}

/// `captures`: the source is captured in this process, and what is built can be compared with it.
fn begin<L: Log, S: Replaceable + 'static>(
    log: L,
    of: Beside,
    make: Make<S>,
    directory: &Path,
    captures: bool,
) -> Begin<L, S> {
    let (make, directory) = (Arc::new(make), directory.to_owned());
    Box::new(move |board: Board| {
        let (log, of, make, dead_letters) = (log.clone(), of.clone(), Arc::clone(&make), directory.clone());
        Box::pin(async move {
            let sink = make(of.clone()).await?;
            let (name, scratch) = (of.config.name.clone(), dead_letters.clone());
            let (sender, receiver) = mpsc::channel(1);
            let origin = verify::origin(&of.source);
            let parts = sinks::Parts {
                config: of.config,
                source: of.source,
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
            let deliver = prepare(parts, log, sink).ok_or_else(|| {
                let said = board.read().sinks.remove(&name).and_then(|sink| sink.message);
                said.unwrap_or_else(|| "it cannot be prepared".to_owned())
            })?;
            let verifier = Arc::new(sinks::verifier(&deliver, origin, sender, scratch, false));
            let verify: Verify = Box::new(move || {
                let verifier = Arc::clone(&verifier);
                Box::pin(async move { if captures { compare(&verifier).await } else { unseen(&verifier.sink) } })
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

fn unseen(sink: &str) -> Verification {
    tracing::warn!(%sink, "what was built is not compared with the source, which another process captures");
    Verification::Done { differences: 0 }
}

/// Has those of the source's tables copied again that the sink takes.
fn copy_tables(control: Option<Control<Vec<String>, Vec<String>>>, of: Beside) -> CopyTables {
    Box::new(move || {
        let (control, of) = (control.clone(), of.clone());
        Box::pin(async move {
            let elsewhere =
                "another process copies the source's tables: rebuild without --copy, from the log's beginning";
            let control = control.ok_or_else(|| elsewhere.to_owned())?;
            let names = names(&of.source, &of.config.tables).await?;
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
