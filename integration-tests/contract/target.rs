//! The targets, each behind the same few calls: open a sink on it, read it from outside, harm it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use serde_json::Value;
use tempfile::TempDir;
use walbridge::http::{Address, Reach};
use walbridge::project::known::KnownTables;
use walbridge::project::layout::Layout;
use walbridge::project::shape::Shaping;
use walbridge::project::{self, Projection};
use walbridge::sink::file::{self, FileSink};
use walbridge::sink::opensearch::OpenSearchSink;
#[cfg(feature = "search")]
use walbridge::sink::tantivy::{self, SearchHandle, SearchRequest, TantivySink};
use walbridge::sink::webhook::{self, WebhookSink};

use super::any::AnySink;
use super::cache::Cache;
use super::database;
use super::history;
#[cfg(feature = "search")]
use super::history::values_of;
use super::index::{self, Index};
use super::kind::{Kind, Promise};
use super::program;
use super::world::{Documents, World};
use crate::support::{Direction, OpenSearch, PgOptions, Postgres, Proxy, Receiver, Redis, store};

/// A target of some kind, empty at first, with a place of its own.
pub(super) struct Target {
    pub(super) kind: Kind,
    /// Changes were retried: they may stand behind later ones of other rows.
    pub(super) has_retries: bool,
    /// The columns of its documents.
    pub(super) columns: Vec<String>,
    place: Place,
    home: TempDir,
    /// Stands before its server once [`Target::cut_after`] was asked for.
    proxy: Option<Proxy>,
    /// So many bytes reach a program before its input ends.
    program_reads: Option<u64>,
    began: Instant,
}

enum Place {
    Cache(Cache),
    Index(Index),
    Database(Box<Postgres>),
    Receiver(Receiver),
    /// Below its home.
    Here,
}

impl Target {
    /// One of each kind that a promise is tried on, one after the other.
    ///
    /// Servers of which targets have a part each are the test's own or, of OpenSearch, all tests'. That one is held from the beginning to the end, for the next
    /// test to find it running: it takes longer to start than most tests take.
    pub(super) fn each(promise: Promise) -> impl Iterator<Item = Target> {
        let kinds = Kind::of(promise);
        let node = kinds.iter().any(|kind| kind.is_opensearch()).then(OpenSearch::shared);
        let mut server = None;
        kinds.into_iter().map(move |kind| {
            // The test's output is shown if it fails: the last line names the sink.
            println!("{kind:?}");
            Target::of(kind, node.as_ref(), &mut server)
        })
    }

    /// One alone.
    pub(super) fn only(kind: Kind) -> Target {
        let node = kind.is_opensearch().then(OpenSearch::shared);
        Target::of(kind, node.as_ref(), &mut None)
    }

    fn of(kind: Kind, node: Option<&Arc<OpenSearch>>, server: &mut Option<Arc<Mutex<Redis>>>) -> Target {
        let place = match kind {
            Kind::RedisCluster | Kind::RedisSpread => Place::Cache(Cache::in_cluster(kind)),
            _ if kind.is_redis() => Place::Cache(Cache::on(Arc::clone(server.get_or_insert_with(Cache::server)), kind)),
            _ if kind.is_opensearch() => Place::Index(Index::on(Arc::clone(node.expect("a node")), kind)),
            Kind::Postgres => Place::Database(Box::new(Postgres::start(PgOptions::default()))),
            Kind::Webhook => Place::Receiver(Receiver::start()),
            _ => Place::Here,
        };
        Target {
            kind,
            has_retries: false,
            columns: ["id", "name", "amount", "big"].map(str::to_owned).to_vec(),
            place,
            home: tempfile::Builder::new().prefix("walbridge-contract-").tempdir().expect("a directory"),
            proxy: None,
            program_reads: None,
            began: Instant::now(),
        }
    }

    pub(super) fn keeps_history(&self) -> bool {
        self.kind.keeps_history()
    }

