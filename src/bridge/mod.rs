//! Wiring: the one place that names concrete types. Opens what the configuration names, starts the loops, and waits.
//!
//! Each source's ingest loop has a thread and a runtime of its own: nothing that a sink or the admin port does delays the
//! answer to a keepalive, and reading in gulps (`postgres::pace`) is not disturbed by other tasks' wake-ups. The deliver
//! loops share the process's runtime.

mod check;
mod control;
mod doctor;
#[cfg(feature = "search")]
mod learn;
mod rebuild;
mod retention;
#[cfg(feature = "search")]
mod search;
mod setup;
mod sinks;
mod slots;
mod tables;
mod verify;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use self::check::{Finding, check};
pub use self::doctor::{Diagnosis, Verdict, doctor};
pub use self::setup::{Administrator, Setup, setup};
pub use self::slots::{Leftover, SlotReport, find_leftovers, remove, slots};
pub use self::verify::why_not_verified;
use crate::admin::{Admin, Control, Pages};
use crate::config::{self, Config, Failover, OnHistoryBreak, OnWalBudget, OriginMode, SnapshotMode, Values};
use crate::ingest::{
    CATALOG_FILE_NAME, Halt, Ingest, OnBreak, OnSchemaChange, OnTableDrop, OnTruncate, OverBudget, Resnapshot, Source,
};
use crate::log::embedded::{self, Log, Options};
use crate::log::{LogError, LogWriter, Recovered};
use crate::status::{Board, Code, ExitCode, State};

/// What is still under way so long after being told to stop is left as a crash would leave it, which loses nothing.
const GRACE: Duration = Duration::from_secs(10);

/// An opened source.
struct Opened {
    source: Source,
    log: OpenedLog,
}

/// A log and what it is written with.
enum OpenedLog {
    Embedded(Box<embedded::Writer>, Log, Recovered),
    /// Its loop opens it, and tries again while the cluster is away. No writer: this process only reads.
    #[cfg(feature = "kafka")]
    Kafka(Option<Box<crate::log::kafka::Writer>>, crate::log::kafka::Log),
}

/// What of the bridge a process is. With the log in Kafka several processes share the work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    #[default]
    Whole,
    /// Source to log.
    Capture,
    /// Log to sinks.
    Deliver,
}

impl Part {
    const fn captures(self) -> bool {
        !matches!(self, Part::Deliver)
    }

    const fn delivers(self) -> bool {
        !matches!(self, Part::Capture)
    }
}

/// Runs until `stop`, or until nothing can go on without an operator.
pub async fn run(mut config: Config, part: Part, stop: CancellationToken) -> ExitCode {
    if part != Part::Whole && config.log.kafka.is_none() {
        tracing::error!(code = %Code::ConfigInvalid, "the embedded log belongs to one process: run it without --only, or set [log] kind = \"kafka\"");
        return ExitCode::Configuration;
    }
    if !part.delivers() {
        config.sinks.clear();
    }
    if let Err(error) = stop_on_signals(&stop) {
        tracing::error!(%error, "signals cannot be received");
        return ExitCode::Internal;
    }
    let board = Board::default();
    // The port first: a clash is found before anything else is touched.
    let port = match Admin::bind(config.admin.listen).await {
        Ok(port) => port,
        Err(error) => match locked_log(&config) {
            // The port is most likely the other daemon's too; that is not what has to be mended.
            Some(locked) => return fail(ExitCode::Halted, locked.code(), &locked),
            None => return fail(error.exit_code(), error.code(), &error),
        },
    };
    let mut opened = Vec::new();
    for source in &config.sources {
        match open(source, &config.log, part) {
            Ok(source) => opened.push(source),
            Err(error) => return fail(ExitCode::Halted, error.code(), &error),
        }
    }
    announce(&config, part, &board);
    let mut readers = JoinSet::new();
    let mut ingests = JoinSet::new();
    let mut pages = Pages { board: board.clone(), ..Pages::default() };
    let (mut copies, mut sources) = (BTreeMap::new(), Vec::new());
    for opened in opened {
        let (control, commands) = control::of_source();
        if part.captures() {
            pages.controls.add(opened.source.name.clone(), control.clone());
            copies.insert(opened.source.name.clone(), control);
        }
        sources.push((opened, commands));
    }
    start_readers(&config, sources.iter().map(|(opened, _)| opened), &copies, &stop, &mut readers, &mut pages);
    for (source, commands) in sources.into_iter().filter(|_| part.captures()) {
        ingests.spawn(ingest(source, board.clone(), commands, stop.clone()));
    }
    readers.spawn(port.serve(config.admin.token.clone(), pages, stop.clone()));
    let sources = async {
        let exit = await_ingests(&mut ingests, &stop).await;
        stop.cancelled().await;
        exit
    };
    let (exit, readers) = tokio::join!(sources, await_readers(&mut readers, &stop));
    let exit = if exit == ExitCode::Clean { readers } else { exit };
    if exit == ExitCode::Clean && is_halted(&board) { ExitCode::Halted } else { exit }
}

