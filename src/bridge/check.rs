//! `walbridge check`: looks at every source and sink without changing anything.

use std::sync::Arc;

use super::{resolve, tables};
use crate::capture::CaptureError;
use crate::capture::connection::{Connection, Purpose};
use crate::config::{self, Config, Target};
use crate::event::TableName;
use crate::ingest::{Past, preflight};
use crate::project::key::KeyTemplate;
use crate::sink::opensearch::OpenSearchSink;
use crate::sink::{Sink as _, redis};
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
    if let Target::Redis { url, value, ttl, .. } = &sink.target {
        // Connecting reads the checkpoint, and changes nothing.
        let options = redis::Options {
            name: sink.name.clone(),
            url: url.clone(),
            value: tables::value_kind(*value),
            ttl: *ttl,
            keys_of: tables::keys_of(Arc::default(), false),
            response_timeout: redis::RESPONSE_TIMEOUT,
        };
        let looked = match redis::RedisSink::new(options) {
            Ok(mut sink) => sink.resume().await.err(),
            Err(error) => Some(error),
        };
        if let Some(error) = looked {
            return Some((error.code(), error.to_string()));
        }
    }
    if let Target::OpenSearch(index) = &sink.target {
        let looked = match OpenSearchSink::new(tables::index_options((**index).clone())) {
            Ok(mut sink) => sink.look().await.err(),
            Err(error) => Some(error),
        };
        if let Some(error) = looked {
            return Some((error.code(), error.to_string()));
        }
    }
    let text = sink.target.key()?;
    let template = match KeyTemplate::parse(text) {
        Ok(template) => template,
        Err(error) => return Some((Code::ConfigInvalid, format!("key = \"{text}\": {error}"))),
    };
    if !source_is_sound {
        return None;
    }
    // Before the first start there is no publication to learn the tables from; the key is then checked at the start.
    let relations = tables::relations(&resolve(source), &sink.tables).await.ok()?;
    relations.iter().find_map(|relation| {
        let error = template.check(relation).err()?;
        Some((Code::ConfigInvalid, format!("key = \"{text}\" for table {}: {error}", relation.name)))
    })
}
