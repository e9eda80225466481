//! What a sink must know of its tables before it starts.

use std::sync::Arc;

use crate::capture::CaptureError;
use crate::capture::types::Types;
use crate::capture::{catalog, schema};
use crate::config::{self, FileCompression, FileFormat, RedisValue, TablePatterns, Target};
use crate::event::{Relation, TableFilter, TableName};
use crate::http::Reach;
use crate::ingest::Source;
use crate::postgres::connection::{Connection, Purpose};
use crate::project::key::{KeyTemplate, Naming, Place, TemplateError};
use crate::project::known::KnownTables;
use crate::project::shape::{ShapeError, Shaping};
use crate::sink::redis::{DocumentKeys, KeysOf, ValueKind};
#[cfg(feature = "search")]
use crate::sink::tantivy;
use crate::sink::{exec, file, opensearch, postgres, redis, webhook};

/// The tables that a sink takes, as they are published now.
pub(super) async fn relations(source: &Source, patterns: &TablePatterns) -> Result<Vec<Arc<Relation>>, CaptureError> {
    let mut connection = Connection::open(&source.address, Purpose::Query).await?;
    let (mut relations, mut types) = (Vec::new(), Types::default());
    let publication = schema::publication(&mut connection, &source.publication).await?;
    let via_root = publication.is_none_or(|publication| publication.via_root);
    for table in catalog::tables(&mut connection, via_root).await? {
        if (source.tables)(&table.name) && patterns.matches(&table.name) {
            let published = catalog::describe(&mut connection, &table, &source.publication, &mut types).await?;
            relations.push(published.relation);
        }
    }
    connection.close().await;
    Ok(relations)
}

/// The configuration's shapes as the projection's.
pub(super) fn shaping(shapes: &[config::Shape]) -> Shaping {
    let rule = |shape: &config::Shape| {
        let tables = shape.tables.clone();
        let filter: TableFilter = Arc::new(move |name| tables.as_ref().is_none_or(|tables| tables.matches(name)));
        (filter, shape.rule.clone())
    };
    Shaping::new(shapes.iter().map(rule).collect())
}

/// The tables as the sink is told of them, and the columns that its keys may have besides a table's own.
pub(super) fn derived(
    shapes: &[config::Shape],
    relations: &[Arc<Relation>],
) -> Result<Vec<(Arc<Relation>, Vec<String>)>, ShapeError> {
    let shaping = shaping(shapes);
    let derive = |relation: &Arc<Relation>| {
        Ok(match shaping.plan(relation)? {
            Some(plan) => (Arc::clone(plan.relation()), plan.determined().to_vec()),
            None => (Arc::clone(relation), Vec::new()),
        })
    };
    relations.iter().map(derive).collect()
}

