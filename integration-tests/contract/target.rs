//! The targets, each behind the same few calls: open a sink on it, read it from outside, harm it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use walbridge::event::TableName;
use walbridge::http::Address;
use walbridge::project::key::KeyTemplate;
use walbridge::project::mutation::Mutation;
use walbridge::sink::file::{self, FileSink};
use walbridge::sink::opensearch::{self, OpenSearchSink};
use walbridge::sink::redis::{self as redis_sink, DocumentKeys, RedisSink, ValueKind};
#[cfg(feature = "search")]
use walbridge::sink::tantivy::{self, SearchHandle, SearchRequest, TantivySink};
use walbridge::sink::{Checkpoint, KeyPage, Rejection, Sink, SinkError, Staged};

use super::world::{Documents, Values, World};
use crate::support::{OpenSearch, Redis};

/// A target of some kind, empty at first, with a place of its own.
pub(super) struct Target {
    pub(super) kind: Kind,
    server: Option<Redis>,
    node: Option<(Arc<OpenSearch>, String)>,
    home: TempDir,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    RedisJson,
    RedisHash,
    #[cfg(feature = "search")]
    Tantivy,
    OpenSearch,
    File,
}

const KINDS: &[Kind] = &[
    Kind::RedisJson,
    Kind::RedisHash,
    #[cfg(feature = "search")]
    Kind::Tantivy,
    Kind::OpenSearch,
    Kind::File,
];

/// Any of the sinks.
pub(super) enum AnySink {
    Redis(Box<RedisSink>),
    #[cfg(feature = "search")]
    Tantivy(TantivySink),
    OpenSearch(Box<OpenSearchSink>),
    File(FileSink),
}

impl Sink for AnySink {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        match self {
            AnySink::Redis(sink) => sink.resume().await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.resume().await,
            AnySink::OpenSearch(sink) => sink.resume().await,
            AnySink::File(sink) => sink.resume().await,
        }
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        match self {
            AnySink::Redis(sink) => sink.stage(mutations).await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.stage(mutations).await,
            AnySink::OpenSearch(sink) => sink.stage(mutations).await,
            AnySink::File(sink) => sink.stage(mutations).await,
        }
    }

    async fn keys(&mut self, table: &TableName, from: Option<u64>) -> Result<KeyPage, SinkError> {
        match self {
            AnySink::Redis(sink) => sink.keys(table, from).await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.keys(table, from).await,
            AnySink::OpenSearch(sink) => sink.keys(table, from).await,
            AnySink::File(sink) => sink.keys(table, from).await,
        }
    }

    async fn flush(&mut self) -> Result<Vec<Rejection>, SinkError> {
        match self {
            AnySink::Redis(sink) => sink.flush().await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.flush().await,
            AnySink::OpenSearch(sink) => sink.flush().await,
            AnySink::File(sink) => sink.flush().await,
        }
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        match self {
            AnySink::Redis(sink) => sink.commit(upto).await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.commit(upto).await,
            AnySink::OpenSearch(sink) => sink.commit(upto).await,
            AnySink::File(sink) => sink.commit(upto).await,
        }
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        match self {
            AnySink::Redis(sink) => sink.probe().await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => sink.probe().await,
            AnySink::OpenSearch(sink) => sink.probe().await,
            AnySink::File(sink) => sink.probe().await,
        }
    }
}

impl Target {
    /// One of each kind, one after the other.
    pub(super) fn each() -> impl Iterator<Item = Target> {
        KINDS.iter().map(|&kind| {
            let durable = ["--appendonly", "yes", "--appendfsync", "always"];
            let server = matches!(kind, Kind::RedisJson | Kind::RedisHash).then(|| Redis::start(&durable));
            let home = tempfile::Builder::new().prefix("walbridge-contract-").tempdir().expect("a directory");
            // The test's output is shown if it fails: the last line names the sink.
            println!("{kind:?}");
            let node = (kind == Kind::OpenSearch).then(|| (OpenSearch::shared(), OpenSearch::name()));
            Target { kind, server, node, home }
        })
    }

