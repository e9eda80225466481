//! `walbridge check`: looks at every source and sink without changing anything.

use std::sync::Arc;

use super::{resolve, tables};
use crate::capture::CaptureError;
use crate::config::{self, Config, Target};
use crate::event::TableName;
use crate::ingest::{Past, preflight};
use crate::postgres::connection::{Connection, Purpose};
use crate::project::key::Naming;
use crate::sink::exec::ExecSink;
use crate::sink::opensearch::OpenSearchSink;
use crate::sink::postgres::PostgresSink;
use crate::sink::redis::RedisSink;
use crate::sink::webhook::WebhookSink;
use crate::status::Code;

/// What a look at a source or sink has found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// `source shop`, `sink user-cache`.
    pub subject: String,
    /// What is wrong; `None` if nothing is.
    pub problem: Option<(Code, String)>,
}

/// Looks at every source and sink.
pub async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &config.sources {
        let problem = look_at_source(source).await.err().map(|error| (error.code(), error.to_string()));
        let reachable = problem.is_none();
        findings.push(Finding { subject: format!("source {}", source.name), problem });
        for sink in config.sinks.iter().filter(|sink| sink.source == source.name) {
            let problem = look_at_sink(source, sink, reachable).await;
            findings.push(Finding { subject: format!("sink {}", sink.name), problem });
        }
    }
    findings
}

/// Whether it can be captured; if so, which tables.
pub(super) async fn look_at_source(source: &config::Source) -> Result<Vec<TableName>, CaptureError> {
    let source = resolve(source);
    let mut replication = Connection::open(&source.address, Purpose::Replication).await?;
    let mut catalog = Connection::open(&source.address.only(replication.host()), Purpose::Query).await?;
    let (_, tables) = preflight(&source, &mut replication, &mut catalog, &Past::default()).await?;
    replication.close().await;
    catalog.close().await;
    Ok(tables.into_iter().map(|table| table.name).collect())
}

/// What is wrong with it, if anything.
pub(super) async fn look_at_sink(
    source: &config::Source,
    sink: &config::Sink,
    source_is_sound: bool,
) -> Option<(Code, String)> {
    if let Some(problem) = look_at_target(source, sink, source_is_sound).await {
        return Some(problem);
    }
    let naming = match tables::naming(&sink.target) {
        Ok(naming) => naming,
        Err(error) => return Some((Code::ConfigInvalid, error)),
    };
    if !source_is_sound || (naming == Naming::default() && sink.shapes.is_empty()) {
        return None;
    }
    // Before the first start there is no publication to learn the tables from; key and shape are then checked at the start.
    let relations = tables::relations(&resolve(source), &sink.tables).await.ok()?;
    let derived = match tables::derived(&sink.shapes, &relations) {
        Ok(derived) => derived,
        Err(error) => return Some((Code::ConfigInvalid, error.to_string())),
    };
    derived.iter().find_map(|(relation, determined)| {
        let error = naming.of(relation, determined).err()?;
        Some((Code::ConfigInvalid, error.to_string()))
    })
}

/// What the target itself says, where it can be asked without changing anything.
async fn look_at_target(source: &config::Source, sink: &config::Sink, source_is_sound: bool) -> Option<(Code, String)> {
    let name = sink.name.clone();
    let looked = match sink.target.clone() {
        Target::Redis(redis) => {
            let options = tables::redis_options(sink, &redis, &Arc::default());
            match RedisSink::new(options) {
                Ok(mut target) => target.rehearse(&tables::sample_keys(sink)).await,
                Err(error) => Err(error),
            }
        }
        Target::OpenSearch(index) => match OpenSearchSink::new(tables::index_options(*index)) {
            Ok(mut sink) => sink.look().await,
            Err(error) => Err(error),
        },
        Target::Postgres(database) => {
            // Before the first start there is no publication to learn the tables from; they are then looked at when their rows come.
            let relations = match source_is_sound {
                true => tables::relations(&resolve(source), &sink.tables).await.unwrap_or_default(),
                false => Vec::new(),
            };
            let relations: Vec<_> = match tables::derived(&sink.shapes, &relations) {
                Ok(derived) => derived.into_iter().map(|(relation, _)| relation).collect(),
                Err(error) => return Some((Code::ConfigInvalid, error.to_string())),
            };
            PostgresSink::new(tables::database_options(name, *database)).look(&relations).await
        }
        Target::Exec(program) => ExecSink::new(tables::exec_options(name, source.name.clone(), *program)).look(),
        Target::Webhook(hook) => match WebhookSink::new(tables::webhook_options(name, source.name.clone(), *hook)) {
            Ok(sink) => sink.look().await,
            Err(error) => Err(error),
        },
        Target::Tantivy { .. } | Target::File(_) | Target::Kafka(_) => Ok(()),
    };
    looked.err().map(|error| (error.code(), error.to_string()))
}
