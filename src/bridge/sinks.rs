//! From a sink's configuration to its running loop.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{rebuild, tables, verify};
use crate::admin::Control;
use crate::capture::readback::Readback;
use crate::config::{self, Target};
use crate::dead_letter::DeadLetters;
use crate::deliver::{Deliver, Limits, OnReject, Order, Orders, RebuildOrder};
use crate::ingest::Source;
use crate::log::Log;
use crate::project::known::KnownTables;
use crate::project::{Kind, Projection};
use crate::sink::exec::ExecSink;
use crate::sink::file::FileSink;
#[cfg(feature = "kafka")]
use crate::sink::kafka::{self, KafkaSink};
use crate::sink::opensearch::OpenSearchSink;
use crate::sink::postgres::PostgresSink;
use crate::sink::redis::{self, RedisSink};
#[cfg(feature = "search")]
use crate::sink::tantivy::{self, TantivySink};
use crate::sink::webhook::WebhookSink;
use crate::sink::{Sink, SinkError};
use crate::status::{Board, Code, State};
use crate::verify::{Origin, Verifier};

/// What a sink's loop is made of.
pub(super) struct Parts {
    pub(super) config: config::Sink,
    pub(super) source: Source,
    pub(super) dead_letters: PathBuf,
    pub(super) orders: Orders,
    /// Gives such orders.
    pub(super) sender: mpsc::Sender<Order>,
    /// Where whoever verifies it is to be found.
    pub(super) verify: verify::Slot,
    /// `None`: it is itself built beside another.
    pub(super) rebuilds: Option<mpsc::Receiver<RebuildOrder>>,
    /// Who copies its source's tables; `None`: another process.
    pub(super) copy: Option<Control<Vec<String>, Vec<String>>>,
    pub(super) board: Board,
    #[cfg(feature = "search")]
    pub(super) search: Option<super::search::Slot>,
}

/// Runs a sink until told to stop. A sink that halts stays on the board; the others go on.
pub(super) async fn run(parts: Parts, log: impl Log, stop: &CancellationToken) {
    let name = parts.config.name.clone();
    parts.board.sink(&name, |status| {
        status.kind = parts.config.target.kind();
        status.source.clone_from(&parts.source.name);
    });
    let known = match known(&parts, stop).await {
        Ok(known) => known,
        Err(detail) => return halt(&parts, Code::ConfigInvalid, &detail),
    };
    match parts.config.target.clone() {
        Target::Redis(_) => Box::pin(run_redis(parts, log, known, stop)).await,
        // Large: a request is prepared inside it.
        Target::OpenSearch(index) => Box::pin(run_opensearch(parts, *index, log, known, stop)).await,
        Target::Postgres(database) => {
            let options = tables::database_options(name, *database);
            let beside = options.beside();
            let make: rebuild::Make<PostgresSink> =
                Box::new(move |_| Box::pin(std::future::ready(Ok(PostgresSink::new(beside.clone())))));
            // Large: a transaction is prepared inside it.
            Box::pin(rebuild::deliver(parts, log, PostgresSink::new(options), known, make, stop)).await;
        }
        Target::Webhook(hook) => {
            let source = parts.source.name.clone();
            match WebhookSink::new(tables::webhook_options(name, source, *hook)) {
                Ok(sink) => Box::pin(deliver(parts, log, sink, Kind::History, known, stop)).await,
                Err(error) => halt(&parts, error.code(), &error.to_string()),
            }
        }
        Target::Exec(program) => {
            let sink = ExecSink::new(tables::exec_options(name, parts.source.name.clone(), *program));
            deliver(parts, log, sink, Kind::History, known, stop).await;
        }
        Target::File(file) => {
            let sink = FileSink::new(tables::file_options(name, parts.source.name.clone(), *file));
            deliver(parts, log, sink, Kind::History, known, stop).await;
        }
        #[cfg(feature = "kafka")]
        Target::Kafka(settings) => {
            let (source, database) = (parts.source.name.clone(), parts.source.address.database.clone());
            let options = kafka::Options { name, source, database, settings: *settings };
            deliver(parts, log, KafkaSink::new(options), Kind::History, known, stop).await;
        }
        #[cfg(not(feature = "kafka"))]
        Target::Kafka(_) => {
            halt(&parts, Code::ConfigInvalid, "this walbridge was built without the feature `kafka`");
        }
        #[cfg(feature = "search")]
        Target::Tantivy(index) => match tables::search_options(name, *index) {
            Ok(options) => run_tantivy(parts, options, log, known, stop).await,
            Err(detail) => halt(&parts, Code::ConfigInvalid, &detail),
        },
        #[cfg(not(feature = "search"))]
        Target::Tantivy(_) => {
            halt(&parts, Code::ConfigInvalid, "this walbridge was built without the feature `search`");
        }
    }
}