/// Puts everybody on the board before anybody can look: an empty one would read as "all is well".
fn announce(config: &Config, part: Part, board: &Board) {
    for source in config.sources.iter().filter(|_| part.captures()) {
        board.source(&source.name, |status| status.slot.clone_from(&source.slot));
    }
    for sink in &config.sinks {
        board.sink(&sink.name, |status| {
            status.kind = sink.target.kind();
            status.source.clone_from(&sink.source);
        });
    }
}

/// Starts what reads the logs: the sinks, and retention; tells the pages who can be searched, and told what. `copies`: who copies a source's
/// tables, where that is done in this process.
fn start_readers<'o>(
    config: &Config,
    opened: impl Iterator<Item = &'o Opened>,
    copies: &BTreeMap<String, Control<Vec<String>, Vec<String>>>,
    stop: &CancellationToken,
    readers: &mut JoinSet<()>,
    pages: &mut Pages,
) {
    let board = pages.board.clone();
    for Opened { source, log } in opened {
        for sink in config.sinks.iter().filter(|sink| sink.source == source.name) {
            let control::OfSink { replay, letters, rebuild, orders, rebuilds, sender } = control::of_sink(sink);
            pages.replays.add(sink.name.clone(), replay);
            pages.letters.add(sink.name.clone(), letters);
            let (verification, verify) = verify::of_sink(sink, &board);
            pages.verifications.add(sink.name.clone(), verification);
            pages.rebuilds.add(sink.name.clone(), rebuild);
            let parts = sinks::Parts {
                config: sink.clone(),
                orders,
                sender,
                verify,
                rebuilds: Some(rebuilds),
                copy: copies.get(&source.name).cloned(),
                source: source.clone(),
                dead_letters: config.log.dead_letters(),
                board: board.clone(),
                #[cfg(feature = "search")]
                search: matches!(sink.target, config::Target::Tantivy(_))
                    .then(|| search::register(&mut pages.search, &sink.name)),
            };
            start_sink(parts, log, stop.clone(), readers);
        }
        // In Kafka the cluster removes what is old.
        #[cfg_attr(not(feature = "kafka"), expect(irrefutable_let_patterns, reason = "then there is no other log"))]
        if let OpenedLog::Embedded(_, log, _) = log {
            let task = retention::run(source.name.clone(), log.clone(), config.log.retain, board.clone());
            let stop = stop.clone();
            readers.spawn(async move { stop.run_until_cancelled(task).await.unwrap_or_default() });
        }
    }
}

fn start_sink(parts: sinks::Parts, log: &OpenedLog, stop: CancellationToken, readers: &mut JoinSet<()>) {
    match log {
        OpenedLog::Embedded(_, log, _) => {
            let log = log.clone();
            readers.spawn(async move { Box::pin(sinks::run(parts, log, &stop)).await });
        }
        #[cfg(feature = "kafka")]
        OpenedLog::Kafka(_, log) => {
            let log = log.clone();
            if parts.config.target.is_shared() {
                readers.spawn(async move { sinks::run_shared(parts, log, &stop).await });
            } else {
                readers.spawn(async move { Box::pin(sinks::run(parts, log, &stop)).await });
            }
        }
    }
}