    /// What a loop makes of events for it, shaped so, or as its kind asks for.
    pub(super) fn projection(&self, shaping: &Arc<Shaping>) -> Projection {
        let (kind, index) = match &self.place {
            Place::Index(index) => (project::Kind::State, &*index.name),
            _ if self.keeps_history() => (project::Kind::History, ""),
            _ => (project::Kind::State, ""),
        };
        let known = Arc::new(KnownTables::new(self.kind.naming(index)));
        let shaping = if self.kind.is_placed() { index::placed() } else { Arc::clone(shaping) };
        Projection::of_known(kind, Arc::new(|_| true), known).shaped(shaping)
    }

    /// Makes a sink; nothing is opened yet.
    pub(super) fn open(&self, world: &World) -> AnySink {
        match &self.place {
            Place::Cache(cache) => AnySink::Redis(Box::new(cache.sink(world, self.port()))),
            Place::Index(index) => {
                AnySink::OpenSearch(Box::new(OpenSearchSink::new(index.options(self.port())).expect("sound options")))
            }
            Place::Database(_) => AnySink::Postgres(Box::new(database::sink(self.port()))),
            Place::Receiver(_) => AnySink::Webhook(Box::new(self.webhook(world))),
            Place::Here => self.embedded(world),
        }
    }

    fn embedded(&self, world: &World) -> AnySink {
        match self.kind {
            #[cfg(feature = "search")]
            Kind::Tantivy => AnySink::Tantivy(TantivySink::new(self.tantivy_options(world)).expect("sound options")),
            Kind::Exec => AnySink::Exec(Box::new(program::sink(world, &self.path(), self.program_reads))),
            _ => {
                let source = world.relations()[0].name.schema.clone();
                let name = "contract".to_owned();
                AnySink::File(FileSink::new(file::Options { name, source, path: self.path(), files: self.files() }))
            }
        }
    }

    fn files(&self) -> Option<file::Files> {
        let (layout, format, rotate_bytes) = match self.kind {
            // Of both tables in one directory, so that the names tell the order of all.
            Kind::Files => ("all", file::Format::Jsonl, 2000),
            // Readers of Parquet see what is finished.
            Kind::Parquet => ("{schema}/{table}", file::Format::Parquet, 1),
            _ => return None,
        };
        let layout = Layout::parse(layout).expect("a layout");
        let rotate_after = Duration::from_secs(3600);
        Some(file::Files { layout, format, compression: file::Compression::Zstd, rotate_bytes, rotate_after })
    }

    #[cfg(feature = "search")]
    pub(super) fn tantivy_options(&self, world: &World) -> tantivy::Options {
        tantivy::Options {
            name: "contract".to_owned(),
            path: self.path(),
            fields: None,
            analysis: tantivy::Analysis::default(),
            relations: world.derived(),
            memory_bytes: tantivy::MEMORY_BYTES_MIN,
        }
    }

    pub(super) fn index(&self) -> &Index {
        let Place::Index(index) = &self.place else { panic!("{:?} is no index", self.kind) };
        index
    }

    pub(super) fn cache(&self) -> &Cache {
        let Place::Cache(cache) = &self.place else { panic!("{:?} is no cache", self.kind) };
        cache
    }

    pub(super) fn database(&self) -> &Postgres {
        let Place::Database(database) = &self.place else { panic!("{:?} is no database", self.kind) };
        database
    }

    fn webhook(&self, world: &World) -> WebhookSink {
        let options = webhook::Options {
            name: "contract".to_owned(),
            source: world.relations()[0].name.schema.clone(),
            address: Address::parse(&format!("http://127.0.0.1:{}/hook", self.port())).expect("a URL"),
            reach: Reach::Anywhere,
            secret: None,
            token: None,
            ca: None,
            timeout: Duration::from_secs(20),
            events_max: 7,
            checkpoint: self.path(),
        };
        WebhookSink::new(options).expect("sound options")
    }

    fn path(&self) -> PathBuf {
        self.home.path().join("target")
    }

    /// Where sinks find it: its server, or the proxy before that.
    pub(super) fn port(&self) -> u16 {
        self.proxy.as_ref().map_or_else(|| self.server_port(), |proxy| proxy.port)
    }

