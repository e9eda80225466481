//! What a sink must know of its tables before it starts.

use std::collections::HashMap;
use std::sync::Arc;

use crate::capture::CaptureError;
use crate::capture::catalog;
use crate::capture::connection::{Connection, Purpose};
use crate::config::{RedisValue, TablePatterns};
use crate::event::{Relation, TableName};
use crate::ingest::Source;
use crate::project::key::KeyTemplate;
use crate::sink::redis::{DocumentKeys, KeysOf, ValueKind};

/// The tables that a sink takes, as they are published now.
pub(super) async fn relations(source: &Source, patterns: &TablePatterns) -> Result<Vec<Arc<Relation>>, CaptureError> {
    let mut connection = Connection::open(&source.address, Purpose::Query).await?;
    let mut relations = Vec::new();
    for table in catalog::tables(&mut connection).await? {
        if (source.tables)(&table.name) && patterns.matches(&table.name) {
            let published = catalog::describe(&mut connection, &table, &source.publication).await?;
            relations.push(published.relation);
        }
    }
    connection.close().await;
    Ok(relations)
}

/// How the keys of each table's documents are found again when it is truncated.
pub(super) fn keys_of(template: Option<&KeyTemplate>, relations: &[Arc<Relation>]) -> KeysOf {
    let all = relations.len() == 1;
    let patterns: HashMap<TableName, (KeyTemplate, Arc<Relation>)> = relations
        .iter()
        .map(|relation| {
            let template = template.cloned().unwrap_or_else(|| KeyTemplate::default_for(relation));
            (relation.name.clone(), (template, relation.clone()))
        })
        .collect();
    Arc::new(move |table: &TableName| match patterns.get(table).cloned() {
        Some((template, relation)) => DocumentKeys {
            glob: template.glob(),
            matches: Arc::new(move |key: &[u8]| template.may_be_ours(&relation, key)),
            all,
        },
        // A table made since the start: nothing of it is told apart from what is not ours, so nothing is removed.
        None => DocumentKeys { glob: Vec::new(), matches: Arc::new(|_: &[u8]| false), all: false },
    })
}

/// The configuration's word for it as the sink's.
pub(super) fn value_kind(value: RedisValue) -> ValueKind {
    match value {
        RedisValue::Json => ValueKind::Json,
        RedisValue::Hash => ValueKind::Hash,
        RedisValue::Invalidate => ValueKind::Invalidate,
    }
}
