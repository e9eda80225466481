//! From a sink's configuration to its running loop.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::tables;
use crate::capture::readback::Readback;
use crate::config::{self, Target};
use crate::dead_letter::DeadLetters;
use crate::deliver::{Deliver, Limits, OnReject, Replay};
use crate::ingest::Source;
use crate::log::Log;
use crate::project::key::KeyTemplate;
use crate::project::known::KnownTables;
use crate::project::{Kind, Projection};
use crate::sink::file::{self, FileSink};
#[cfg(feature = "kafka")]
use crate::sink::kafka::{self, KafkaSink};
use crate::sink::opensearch::OpenSearchSink;
use crate::sink::redis::{self, RedisSink};
use crate::sink::{Sink, SinkError};
use crate::status::{Board, Code, State};

/// What a sink's loop is made of.
pub(super) struct Parts {
    pub(super) config: config::Sink,
    pub(super) source: Source,
    pub(super) dead_letters: PathBuf,
    pub(super) board: Board,
    pub(super) orders: mpsc::Receiver<Replay>,
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
    let known = match template(parts.config.target.key()) {
        Ok(template) => Arc::new(KnownTables::new(template)),
        Err(detail) => return halt(&parts, Code::ConfigInvalid, &detail),
    };
    match parts.config.target.clone() {
        Target::Redis { .. } => match redis_sink(&parts, &known) {
            Ok(sink) => deliver(parts, log, sink, Kind::State, known, stop).await,
            Err(error) => halt(&parts, error.code(), &error.to_string()),
        },
        Target::OpenSearch(index) => match OpenSearchSink::new(tables::index_options(*index)) {
            // Large: a request is prepared inside it.
            Ok(sink) => Box::pin(deliver(parts, log, sink, Kind::State, known, stop)).await,
            Err(error) => halt(&parts, error.code(), &error.to_string()),
        },
        Target::File { path } => {
            let source = parts.source.name.clone();
            let sink = FileSink::new(file::Options { name, source, path });
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
        Target::Tantivy { path, fields, .. } => {
            use crate::sink::tantivy::{MEMORY_BYTES_MIN, Options, TantivySink, has_index};
            let fields = Some(fields).filter(|fields| !fields.is_empty());
            // Only a new index must be told what the tables are like.
            let relations = match has_index(&path) {
                true => Vec::new(),
                false => match super::learn::relations(&parts, stop).await {
                    Some(relations) => relations,
                    None => return,
                },
            };
            match TantivySink::new(Options { name, path, fields, relations, memory_bytes: MEMORY_BYTES_MIN }) {
                Ok(sink) => {
                    if let Some(slot) = &parts.search {
                        // A sink's loop is started once.
                        let _ = slot.set(sink.search_handle());
                    }
                    deliver(parts, log, sink, Kind::State, known, stop).await;
                }
                Err(error) => halt(&parts, error.code(), &error.to_string()),
            }
        }
        #[cfg(not(feature = "search"))]
        Target::Tantivy { .. } => {
            halt(&parts, Code::ConfigInvalid, "this walbridge was built without the feature `search`");
        }
    }
}

/// The same where several processes deliver the sink, each some of the log's partitions.
#[cfg(feature = "kafka")]
pub(super) async fn run_shared(parts: Parts, log: crate::log::kafka::Log, stop: &CancellationToken) {
    let known = match template(parts.config.target.key()) {
        Ok(template) => Arc::new(KnownTables::new(template)),
        Err(detail) => return halt(&parts, Code::ConfigInvalid, &detail),
    };
    let sink = match redis_sink(&parts, &known) {
        Ok(sink) => sink,
        Err(error) => return halt(&parts, error.code(), &error.to_string()),
    };
    let patterns = parts.config.tables.clone();
    let group = format!("walbridge.{}.{}", parts.source.name, parts.config.name);
    let share = match log.join(group, Arc::new(move |name| patterns.matches(name))) {
        Ok(share) => share,
        Err(error) => return halt(&parts, error.code(), &error.to_string()),
    };
    if let Some((deliver, _)) = prepare(parts, log, sink, Kind::State, known) {
        // Why it ended is on the board, and in the process's log, by then.
        let _ = deliver.run_shared(share, stop).await;
    }
}

fn redis_sink(parts: &Parts, known: &Arc<KnownTables>) -> Result<RedisSink, SinkError> {
    let Target::Redis { url, value, ttl, .. } = parts.config.target.clone() else {
        let (detail, remedy) = ("it is no Redis sink".to_owned(), "Please report this bug".to_owned());
        return Err(SinkError::Unusable { target: parts.config.name.clone(), detail, remedy });
    };
    RedisSink::new(redis::Options {
        name: parts.config.name.clone(),
        url,
        value: tables::value_kind(value),
        ttl,
        keys_of: tables::keys_of(known.clone(), parts.config.tables.only().is_some()),
        response_timeout: redis::RESPONSE_TIMEOUT,
    })
}

async fn deliver(
    parts: Parts,
    log: impl Log,
    sink: impl Sink,
    kind: Kind,
    known: Arc<KnownTables>,
    stop: &CancellationToken,
) {
    if let Some((deliver, orders)) = prepare(parts, log, sink, kind, known) {
        // Why it ended is on the board, and in the process's log, by then.
        let _ = deliver.run_ordered(orders, stop).await;
    }
}

/// The loop, and who may give it orders. `None`: it has halted.
fn prepare<L: Log, S: Sink>(
    parts: Parts,
    log: L,
    sink: S,
    kind: Kind,
    known: Arc<KnownTables>,
) -> Option<(Deliver<L, S>, mpsc::Receiver<Replay>)> {
    let dead_letters = match DeadLetters::open(&parts.dead_letters, &parts.config.name, &parts.source.name) {
        Ok(dead_letters) => dead_letters,
        Err(error) => {
            let detail = format!("the dead letters in {} cannot be opened: {error}", parts.dead_letters.display());
            halt(&parts, Code::LogIo, &detail);
            return None;
        }
    };
    let (patterns, batch) = (parts.config.tables.clone(), parts.config.batch);
    let bytes = usize::try_from(batch.bytes).unwrap_or(usize::MAX);
    let row_bytes_max = parts.config.row_bytes_max.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
    let deliver = Deliver {
        name: parts.config.name,
        log,
        sink,
        projection: Projection::of_known(kind, Arc::new(move |name| patterns.matches(name)), known),
        limits: Limits { rows: batch.rows, bytes, linger: batch.linger, row_bytes_max },
        on_reject: match parts.config.on_reject {
            config::OnReject::DeadLetter => OnReject::DeadLetter,
            config::OnReject::Stop => OnReject::Stop,
        },
        dead_letters,
        readback: Readback::new(parts.source.address),
        board: parts.board,
    };
    Some((deliver, parts.orders))
}

/// The configured key template. Whether it fits a table is found when the first event of that comes.
fn template(text: Option<&str>) -> Result<Option<KeyTemplate>, String> {
    let parse = |text| KeyTemplate::parse(text).map_err(|error| format!("key = \"{text}\": {error}"));
    text.map(parse).transpose()
}

fn halt(parts: &Parts, code: Code, detail: &str) {
    tracing::error!(sink = %parts.config.name, %code, detail, "halted");
    parts.board.sink(&parts.config.name, |status| {
        status.state = State::Halted;
        status.code = Some(code);
        status.message = Some(detail.to_owned());
    });
}