    fn server_port(&self) -> u16 {
        match &self.place {
            Place::Cache(cache) => cache.port(),
            Place::Index(index) => index.port(),
            Place::Database(database) => database.port,
            Place::Receiver(receiver) => receiver.port,
            Place::Here => 0,
        }
    }

    /// What is between its sinks and its server, from the next sink on; `None`: there is no server.
    pub(super) fn proxy(&mut self) -> Option<&Proxy> {
        if self.proxy.is_none() && !matches!(self.place, Place::Here) {
            self.proxy = Some(Proxy::start(self.server_port()));
        }
        self.proxy.as_ref()
    }

    /// Lets so many bytes pass, then breaks the connection, or ends the program's input.
    pub(super) fn cut_after(&mut self, direction: Direction, bytes: u64) {
        if let Some(proxy) = self.proxy() {
            proxy.cut_after(direction, bytes);
        } else {
            self.program_reads = Some(bytes);
        }
    }

    /// Ends that.
    pub(super) fn heal(&mut self) {
        self.proxy.iter().for_each(Proxy::heal);
        self.program_reads = None;
    }

    /// Everything in it, as an outsider reads it.
    pub(super) async fn documents(&self, sink: &AnySink) -> Documents {
        match (&self.place, sink) {
            (Place::Cache(cache), _) => cache.documents(&self.columns, self.has_retries).await,
            (Place::Index(index), _) => index.documents().await,
            (Place::Database(database), _) => database::documents(database, &self.columns).await,
            (Place::Receiver(_), _) => history::documents(history::once(self.told()), self.has_retries),
            #[cfg(feature = "search")]
            (Place::Here, AnySink::Tantivy(sink)) => tantivy_documents(&sink.search_handle()),
            (Place::Here, AnySink::Exec(_)) => program::documents(&self.path()),
            (Place::Here, _) => self.file_documents(),
        }
    }

    /// What a webhook's receiver has acknowledged.
    pub(super) fn told(&self) -> Vec<Value> {
        let Place::Receiver(receiver) = &self.place else { panic!("{:?} is no webhook", self.kind) };
        receiver.events()
    }

    /// The history in the files, replayed. A line that is there twice, or half, does not go unnoticed.
    fn file_documents(&self) -> Documents {
        let events = match self.kind {
            Kind::Files => store::lines(&self.path()).into_values().next().unwrap_or_default(),
            Kind::Parquet => history::of_parquet(store::parquet(&self.path())),
            _ => {
                let text = std::fs::read_to_string(self.path()).unwrap_or_default();
                assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
                text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
            }
        };
        history::documents(events, self.has_retries)
    }

    /// What the world has after so many transactions is what it has.
    pub(super) async fn assert_after(&self, sink: &AnySink, world: &World, transactions: usize, what: &str) {
        self.assert_holds(sink, world.documents_after(transactions), what).await;
    }

    /// The same with documents of a test's own.
    pub(super) async fn assert_holds(&self, sink: &AnySink, documents: &Documents, what: &str) {
        let (found, wanted) = (self.documents(sink).await, self.kind.kept(documents));
        let keys = found.keys().chain(wanted.keys()).collect::<BTreeSet<_>>().into_iter();
        let differing: Vec<_> = keys.filter(|key| found.get(*key) != wanted.get(*key)).collect();
        let told: Vec<_> = differing.iter().take(3).map(|key| (key, found.get(*key), wanted.get(*key))).collect();
        assert!(differing.is_empty(), "{:?} {what}: {} differ, {told:.600?}", self.kind, differing.len());
    }

    /// The amounts of two rows of `items` at one moment. `None` for a target whose readers are promised no such thing.
    pub(super) async fn two_amounts(&self, reader: &Reader, ids: [i64; 2]) -> Option<[i64; 2]> {
        match (reader, &self.place) {
            (Reader::Redis(connection), Place::Cache(cache)) => cache.two_amounts(connection, ids).await,
            #[cfg(feature = "search")]
            (Reader::Tantivy(handle), _) => {
                let documents = tantivy_documents(handle);
                let amount =
                    |id: i64| documents.get(&format!("public.items:{id}"))?.get("amount")?.as_ref()?.parse().ok();
                Some([amount(ids[0])?, amount(ids[1])?])
            }
            (Reader::Postgres(client), _) => database::two_amounts(client, ids).await,
            _ => None,
        }
    }