/// Waits for all ingest loops. If the set-up of every source was never right the process stops, and so it does after a panic;
/// one of several sources whose set-up is wrong, or one that halted later, stays on the board and leaves the others alone.
async fn await_ingests(ingests: &mut JoinSet<Option<Halt>>, stop: &CancellationToken) -> ExitCode {
    let sources = ingests.len();
    let mut never_right = 0;
    let mut exit = ExitCode::Clean;
    while let Some(ended) = ingests.join_next().await {
        match ended {
            Ok(Some(halt)) if halt.is_setup() => never_right += 1,
            Ok(_) => continue,
            Err(_) => exit = ExitCode::Internal,
        }
        if never_right == sources && exit == ExitCode::Clean {
            exit = ExitCode::Configuration;
        }
        if exit != ExitCode::Clean {
            stop.cancel();
        }
    }
    exit
}

/// Waits for the sinks' loops and the admin port, for which an end before `stop` is a panic or a halt. After a panic the process
/// stops: on the board its loop would stand as it was last, for ever.
async fn await_readers(readers: &mut JoinSet<()>, stop: &CancellationToken) -> ExitCode {
    let mut exit = ExitCode::Clean;
    let grace = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::pin!(grace);
    loop {
        tokio::select! {
            ended = readers.join_next() => match ended {
                None => return exit,
                Some(Ok(())) => {}
                Some(Err(error)) => {
                    tracing::error!(%error, "a bug; please report it. walbridge stops, and can be started again");
                    exit = ExitCode::Internal;
                    stop.cancel();
                }
            },
            () = &mut grace => {
                let seconds = GRACE.as_secs();
                tracing::warn!(seconds, "not everything ended in time; the rest is left as a crash would leave it");
                return exit;
            }
        }
    }
}

/// SIGTERM, as service managers send it, and SIGINT, as Ctrl-C does.
fn stop_on_signals(stop: &CancellationToken) -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping");
        stop.cancel();
    });
    Ok(())
}

fn is_halted(board: &Board) -> bool {
    let status = board.read();
    let mut states =
        status.sources.values().map(|source| source.state).chain(status.sinks.values().map(|sink| sink.state));
    states.any(|state| state == State::Halted)
}

fn fail(exit: ExitCode, code: Code, error: &dyn std::error::Error) -> ExitCode {
    tracing::error!(%code, %error, "cannot start");
    exit
}

/// Whether another process has one of the logs that are there already.
fn locked_log(config: &Config) -> Option<LogError> {
    let logs = config.sources.iter().map(|source| config.log.path_of(&source.name)).filter(|path| path.exists());
    let mut errors = logs.filter_map(|path| embedded::open(&path, Options::default()).err());
    errors.find(|error| matches!(error, LogError::Locked { .. }))
}

#[cfg_attr(not(feature = "kafka"), expect(unused_variables, reason = "then there is one process"))]
fn open(source: &config::Source, logs: &config::Log, part: Part) -> Result<Opened, LogError> {
    let path = logs.path_of(&source.name);
    #[cfg(feature = "kafka")]
    if let Some(settings) = &logs.kafka {
        let options = crate::log::kafka::Options {
            source: source.name.clone(),
            database: source.address.database.clone(),
            directory: path.clone(),
            settings: settings.clone(),
        };
        let reading = crate::log::kafka::Log::new(options.clone());
        let writer = part.captures().then(|| crate::log::kafka::Writer::new(options).map(Box::new)).transpose()?;
        let log = OpenedLog::Kafka(writer, reading);
        return Ok(Opened { source: Source { catalog_file: path.join(CATALOG_FILE_NAME), ..resolve(source) }, log });
    }
    let (writer, log, recovered) = embedded::open(&path, Options::default())?;
    tracing::info!(source = %source.name, log = %log.id(), events = %recovered.durable.offset,
        end_lsn = %recovered.durable.end_lsn, truncated_bytes = recovered.truncated_bytes, "log opened");
    let source = Source { catalog_file: path.join(CATALOG_FILE_NAME), ..resolve(source) };
    Ok(Opened { source, log: OpenedLog::Embedded(Box::new(writer), log, recovered) })
}