async fn run_redis(parts: Parts, log: impl Log, known: Arc<KnownTables>, stop: &CancellationToken) {
    let sink = match redis_sink(&parts, &known) {
        Ok(sink) => sink,
        Err(error) => return halt(&parts, error.code(), &error.to_string()),
    };
    if parts.config.target.keeps_history() {
        return deliver(parts, log, sink, Kind::History, known, stop).await;
    }
    let make: rebuild::Make<RedisSink> = Box::new(move |of| {
        Box::pin(async move {
            // A table that is empty by now is not met in new copies of the tables.
            learn(&of.known, &of.source, &of.config).await?;
            let options = redis_options(&of.config, &of.known).map_err(|error| error.to_string())?;
            RedisSink::new(options.beside()).map_err(|error| error.to_string())
        })
    });
    rebuild::deliver(parts, log, sink, known, make, stop).await;
}

/// Has a sink know its source's tables as they are.
async fn learn(known: &KnownTables, source: &Source, config: &config::Sink) -> Result<(), String> {
    let found = tables::relations(source, &config.tables).await.map_err(|error| error.to_string())?;
    for (relation, determined) in tables::derived(&config.shapes, &found).map_err(|error| error.to_string())? {
        known.learn(&relation, &determined).map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn run_opensearch(
    parts: Parts,
    index: config::OpenSearch,
    log: impl Log,
    known: Arc<KnownTables>,
    stop: &CancellationToken,
) {
    let options = tables::index_options(index);
    // Of several indexes there is no one that could be built beside.
    let is_one = !options.layout.by_index;
    let beside = options.beside();
    let make: rebuild::Make<OpenSearchSink> = Box::new(move |_| {
        let made = OpenSearchSink::new(beside.clone()).map_err(|error| error.to_string());
        Box::pin(std::future::ready(made))
    });
    match OpenSearchSink::new(options) {
        Ok(sink) if is_one => rebuild::deliver(parts, log, sink, known, make, stop).await,
        Ok(sink) => deliver(parts, log, sink, Kind::State, known, stop).await,
        Err(error) => halt(&parts, error.code(), &error.to_string()),
    }
}

#[cfg(feature = "search")]
async fn run_tantivy(
    parts: Parts,
    options: tantivy::Options,
    log: impl Log,
    known: Arc<KnownTables>,
    stop: &CancellationToken,
) {
    let Some(options) = told_of_tables(options, &parts, stop).await else { return };
    let beside = options.beside();
    let make: rebuild::Make<TantivySink> = Box::new(move |of| {
        let mut options = beside.clone();
        Box::pin(async move {
            if !tantivy::has_index(&options.path) {
                let found = tables::relations(&of.source, &of.config.tables).await;
                let relations = found.map_err(|error| error.to_string())?;
                let derived = tables::derived(&of.config.shapes, &relations).map_err(|error| error.to_string())?;
                options.relations = derived.into_iter().map(|(relation, _)| relation).collect();
            }
            TantivySink::new(options).map_err(|error| error.to_string())
        })
    });
    match TantivySink::new(options) {
        Ok(sink) => {
            if let Some(slot) = &parts.search {
                // A sink's loop is started once.
                let _ = slot.set(sink.search_handle());
            }
            rebuild::deliver(parts, log, sink, known, make, stop).await;
        }
        Err(error) => halt(&parts, error.code(), &error.to_string()),
    }
}

/// Only a new index must be told what the tables are like. `None`: told to stop, or halted.
#[cfg(feature = "search")]
async fn told_of_tables(
    options: tantivy::Options,
    parts: &Parts,
    stop: &CancellationToken,
) -> Option<tantivy::Options> {
    if tantivy::has_index(&options.path) {
        return Some(options);
    }
    let relations = super::learn::relations(parts, stop).await?;
    Some(tantivy::Options { relations, ..options })
}

/// The same where several processes deliver the sink, each some of the log's partitions.
#[cfg(feature = "kafka")]
pub(super) async fn run_shared(parts: Parts, log: crate::log::kafka::Log, stop: &CancellationToken) {
    let known = match known(&parts, stop).await {
        Ok(known) => known,
        Err(detail) => return halt(&parts, Code::ConfigInvalid, &detail),
    };
    let sink = match redis_sink(&parts, &known) {
        Ok(sink) => sink,
        Err(error) => return halt(&parts, error.code(), &error.to_string()),
    };
    let patterns = parts.config.tables.clone();
    let group = crate::kafka::consumer::group_of(&parts.source.name, &parts.config.name);
    let share = match log.join(group, Arc::new(move |name| patterns.matches(name))) {
        Ok(share) => share,
        Err(error) => return halt(&parts, error.code(), &error.to_string()),
    };
    if let Some(mut deliver) = prepare(parts, log, sink, Kind::State, known) {
        // Why it ended is on the board, and in the process's log, by then.
        let _ = deliver.run_shared(share, stop).await;
    }
}

/// What the sink will know of its tables: how their documents are called. That and its shapes are tried on the tables as they are now; a source that cannot
/// be asked is no reason to wait, for each event brings its table, and is checked.
async fn known(parts: &Parts, stop: &CancellationToken) -> Result<Arc<KnownTables>, String> {
    let naming = tables::naming(&parts.config.target)?;
    let has_places = !naming.places.is_empty();
    let known = Arc::new(KnownTables::new(naming));
    let shapes = &parts.config.shapes;
    let form = match &parts.config.target {
        Target::Redis(redis) => Some(tables::redis_form(redis, "")),
        _ => None,
    };
    let depends = form
        .as_ref()
        .is_some_and(|form| form.value.is_collection() || form.ttl_column.is_some() || form.text.is_some());
    if (!shapes.is_empty() || has_places || depends)
        && let Some(Ok(relations)) =
            stop.run_until_cancelled(tables::relations(&parts.source, &parts.config.tables)).await
    {
        for (relation, determined) in tables::derived(shapes, &relations).map_err(|error| error.to_string())? {
            if let Some(form) = &form {
                form.check(&relation)?;
            }
            if form.is_some() || has_places {
                known.learn(&relation, &determined).map_err(|error| error.to_string())?;
            }
        }
    }
    Ok(known)
}

fn redis_sink(parts: &Parts, known: &Arc<KnownTables>) -> Result<RedisSink, SinkError> {
    RedisSink::new(redis_options(&parts.config, known)?)
}

fn redis_options(config: &config::Sink, known: &Arc<KnownTables>) -> Result<redis::Options, SinkError> {
    let Target::Redis(redis) = &config.target else {
        let (detail, remedy) = ("it is no Redis sink".to_owned(), "Please report this bug".to_owned());
        return Err(SinkError::Unusable { target: config.name.clone(), detail, remedy });
    };
    Ok(tables::redis_options(config, redis, known))
}

/// Whether its documents go away by themselves.
pub(super) fn expires(target: &Target) -> bool {
    matches!(target, Target::Redis(redis) if tables::redis_form(redis, "").expires())
}

async fn deliver(
    parts: Parts,
    log: impl Log,
    sink: impl Sink,
    kind: Kind,
    known: Arc<KnownTables>,
    stop: &CancellationToken,
) {
    let (slot, origin) = (parts.verify.clone(), verify::origin(&parts.source));
    let (orders, directory) = (parts.sender.clone(), parts.dead_letters.clone());
    let expires = expires(&parts.config.target);
    if let Some(mut deliver) = prepare(parts, log, sink, kind, known) {
        verify::register(&slot, verifier(&deliver, origin, orders, directory, expires));
        // Why it ended is on the board, and in the process's log, by then.
        let _ = deliver.run(stop).await;
    }
}

/// Who can verify what this loop delivers to. `directory`: where it keeps what does not fit into memory. `expires`: its documents go away by themselves.
pub(super) fn verifier<L: Log, S: Sink>(
    deliver: &Deliver<L, S>,
    origin: Origin,
    orders: mpsc::Sender<Order>,
    directory: PathBuf,
    expires: bool,
) -> Verifier<L> {
    Verifier {
        sink: deliver.name.clone(),
        log: deliver.log.clone(),
        projection: deliver.projection.clone(),
        imager: deliver.sink.imager(),
        expires,
        origin,
        orders,
        board: deliver.board.clone(),
        directory,
    }
}

/// The loop; `None`: it has halted.
pub(super) fn prepare<L: Log, S: Sink>(
    parts: Parts,
    log: L,
    sink: S,
    kind: Kind,
    known: Arc<KnownTables>,
) -> Option<Deliver<L, S>> {
    let dead_letters = match DeadLetters::open(&parts.dead_letters, &parts.config.name, &parts.source.name) {
        Ok(dead_letters) => dead_letters,
        Err(error) => {
            let detail = format!("the dead letters in {} cannot be opened: {error}", parts.dead_letters.display());
            halt(&parts, Code::LogIo, &detail);
            return None;
        }
    };
    let shaping = Arc::new(tables::shaping(&parts.config.shapes));
    let (patterns, batch) = (parts.config.tables.clone(), parts.config.batch);
    let bytes = usize::try_from(batch.bytes).unwrap_or(usize::MAX);
    let row_bytes_max = parts.config.row_bytes_max.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
    Some(Deliver {
        name: parts.config.name,
        log,
        sink,
        projection: Projection::of_known(kind, Arc::new(move |name| patterns.matches(name)), known).shaped(shaping),
        limits: Limits {
            rows: batch.rows,
            bytes,
            linger: batch.linger,
            row_bytes_max,
            dead_letters_max: parts.config.dead_letters_max,
        },
        on_reject: match parts.config.on_reject {
            config::OnReject::Park => OnReject::Park,
            config::OnReject::DeadLetter => OnReject::DeadLetter,
            config::OnReject::Stop => OnReject::Stop,
        },
        dead_letters,
        orders: parts.orders,
        readback: Readback::new(parts.source.address),
        board: parts.board,
    })
}

pub(super) fn halt(parts: &Parts, code: Code, detail: &str) {
    show_halted(&parts.board, &parts.config.name, code, detail);
}

pub(super) fn show_halted(board: &Board, sink: &str, code: Code, detail: &str) {
    tracing::error!(%sink, %code, detail, "halted");
    board.sink(sink, |status| {
        status.state = State::Halted;
        status.code = Some(code);
        status.message = Some(detail.to_owned());
    });
}