    /// Whether its readers are promised that they see each transaction whole.
    pub(super) fn shows_whole_transactions(&self) -> bool {
        !matches!(self.kind, Kind::File | Kind::OpenSearch)
    }

    pub(super) fn keeps_history(&self) -> bool {
        self.kind == Kind::File
    }

    /// Makes a sink; nothing is opened yet.
    pub(super) fn open(&self, world: &World) -> AnySink {
        let name = "contract".to_owned();
        match self.kind {
            Kind::RedisJson => AnySink::Redis(Box::new(self.redis(ValueKind::Json, world))),
            Kind::RedisHash => AnySink::Redis(Box::new(self.redis(ValueKind::Hash, world))),
            #[cfg(feature = "search")]
            Kind::Tantivy => {
                let options = tantivy::Options {
                    name,
                    path: self.path(),
                    fields: None,
                    relations: world.relations().to_vec(),
                    memory_bytes: tantivy::MEMORY_BYTES_MIN,
                };
                AnySink::Tantivy(TantivySink::new(options).expect("sound options"))
            }
            Kind::OpenSearch => AnySink::OpenSearch(Box::new(self.opensearch())),
            Kind::File => {
                let source = world.relations()[0].name.schema.clone();
                AnySink::File(FileSink::new(file::Options { name, source, path: self.path() }))
            }
        }
    }

    fn opensearch(&self) -> OpenSearchSink {
        let (node, index) = self.node();
        let options = opensearch::Options {
            address: Address::parse(&node.url()).expect("a URL"),
            credentials: None,
            ca: None,
            index: index.clone(),
            mapping: Default::default(),
            settings: Default::default(),
            bulk_bytes_max: opensearch::BULK_BYTES_MAX,
        };
        OpenSearchSink::new(options).expect("sound options")
    }

    fn node(&self) -> &(Arc<OpenSearch>, String) {
        self.node.as_ref().expect("an OpenSearch target")
    }

    fn redis(&self, value: ValueKind, world: &World) -> RedisSink {
        let relations = world.relations().to_vec();
        let keys_of = move |table: &TableName| {
            let relation = relations.iter().find(|relation| relation.name == *table).expect("one of the two").clone();
            let template = KeyTemplate::default_for(&relation);
            let glob = template.glob();
            DocumentKeys { glob, matches: Arc::new(move |key: &[u8]| template.may_be_ours(&relation, key)), all: false }
        };
        let options = redis_sink::Options {
            name: "contract".to_owned(),
            url: self.server().url().into(),
            value,
            ttl: None,
            keys_of: Arc::new(keys_of),
            response_timeout: Duration::from_secs(20),
        };
        RedisSink::new(options).expect("an address")
    }

    fn server(&self) -> &Redis {
        self.server.as_ref().expect("a Redis target")
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("target")
    }

    /// Everything in it, as an outsider reads it.
    pub(super) async fn documents(&self, sink: &AnySink) -> Documents {
        match sink {
            AnySink::Redis(_) => self.redis_documents().await,
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => tantivy_documents(&sink.search_handle()),
            AnySink::OpenSearch(_) => self.node_documents().await,
            AnySink::File(_) => self.file_documents(),
        }
    }

    async fn node_documents(&self) -> Documents {
        let (node, index) = self.node();
        let documents = node.documents(index).await.into_iter();
        let document = |(id, mut document): (String, Value)| {
            let table = document.as_object_mut().and_then(|fields| fields.remove("_walbridge"));
            let table = table.as_ref().map(|own| own["table"].as_str().unwrap_or_default().to_owned());
            assert_eq!(table.as_deref(), id.rsplit_once(':').map(|(table, _)| table));
            (id, values_of(&document))
        };
        documents.map(document).collect()
    }