/// What a sink's documents are called, and where they are. Whether that fits a table is found when the first event of that comes.
pub(super) fn naming(target: &Target) -> Result<Naming, String> {
    let misread = |name: &str, text: &str, error: TemplateError| format!("{name} = \"{text}\": {error}");
    let template = target.key().map(|text| KeyTemplate::parse(text).map_err(|error| misread("key", text, error)));
    let place =
        |(name, text): (&'static str, &str)| Place::parse(name, text).map_err(|error| misread(name, text, error));
    Ok(Naming {
        template: template.transpose()?,
        places: target.places().into_iter().map(place).collect::<Result<_, _>>()?,
    })
}

/// How the keys of each table's documents are found again when it is truncated. `one_table`: the sink has no other.
fn keys_of(known: Arc<KnownTables>, one_table: bool) -> KeysOf {
    Arc::new(move |table: &TableName| {
        let (known, name) = (known.clone(), table.clone());
        DocumentKeys {
            glob: known.glob(table),
            matches: Arc::new(move |key: &[u8]| known.may_be_ours(&name, key)),
            all: one_table,
        }
    })
}

/// Keys such as the sink's documents have, as far as they can be told without a row.
pub(super) fn sample_keys(sink: &config::Sink) -> Vec<Vec<u8>> {
    let table = sink.tables.only();
    if let config::Target::Redis(redis) = &sink.target
        && let Some(stream) = &redis.form.stream
    {
        return table
            .map(|table| {
                stream.replace("{{", "{").replace("}}", "}").replace("{table}", &table.to_string()).into_bytes()
            })
            .into_iter()
            .collect();
    }
    let sample = match sink.target.key().and_then(|text| KeyTemplate::parse(text).ok()) {
        Some(template) => template.sample(table.as_ref()),
        None => table.map(|table| KeyTemplate::default_sample(&table)),
    };
    sample.into_iter().collect()
}

/// The configuration of a Redis sink as the sink's.
pub(super) fn redis_options(sink: &config::Sink, redis: &config::Redis, known: &Arc<KnownTables>) -> redis::Options {
    let (keys_of, known) = (keys_of(Arc::clone(known), sink.tables.only().is_some()), Arc::clone(known));
    redis::Options {
        name: sink.name.clone(),
        server: redis_server(&redis.server),
        form: redis_form(redis, &sink.source),
        hash_tag: redis.hash_tag.clone(),
        keys_of,
        tables: Arc::new(move || known.tables()),
        is_beside: false,
        response_timeout: redis::RESPONSE_TIMEOUT,
    }
}

/// What its rows become. `source`: the name of theirs.
pub(super) fn redis_form(redis: &config::Redis, source: &str) -> redis::Form {
    let config::RedisForm { value, text, score, entries_max, ttl, ttl_jitter, ttl_column, publish, stream } =
        redis.form.clone();
    // Its braces are doubled, as in a key with columns.
    let stream = stream.map(|name| (name.replace("{{", "{").replace("}}", "}"), source.to_owned()));
    redis::Form { value: value_kind(value), text, score, entries_max, ttl, ttl_jitter, ttl_column, publish, stream }
}

/// Where it is.
pub(super) fn redis_server(server: &config::RedisServer) -> redis::Server {
    let config::RedisServer { url, ca, identity, sentinel_password } = server.clone();
    redis::Server { url, ca, identity, sentinel_password }
}

fn value_kind(value: RedisValue) -> ValueKind {
    match value {
        RedisValue::Json => ValueKind::Json,
        RedisValue::Text => ValueKind::Text,
        RedisValue::Hash => ValueKind::Hash,
        RedisValue::Fields => ValueKind::Fields,
        RedisValue::Invalidate => ValueKind::Invalidate,
        RedisValue::Set => ValueKind::Set,
        RedisValue::List => ValueKind::List,
        RedisValue::SortedSet => ValueKind::SortedSet,
        RedisValue::Stream => ValueKind::Stream,
    }
}

/// The configuration of a local index as the sink's; or what of it the sink does not know.
#[cfg(feature = "search")]
pub(super) fn search_options(name: String, index: config::Tantivy) -> Result<tantivy::Options, String> {
    let usual = analyzer(index.analyzer)?;
    let columns = index.analyzers.into_iter().map(|(column, of)| Ok((column, analyzer(of)?)));
    let columns = columns.collect::<Result<_, String>>()?;
    Ok(tantivy::Options {
        name,
        path: index.path,
        fields: Some(index.fields).filter(|fields| !fields.is_empty()),
        analysis: tantivy::Analysis { usual, columns, facets: index.facets },
        relations: Vec::new(),
        memory_bytes: index.memory,
    })
}

#[cfg(feature = "search")]
fn analyzer(of: config::Analyzer) -> Result<tantivy::Analyzer, String> {
    let found = tantivy::Analyzer::new(of.name, of.stop_words, of.fold);
    found.ok_or_else(|| format!("there is no such analyzer as {of:?}"))
}

/// The configuration of an index as the sink's.
pub(super) fn index_options(index: config::OpenSearch) -> opensearch::Options {
    let config::OpenSearch { addresses, credentials, ca, index, key: _, routing, pipeline, mapping, settings } = index;
    opensearch::Options {
        layout: opensearch::Layout { by_index: index.contains('{'), by_routing: routing.is_some() },
        addresses,
        credentials,
        ca,
        index,
        pipeline,
        is_beside: false,
        mapping,
        settings,
        bulk_bytes_max: opensearch::BULK_BYTES_MAX,
    }
}

/// The configuration of a database as the sink's.
pub(super) fn database_options(name: String, database: config::Postgres) -> postgres::Options {
    let config::Postgres { address, ddl } = database;
    postgres::Options { name, address, ddl, is_beside: false }
}

/// The configuration of a webhook as the sink's.
pub(super) fn webhook_options(name: String, source: String, hook: config::Webhook) -> webhook::Options {
    let config::Webhook { address, allow_private, secret, token, ca, timeout, events_max, checkpoint } = hook;
    let reach = if allow_private { Reach::Anywhere } else { Reach::Public };
    webhook::Options { name, source, address, reach, secret, token, ca, timeout, events_max, checkpoint }
}

/// The configuration of files as the sink's.
pub(super) fn file_options(name: String, source: String, file: config::File) -> file::Options {
    let files = file.files.map(|files| {
        let config::Files { layout, format, compression, rotate_bytes, rotate_after } = files;
        let format = match format {
            FileFormat::Jsonl => file::Format::Jsonl,
            FileFormat::Parquet => file::Format::Parquet,
        };
        let compression = match compression {
            FileCompression::None => file::Compression::None,
            FileCompression::Gzip => file::Compression::Gzip,
            FileCompression::Zstd => file::Compression::Zstd,
        };
        file::Files { layout, format, compression, rotate_bytes, rotate_after }
    });
    file::Options { name, source, path: file.path, files }
}

/// The configuration of a program as the sink's.
pub(super) fn exec_options(name: String, source: String, program: config::Exec) -> exec::Options {
    let config::Exec { command, checkpoint, timeout } = program;
    exec::Options { name, source, command, checkpoint, timeout }
}
