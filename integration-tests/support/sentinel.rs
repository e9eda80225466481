//! Sentinels that watch a Redis, each a process of its own.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::process::{self, Signal};
use super::{ports, redis, wait};

/// The name under which they know the master.
pub(crate) const MASTER: &str = "mymaster";

/// Three of them. Dropping it ends them.
pub(crate) struct Sentinels {
    ports: [u16; 3],
    children: Vec<Child>,
    _directory: TempDir,
}

impl Sentinels {
    /// Starts them, and waits until they know each other and the master's only replica.
    pub(crate) async fn start(master_port: u16) -> Sentinels {
        let directory =
            tempfile::Builder::new().prefix("walbridge-sentinel-").tempdir().expect("a temporary directory");
        let ports = [ports::free(), ports::free(), ports::free()];
        let start = |port: &u16| {
            let config = directory.path().join(format!("{port}.conf"));
            let text = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor {MASTER} 127.0.0.1 {master_port} 2\n\
                 sentinel down-after-milliseconds {MASTER} 500\nsentinel failover-timeout {MASTER} 3000\n"
            );
            std::fs::write(&config, text).expect("its configuration");
            let log = File::create(directory.path().join(format!("{port}.log"))).expect("its log");
            let mut command = Command::new("redis-server");
            command.arg(&config).arg("--sentinel").stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
            process::spawn(&mut command)
        };
        let children = ports.iter().map(start).collect();
        let sentinels = Sentinels { ports, children, _directory: directory };
        for port in ports {
            let connection = redis::connection(&format!("redis://127.0.0.1:{port}")).await;
            wait::eventually(Duration::from_secs(30), async || {
                let known: std::collections::HashMap<String, String> = ::redis::cmd("SENTINEL")
                    .arg("MASTER")
                    .arg(MASTER)
                    .query_async(&mut connection.clone())
                    .await
                    .map_err(|error| error.to_string())?;
                let counts = ["num-slaves", "num-other-sentinels"].map(|name| known.get(name).map(String::as_str));
                if counts == [Some("1"), Some("2")] { Ok(()) } else { Err(format!("{counts:?}")) }
            })
            .await;
        }
        sentinels
    }

    /// For a sink.
    pub(crate) fn url(&self) -> String {
        let hosts = self.ports.map(|port| format!("127.0.0.1:{port}")).join(",");
        format!("redis-sentinel://{hosts}/0#{MASTER}")
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        for child in &mut self.children {
            process::end(child, Signal::TERM, Duration::from_secs(5));
        }
    }
}