    async fn redis_documents(&self) -> Documents {
        let mut connection = self.server().connection().await;
        let mut keys: Vec<String> =
            redis::cmd("KEYS").arg("public.*").query_async(&mut connection).await.expect("KEYS");
        keys.sort();
        let mut documents = Documents::new();
        for key in keys {
            let values = if self.kind == Kind::RedisHash {
                let fields: BTreeMap<String, String> =
                    redis::cmd("HGETALL").arg(&key).query_async(&mut connection).await.expect("HGETALL");
                let value = |column: &str| (column.to_owned(), fields.get(column).cloned());
                ["id", "name", "amount", "big"].map(value).into()
            } else {
                let json: String = redis::cmd("GET").arg(&key).query_async(&mut connection).await.expect("GET");
                values_of(&serde_json::from_str(&json).expect("a JSON document"))
            };
            documents.insert(key, values);
        }
        documents
    }

    /// The history in the file, replayed. A line that is there twice, or half, does not go unnoticed.
    fn file_documents(&self) -> Documents {
        let text = std::fs::read_to_string(self.path()).unwrap_or_default();
        assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
        let (mut documents, mut copied, mut last) = (Documents::new(), None, None);
        for line in text.lines() {
            let event: Value = serde_json::from_str(line).expect("a line of JSON");
            let position = (event["position"]["commit_lsn"].to_string(), event["position"]["ordinal"].as_u64());
            let position = (u64::from_str_radix(&position.0[3..position.0.len() - 1], 16).ok(), position.1);
            assert!(Some(position) > last, "{position:?} after {last:?}");
            last = Some(position);
            replay(&event, &mut documents, &mut copied);
        }
        documents
    }

    /// The amounts of two rows at one moment. `None` for a target whose readers are promised no such thing.
    pub(super) async fn two_amounts(&self, reader: &Reader, keys: [&str; 2]) -> Option<[i64; 2]> {
        match reader {
            Reader::Redis(connection) => {
                let mut pipeline = redis::pipe();
                pipeline.atomic();
                for key in keys {
                    if self.kind == Kind::RedisHash {
                        pipeline.cmd("HGET").arg(key).arg("amount");
                    } else {
                        pipeline.cmd("GET").arg(key);
                    }
                }
                let found: [Option<String>; 2] =
                    pipeline.query_async(&mut connection.clone()).await.expect("a transaction of reads");
                let amount = |text: Option<String>| {
                    if self.kind == Kind::RedisHash {
                        text?.parse().ok()
                    } else {
                        serde_json::from_str::<Value>(&text?).ok()?["amount"].as_i64()
                    }
                };
                let [one, other] = found.map(amount);
                Some([one?, other?])
            }
            #[cfg(feature = "search")]
            Reader::Tantivy(handle) => {
                let documents = tantivy_documents(handle);
                let amount = |key: &str| documents.get(key)?.get("amount")?.as_ref()?.parse().ok();
                Some([amount(keys[0])?, amount(keys[1])?])
            }
            Reader::Node(..) | Reader::None => None,
        }
    }

    /// The keys of all documents at one moment. `None` for a target whose readers are promised no such thing.
    pub(super) async fn keys_seen(&self, reader: &Reader) -> Option<BTreeSet<String>> {
        match reader {
            Reader::Redis(connection) => {
                let mut connection = connection.clone();
                Some(redis::cmd("KEYS").arg("public.*").query_async(&mut connection).await.expect("KEYS"))
            }
            #[cfg(feature = "search")]
            Reader::Tantivy(handle) => Some(tantivy_documents(handle).into_keys().collect()),
            Reader::Node(node, index) => Some(node.documents(index).await.into_iter().map(|(id, _)| id).collect()),
            Reader::None => None,
        }
    }

    pub(super) async fn reader(&self, sink: &AnySink) -> Reader {
        match sink {
            AnySink::Redis(_) => Reader::Redis(self.server().connection().await),
            #[cfg(feature = "search")]
            AnySink::Tantivy(sink) => Reader::Tantivy(sink.search_handle()),
            AnySink::OpenSearch(_) => Reader::Node(Arc::clone(&self.node().0), self.node().1.clone()),
            AnySink::File(_) => Reader::None,
        }
    }