/// The source as the ingest loop wants it.
fn resolve(source: &config::Source) -> Source {
    let (tables, named) = (source.tables.clone(), source.tables.clone());
    Source {
        name: source.name.clone(),
        address: source.address.clone(),
        tables: Arc::new(move |name| tables.matches(name)),
        named: Arc::new(move |name| named.names(name)),
        slot: source.slot.clone(),
        publication: source.publication.clone(),
        snapshot: source.snapshot == SnapshotMode::Initial,
        whole_rows: source.tables_without_key == config::TablesWithoutKey::Full,
        on_schema_change: match source.on_schema_change {
            config::OnSchemaChange::Follow => OnSchemaChange::Follow,
            config::OnSchemaChange::Halt => OnSchemaChange::Halt,
        },
        on_table_drop: match source.on_table_drop {
            config::OnTableDrop::Clear => OnTableDrop::Clear,
            config::OnTableDrop::Keep => OnTableDrop::Keep,
        },
        on_truncate: match source.truncate {
            config::OnTruncate::Apply => OnTruncate::Apply,
            config::OnTruncate::Ignore => OnTruncate::Ignore,
            config::OnTruncate::Halt => OnTruncate::Halt,
        },
        watch_interval: source.watch_interval,
        // Only a source that runs remembers.
        catalog_file: PathBuf::new(),
        snapshot_workers: source.snapshot_workers,
        snapshot_rate: source.snapshot_rate,
        binary: source.values == Values::Auto,
        failover: (source.failover == Failover::Never).then_some(false),
        on_break: match source.on_history_break {
            OnHistoryBreak::Halt => OnBreak::Halt,
            OnHistoryBreak::CopyAgain => OnBreak::CopyAgain,
        },
        wal_budget: source.wal_budget,
        on_wal_budget: match source.on_wal_budget {
            OnWalBudget::Warn => OverBudget::Warn,
            OnWalBudget::ProtectSource => OverBudget::ProtectSource,
            OnWalBudget::ProtectData => OverBudget::ProtectData,
        },
        messages: source.messages.filter(),
        foreign: source.origin == OriginMode::Any,
        two_phase: source.two_phase,
    }
}

/// Runs an ingest loop on a thread of its own. `None`: it was told to stop.
async fn ingest(
    opened: Opened,
    board: Board,
    commands: mpsc::Receiver<Resnapshot>,
    stop: CancellationToken,
) -> Option<Halt> {
    let Opened { source, log } = opened;
    match log {
        OpenedLog::Embedded(writer, log, recovered) => {
            let make = |source, board| Ingest::new(source, *writer, recovered, board).reading(log);
            run_ingest(source, make, board, commands, stop).await
        }
        #[cfg(feature = "kafka")]
        OpenedLog::Kafka(writer, log) => {
            let writer = writer?;
            let make = |source, board| Ingest::new(source, *writer, Recovered::default(), board).reading(log);
            run_ingest(source, make, board, commands, stop).await
        }
    }
}

async fn run_ingest<W: LogWriter + 'static>(
    source: Source,
    make: impl FnOnce(Source, Board) -> Ingest<W> + Send + 'static,
    board: Board,
    commands: mpsc::Receiver<Resnapshot>,
    stop: CancellationToken,
) -> Option<Halt> {
    let (tell, ended) = oneshot::channel();
    let (name, shared) = (source.name.clone(), tokio::runtime::Handle::current());
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let outcome = runtime.map(|runtime| {
            let ingest = make(source, board).monitored_on(shared).commanded_by(commands);
            runtime.block_on(ingest.run(&stop))
        });
        let _ = tell.send(outcome);
    };
    let thread = std::thread::Builder::new().name(format!("ingest-{name}")).spawn(body);
    match (thread, ended.await) {
        (Ok(_), Ok(Ok(outcome))) => outcome.err(),
        // The thread panicked, or there was none to be had: the caller treats a panic as a bug.
        #[expect(clippy::panic, reason = "carries a panic of the thread into the task that waits for it")]
        _ => panic!("the ingest thread of source {name} ended without an outcome"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_of_one_reader_stops_the_process_as_a_bug() {
        // A sink whose loop had panicked stood as "streaming" until somebody wondered.
        let (stop, mut readers) = (CancellationToken::new(), JoinSet::new());
        let others = stop.clone();
        readers.spawn(async move { others.cancelled().await });
        readers.spawn(async { assert!(std::hint::black_box(false), "a bug") });
        assert_eq!(await_readers(&mut readers, &stop).await, ExitCode::Internal);
        assert!(stop.is_cancelled());
    }
}
