//! Flink's SQL gateway, with a cluster of one process in itself, which is told statements over HTTP.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::process::{self, Signal};
use super::{eventually, java, ports};

/// A running gateway with one session. Dropping it ends the process, and with it all jobs.
pub(crate) struct Flink {
    child: Option<Child>,
    directory: TempDir,
    /// Of the session.
    url: String,
}

/// How long it may take to come up or to answer, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(240);

impl Flink {
    /// Starts the gateway and waits for it.
    pub(crate) async fn start() -> Flink {
        let directory = tempfile::Builder::new().prefix("walbridge-flink-").tempdir().expect("a temporary directory");
        let path = |file: &str| directory.path().join(file);
        fs::write(path("config.yaml"), CONFIGURATION).expect("the configuration");
        fs::write(path("log4j2.properties"), java::LOGGING).expect("the log's settings");
        let (log, port) = (File::create(path("flink.log")).expect("the log"), ports::free());
        let mut command = Command::new("java");
        command.args(java::QUICK).arg("-Xmx512m");
        for package in OPENED {
            command.arg(format!("--add-opens=java.base/{package}=ALL-UNNAMED"));
        }
        command.arg(format!("-Dlog4j2.configurationFile={}", path("log4j2.properties").display()));
        command.arg(format!("-Djava.io.tmpdir={}", directory.path().display()));
        command.arg("-cp").arg(java::installed("flink").join("*")).arg("org.apache.flink.table.gateway.SqlGateway");
        command.arg("-Dsql-gateway.endpoint.rest.address=127.0.0.1");
        command.arg(format!("-Dsql-gateway.endpoint.rest.port={port}"));
        command.env("FLINK_CONF_DIR", directory.path()).current_dir(directory.path());
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log")).stderr(log);
        let child = Some(process::spawn(&mut command));
        let mut flink = Flink { child, directory, url: format!("http://127.0.0.1:{port}/v1/sessions") };
        let session = eventually(PATIENCE, async || {
            let answer = flink.post("", json!({})).await.and_then(|answer| text(&answer, "sessionHandle"));
            answer.map_err(|error| format!("{error}: {}", flink.log()))
        });
        let session = session.await;
        flink.url = format!("{}/{session}", flink.url);
        flink
    }

    /// Runs a statement. Of one that writes it only waits until the job is under way.
    pub(crate) async fn run(&self, statement: &str) {
        let answer = self.post("/statements", json!({ "statement": statement })).await.expect("an answer");
        let operation = text(&answer, "operationHandle").expect("an operation");
        let status = eventually(PATIENCE, async || {
            let status = text(&self.get(&format!("/operations/{operation}/status")).await?, "status")?;
            if status == "RUNNING" || status == "PENDING" { Err(status) } else { Ok(status) }
        });
        let finished = status.await == "FINISHED";
        let result = self.get(&format!("/operations/{operation}/result/0")).await;
        assert!(finished, "{statement}\n{result:?}\n{}", self.log());
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("flink.log")).unwrap_or_default()
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, String> {
        answer(reqwest::Client::new().post(format!("{}{path}", self.url)).json(&body)).await
    }

    async fn get(&self, path: &str) -> Result<Value, String> {
        answer(reqwest::Client::new().get(format!("{}{path}", self.url))).await
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Value, String> {
    let answer = request.send().await.map_err(|error| error.to_string())?;
    answer.json().await.map_err(|error| error.to_string())
}

fn text(answer: &Value, member: &str) -> Result<String, String> {
    answer.get(member).and_then(Value::as_str).map(str::to_owned).ok_or_else(|| answer.to_string())
}

impl Drop for Flink {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            process::end(&mut child, Signal::KILL, Duration::from_secs(30));
        }
    }
}

const CONFIGURATION: &str = "execution.target: local\nparallelism.default: 1\ntable.local-time-zone: UTC\n";

/// What Flink's own start script opens of Java 17.
const OPENED: [&str; 9] = [
    "java.lang",
    "java.lang.reflect",
    "java.io",
    "java.net",
    "java.nio",
    "java.text",
    "java.time",
    "java.util",
    "java.util.concurrent",
];
