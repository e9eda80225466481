//! A private schema registry: Apicurio's, which speaks the API of Confluent's, with its schemas in memory.
//!
//! It takes any schema until a subject is told to be strict. Confluent's is strict (`BACKWARD`) out of the box; but Apicurio's
//! `NONE` of a subject means what holds for all, so a test could not let in what it had refused.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{self, Signal};
use super::{eventually, java, ports};

/// A running registry. Dropping it ends the process.
pub(crate) struct Registry {
    port: u16,
    child: Option<Child>,
    directory: TempDir,
}

/// One that tests share: its subjects begin with the names of their sources. Gone with the last of them.
static SHARED: Mutex<Weak<Registry>> = Mutex::new(Weak::new());

/// How long it may take to come up, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(90);

impl Registry {
    /// The one that tests share.
    pub(crate) async fn shared() -> Arc<Registry> {
        let registry = {
            let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            shared.upgrade().unwrap_or_else(|| {
                let registry = Arc::new(Registry::start());
                *shared = Arc::downgrade(&registry);
                registry
            })
        };
        registry.await_answer().await;
        registry
    }

    fn start() -> Registry {
        let directory =
            tempfile::Builder::new().prefix("walbridge-registry-").tempdir().expect("a temporary directory");
        let (port, jar) = (ports::free(), jar());
        let log = File::create(directory.path().join("registry.log")).expect("the log");
        let mut command = Command::new("java");
        command.args(java::QUICK).arg("-Xmx256m");
        command.args(["-Dquarkus.http.host=127.0.0.1", &format!("-Dquarkus.http.port={port}")]);
        command.arg("-jar").arg(jar).current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log")).stderr(log);
        Registry { port, child: Some(process::spawn(&mut command)), directory }
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// The base of the API's paths.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}{PATH}", self.port)
    }

    /// What is answered under a path.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = reqwest::get(format!("{}{path}", self.url())).await.expect("an answer");
        answer.json().await.expect("JSON")
    }

    /// The schema with this number.
    pub(crate) async fn schema(&self, id: u32) -> String {
        let answer = self.get(&format!("/schemas/ids/{id}")).await;
        let schema = answer.get("schema").and_then(Value::as_str);
        assert!(schema.is_some(), "no schema {id}: {answer}");
        schema.unwrap_or_default().to_owned()
    }

    /// How many versions a subject has.
    pub(crate) async fn versions(&self, subject: &str) -> usize {
        self.get(&format!("/subjects/{subject}/versions")).await.as_array().map_or(0, Vec::len)
    }

    /// Registers a schema, as somebody else would. Gives the status.
    pub(crate) async fn register(&self, subject: &str, schema: &Value) -> u16 {
        let client = reqwest::Client::new();
        let request = client.post(format!("{}/subjects/{subject}/versions", self.url())).json(schema);
        request.send().await.expect("an answer").status().as_u16()
    }

    /// Says which schemas of a subject may follow which.
    pub(crate) async fn set_compatibility(&self, subject: &str, level: &str) {
        let url = format!("{}/config/{subject}", self.url());
        let request = reqwest::Client::new().put(url).json(&json!({ "compatibility": level }));
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status().as_u16(), 200, "{subject}");
    }

    async fn await_answer(&self) {
        eventually(PATIENCE, async || match reqwest::get(format!("{}/subjects", self.url())).await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            seen => Err(format!("{seen:?}: {}", self.log())),
        })
        .await;
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("registry.log")).unwrap_or_default()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            process::end(&mut child, Signal::KILL, Duration::from_secs(30));
        }
    }
}

/// Where Apicurio's registry has the API of Confluent's.
pub(crate) const PATH: &str = "/apis/ccompat/v7";

/// The program.
fn jar() -> PathBuf {
    let folder = java::installed("registry");
    let mut files = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let jar = files.find(|path| path.to_string_lossy().ends_with("-runner.jar"));
    assert!(jar.is_some(), "no schema registry in {}; run `make setup`", folder.display());
    jar.unwrap_or_default()
}