    /// Takes everything away, behind the back of whoever has it open.
    pub(super) async fn empty(&self) {
        match self.kind {
            Kind::RedisJson | Kind::RedisHash => {
                let mut connection = self.server().connection().await;
                let () = redis::cmd("FLUSHALL").query_async(&mut connection).await.expect("FLUSHALL");
            }
            #[cfg(feature = "search")]
            Kind::Tantivy => std::fs::remove_dir_all(self.path()).expect("a directory to remove"),
            Kind::OpenSearch => {
                let (node, index) = self.node();
                node.ask(reqwest::Method::DELETE, &format!("/{index}-1"), None).await;
                node.ask(reqwest::Method::DELETE, &format!("/.walbridge/_doc/{index}"), None).await;
            }
            Kind::File => std::fs::remove_file(self.path()).expect("a file to remove"),
        }
    }

    /// As new.
    pub(super) async fn empty_if_filled(&self) {
        if self.server.is_some() || self.node.is_some() || self.path().exists() {
            self.empty().await;
        }
    }

    /// Ends what serves it with SIGKILL, and starts it again. An embedded target has nothing but its sink, which a test
    /// drops; the node is other tests' too.
    pub(super) fn restart(&mut self) {
        if let Some(server) = &mut self.server {
            server.kill9();
            server.start_again();
        }
    }
}

/// Reads while a sink writes.
pub(super) enum Reader {
    Redis(redis::aio::MultiplexedConnection),
    #[cfg(feature = "search")]
    Tantivy(SearchHandle),
    Node(Arc<OpenSearch>, String),
    None,
}

#[cfg(feature = "search")]
fn tantivy_documents(handle: &SearchHandle) -> Documents {
    let request = SearchRequest { q: "*".to_owned(), fields: None, limit: 1000, offset: 0, highlight: false };
    let answer = handle.search(&request).expect("a search");
    assert_eq!(answer.total, answer.hits.len(), "all of them");
    let document = |json: &str| values_of(&serde_json::from_str(json).expect("a JSON document"));
    let found: Vec<_> = answer.hits.into_iter().map(|hit| (hit.key, document(hit.document.get()))).collect();
    let (count, documents) = (found.len(), Documents::from_iter(found));
    assert_eq!(documents.len(), count, "each key once");
    documents
}

/// A JSON document's values as text.
fn values_of(document: &Value) -> Values {
    let text = |value: &Value| match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => Some(value.to_string()),
    };
    document.as_object().expect("an object").iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

/// What a line of history does to the documents. `copied` are those put since a table's copy began.
fn replay(event: &Value, documents: &mut Documents, copied: &mut Option<BTreeSet<String>>) {
    let table =
        format!("{}.{}", event["schema"].as_str().expect("a schema"), event["table"].as_str().expect("a table"));
    let key_of = |row: &Value| format!("{table}:{}", values_of(row)["id"].as_deref().expect("an id"));
    if event["copy"] == "begun" {
        return *copied = Some(BTreeSet::new());
    }
    if event["op"] == "message" {
        assert_eq!(event["prefix"], "walbridge.copy");
        let copied = copied.take().expect("a copy that has begun");
        return documents.retain(|key, _| !key.starts_with(&format!("{table}:")) || copied.contains(key));
    }
    if event["op"] == "truncate" {
        return documents.retain(|key, _| !key.starts_with(&format!("{table}:")));
    }
    let before = event["before"].is_object().then(|| key_of(&event["before"]));
    let older = documents.remove(before.as_ref().unwrap_or(&key_of(&event["key"])));
    if event["after"].is_object() {
        let mut values = values_of(&event["after"]);
        for column in event["unchanged"].as_array().expect("a list") {
            let column = column.as_str().expect("a column's name");
            let value = older.as_ref().expect("an older row")[column].clone();
            values.insert(column.to_owned(), value);
        }
        copied.iter_mut().for_each(|copied| _ = copied.insert(key_of(&event["after"])));
        documents.insert(key_of(&event["after"]), values);
    }
}
