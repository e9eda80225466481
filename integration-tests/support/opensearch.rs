//! An OpenSearch node, one for all tests of a process: each has indexes of its own. With `WALBRIDGE_SEARCH=elasticsearch` in the environment the same
//! tests run against Elasticsearch.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::ports;
use super::process::{self, Signal};
use super::wait::eventually_sync;

/// A running node. Dropping it ends the process.
pub(crate) struct OpenSearch {
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    child: Option<Child>,
    directory: TempDir,
    settings: Vec<String>,
    product: Product,
}

/// Whose node it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    OpenSearch,
    Elasticsearch,
}

impl Product {
    /// The one that the tests are to run against.
    fn wanted() -> Self {
        match std::env::var("WALBRIDGE_SEARCH").as_deref() {
            Ok("elasticsearch") => Product::Elasticsearch,
            _ => Product::OpenSearch,
        }
    }

    /// What starts a node out of the jars.
    fn program(self) -> PathBuf {
        let name = match self {
            Product::OpenSearch => "OpenSearchNode.java",
            Product::Elasticsearch => "ElasticsearchNode.java",
        };
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("integration-tests/support").join(name)
    }

    /// Where `scripts/setup` puts them: the newest version there.
    fn jars(self) -> PathBuf {
        let folder = PathBuf::from(match self {
            Product::OpenSearch => "/var/cache/walbridge/opensearch",
            Product::Elasticsearch => "/var/cache/walbridge/elasticsearch",
        });
        let versions = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let newest = versions.filter(|path| path.extension().is_none_or(|extension| extension != "new")).max();
        assert!(newest.is_some(), "nothing in {}; run `make setup`", folder.display());
        newest.unwrap_or_default()
    }
}

/// Gone with the last test that has it.
static SHARED: Mutex<Weak<OpenSearch>> = Mutex::new(Weak::new());
static NAMES: AtomicUsize = AtomicUsize::new(1);

/// How long it may take to come up, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(180);

impl OpenSearch {
    /// The one that tests share, ready.
    pub(crate) fn shared() -> Arc<OpenSearch> {
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let node = Arc::new(OpenSearch::start(&[]));
            *shared = Arc::downgrade(&node);
            node
        })
    }

    /// A name for an index that no other test has.
    pub(crate) fn name() -> String {
        format!("test-{}", NAMES.fetch_add(1, Ordering::Relaxed))
    }

    /// One of a test's own, with settings of its own, `NAME=VALUE` each.
    pub(crate) fn start(settings: &[&str]) -> OpenSearch {
        OpenSearch::start_of(Product::wanted(), settings)
    }

    /// The same of this product.
    pub(crate) fn start_of(product: Product, settings: &[&str]) -> OpenSearch {
        let directory =
            tempfile::Builder::new().prefix("walbridge-opensearch-").tempdir().expect("a temporary directory");
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let mut node = OpenSearch { port: ports::free(), child: None, directory, settings, product };
        node.start_again();
        node
    }

    /// Ends it as a power cut would.
    pub(crate) fn sigkill(&mut self) {
        if let Some(mut child) = self.child.take() {
            process::end(&mut child, Signal::KILL, Duration::from_secs(5));
        }
    }

    /// Starts it with the data that it has, and waits until it is ready.
    pub(crate) fn start_again(&mut self) {
        let directory = &self.directory;
        let log = File::create(directory.path().join("node.log")).expect("the log");
        let mut command = Command::new("java");
        command.args(["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:+UseSerialGC", "-Xms512m", "-Xmx512m", "-cp"]);
        command.arg(self.product.jars().join("*")).arg(self.product.program()).arg(directory.path().join("node"));
        command.args([self.port.to_string(), ports::free().to_string()]).args(&self.settings);
        command.current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log")).stderr(log);
        let mut child = process::spawn(&mut command);
        eventually_sync(PATIENCE, || self.answers(&mut child));
        self.child = Some(child);
    }

    fn answers(&self, child: &mut Child) -> Result<(), String> {
        if let Ok(Some(status)) = child.try_wait() {
            let log = fs::read_to_string(self.directory.path().join("node.log")).unwrap_or_default();
            return Err(format!("OpenSearch ended with {status}: {log}"));
        }
        match self.tell("GET", "/_cluster/health", Duration::from_secs(5)) {
            Ok(answer) if answer.starts_with("HTTP/1.1 200") => Ok(()),
            Ok(answer) => Err(answer),
            Err(error) => Err(error.to_string()),
        }
    }

    /// A request without a runtime, and the whole answer.
    fn tell(&self, method: &str, path: &str, patience: Duration) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(patience))?;
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Removes all indexes whose names begin so: each that stays makes the next one slower.
    pub(crate) fn forget(&self, begin: &str) {
        let listed = self.tell("GET", &format!("/_cat/indices/{begin}*?h=index"), PATIENCE).unwrap_or_default();
        let names: Vec<&str> = listed.lines().map(str::trim).filter(|line| line.starts_with(begin)).collect();
        if !names.is_empty() {
            let _they_go_with_the_node = self.tell("DELETE", &format!("/{}", names.join(",")), PATIENCE);
        }
    }

    /// `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Asks it as an outsider. Gives the status and the body.
    pub(crate) async fn ask(&self, method: reqwest::Method, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.url()));
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let answer = request.send().await.expect("an answer");
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    /// All documents of an index, by id.
    pub(crate) async fn documents(&self, index: &str) -> Vec<(String, Value)> {
        self.ask(reqwest::Method::POST, &format!("/{index}/_refresh"), None).await;
        let (_, found) = self.ask(reqwest::Method::GET, &format!("/{index}/_search?size=10000"), None).await;
        let hits = found.pointer("/hits/hits").and_then(Value::as_array).cloned().unwrap_or_default();
        let document = |hit: Value| {
            let id = hit.get("_id").and_then(Value::as_str).unwrap_or_default().to_owned();
            (id, hit.get("_source").cloned().unwrap_or_default())
        };
        hits.into_iter().map(document).collect()
    }
}

impl Drop for OpenSearch {
    fn drop(&mut self) {
        // Nothing of it is kept.
        self.sigkill();
    }
}
