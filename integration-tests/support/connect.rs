//! A Kafka Connect of its own, with one connector: Debezium's as a source, or a sink that reads walbridge's topics.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::kafka::Kafka;
use super::process::{self, Signal};
use super::{java, ports};

/// A running Kafka Connect. Dropping it ends the process.
pub(crate) struct Connect {
    child: Option<Child>,
    directory: TempDir,
}

impl Connect {
    /// Starts it in this Java with this connector out of this folder of plugins, and does not wait. `worker` is added to the worker's own
    /// settings: the converters, at least.
    pub(crate) fn start(machine: &[&str], kafka: &Kafka, plugins: &Path, worker: &str, connector: &str) -> Connect {
        let directory = tempfile::Builder::new().prefix("walbridge-connect-").tempdir().expect("a temporary directory");
        let path = |file: &str| directory.path().join(file);
        let runs = format!(
            "bootstrap.servers={}\nlisteners=HTTP://127.0.0.1:{}\nplugin.path={}\nplugin.discovery=only_scan\n\
             connector.client.config.override.policy=All\noffset.storage.file.filename={}\noffset.flush.interval.ms=5000\n{worker}",
            kafka.brokers(),
            ports::free(),
            plugins.display(),
            path("offsets").display(),
        );
        fs::write(path("worker.properties"), runs).expect("the worker's settings");
        fs::write(path("connector.properties"), connector).expect("the connector's settings");
        fs::write(path("log4j2.properties"), java::LOGGING).expect("the log's settings");
        let log = File::create(path("connect.log")).expect("the log");
        let mut command = Command::new("java");
        command.args(machine);
        command.arg(format!("-Dlog4j2.configurationFile={}", path("log4j2.properties").display()));
        command.arg("-cp").arg(java::installed("debezium").join("connect/*"));
        command.arg("org.apache.kafka.connect.cli.ConnectStandalone");
        command.arg(path("worker.properties")).arg(path("connector.properties"));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log")).stderr(log);
        Connect { child: Some(process::spawn(&mut command)), directory }
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("connect.log")).unwrap_or_default()
    }
}

impl Drop for Connect {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            process::end(&mut child, Signal::KILL, Duration::from_secs(30));
        }
    }
}
