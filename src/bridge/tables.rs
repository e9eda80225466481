//! What a sink must know of its tables before it starts.

use std::sync::Arc;

use crate::capture::CaptureError;
use crate::capture::connection::{Connection, Purpose};
use crate::capture::types::Types;
use crate::capture::{catalog, schema};
use crate::config::{self, RedisValue, TablePatterns};
use crate::event::{Relation, TableName};
use crate::ingest::Source;
use crate::project::known::KnownTables;
use crate::sink::opensearch;
use crate::sink::redis::{DocumentKeys, KeysOf, ValueKind};

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

/// How the keys of each table's documents are found again when it is truncated. `one_table`: the sink has no other.
pub(super) fn keys_of(known: Arc<KnownTables>, one_table: bool) -> KeysOf {
    Arc::new(move |table: &TableName| {
        let (known, name) = (known.clone(), table.clone());
        DocumentKeys {
            glob: known.glob(table),
            matches: Arc::new(move |key: &[u8]| known.may_be_ours(&name, key)),
            all: one_table,
        }
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

/// The configuration of an index as the sink's.
pub(super) fn index_options(index: config::OpenSearch) -> opensearch::Options {
    let config::OpenSearch { address, credentials, ca, index, key: _, mapping, settings } = index;
    let bulk_bytes_max = opensearch::BULK_BYTES_MAX;
    opensearch::Options { address, credentials, ca, index, mapping, settings, bulk_bytes_max }
}