    /// The keys of all documents at one moment. `None` for a target whose readers are promised no such thing.
    pub(super) async fn keys_seen(&self, reader: &Reader) -> Option<BTreeSet<String>> {
        match (reader, &self.place) {
            (Reader::Redis(connection), Place::Cache(cache)) => cache.keys_seen(connection).await,
            #[cfg(feature = "search")]
            (Reader::Tantivy(handle), _) => Some(tantivy_documents(handle).into_keys().collect()),
            // An index that is being made cannot be searched, nor can others beside it.
            (Reader::None, Place::Index(index)) if self.kind != Kind::OpenSearchIndexes => {
                Some(index.documents().await.into_keys().collect())
            }
            (Reader::Postgres(client), _) => Some(database::keys_seen(client).await),
            _ => None,
        }
    }

    pub(super) async fn reader(&self, sink: &AnySink) -> Reader {
        match (&self.place, sink) {
            (Place::Cache(cache), _) => Reader::Redis(cache.connection().await),
            (Place::Database(database), _) => Reader::Postgres(database.client().await),
            #[cfg(feature = "search")]
            (Place::Here, AnySink::Tantivy(sink)) => Reader::Tantivy(sink.search_handle()),
            _ => Reader::None,
        }
    }

    /// Takes everything away, behind the back of whoever has it open.
    pub(super) async fn empty(&self) {
        match &self.place {
            Place::Cache(cache) => cache.empty().await,
            Place::Index(index) => index.empty().await,
            Place::Database(database) => database::empty(database),
            Place::Receiver(receiver) => {
                receiver.forget();
                let _ = std::fs::remove_file(self.path());
            }
            Place::Here => match self.kind {
                Kind::Exec => program::empty(&self.path()),
                Kind::File => std::fs::remove_file(self.path()).expect("a file to remove"),
                _ => std::fs::remove_dir_all(self.path()).expect("a directory to remove"),
            },
        }
    }

    /// As new.
    pub(super) async fn empty_if_filled(&self) {
        if !matches!(self.place, Place::Here) || self.path().exists() {
            self.empty().await;
        }
    }

    /// Ends what serves it with SIGKILL, and starts it again. An embedded target has nothing but its sink, which a test
    /// drops; the node is other tests' too.
    pub(super) fn restart(&mut self) {
        match &mut self.place {
            Place::Cache(cache) => cache.restart(),
            Place::Database(database) => {
                database.kill9();
                database.start_again();
            }
            Place::Index(_) | Place::Receiver(_) | Place::Here => {}
        }
    }
}

/// Which ones take a test's time is to be seen with `--nocapture`.
impl Drop for Target {
    fn drop(&mut self) {
        println!("{:?} took {:.1?}", self.kind, self.began.elapsed());
    }
}

/// Reads while a sink writes.
pub(super) enum Reader {
    Redis(MultiplexedConnection),
    #[cfg(feature = "search")]
    Tantivy(SearchHandle),
    Postgres(tokio_postgres::Client),
    /// Who reads it needs nothing, or cannot.
    None,
}

#[cfg(feature = "search")]
fn tantivy_documents(handle: &SearchHandle) -> Documents {
    let request = SearchRequest { limit: 1000, ..SearchRequest::new("*") };
    let answer = handle.search(&request).expect("a search");
    assert_eq!(answer.total, answer.hits.len(), "all of them");
    let document = |json: &str| values_of(&serde_json::from_str(json).expect("a JSON document"));
    let found: Vec<_> = answer.hits.into_iter().map(|hit| (hit.key, document(hit.document.get()))).collect();
    let (count, documents) = (found.len(), Documents::from_iter(found));
    assert_eq!(documents.len(), count, "each key once");
    documents
}
