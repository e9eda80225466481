//! A private Redis on a free loopback port, without persistence unless asked for.

use std::fs::{File, read_to_string};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::process::{self, Signal};
use super::wait::eventually_sync;
use super::{ports, wait};

/// A running (or stopped) Redis. Dropping it ends the server and removes its directory.
pub(crate) struct Redis {
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
    arguments: Vec<String>,
    directory: TempDir,
    child: Option<Child>,
}

impl Redis {
    /// Starts a server; `arguments` are added to its command line, e.g. `["--maxmemory", "10mb"]`.
    pub(crate) fn start(arguments: &[&str]) -> Redis {
        let directory = tempfile::Builder::new().prefix("walbridge-redis-").tempdir().expect("a temporary directory");
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let mut redis = Redis { port: ports::free(), arguments, directory, child: None };
        redis.start_again();
        redis
    }

    /// `redis://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Starts a stopped server on its old port. It has what it had only if the arguments asked for persistence.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "Redis is still running");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("Redis's log file");
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]).arg(self.port.to_string());
        command.arg("--dir").arg(self.directory.path()).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(log).stderr(Stdio::null());
        let mut child = process::spawn(&mut command);
        eventually_sync(Duration::from_secs(10), || self.answers(&mut child));
        self.child = Some(child);
    }

    /// Ready once it answers PING: it accepts connections already while it still loads its data. A password error is an
    /// answer too.
    fn answers(&self, child: &mut Child) -> Result<(), String> {
        use std::io::{Read, Write};
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("redis-server ended with {status}: {}", self.log()));
        }
        let ask = || -> std::io::Result<Vec<u8>> {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(b"PING\r\n")?;
            let mut answer = vec![0; 64];
            let length = stream.read(&mut answer)?;
            answer.truncate(length);
            Ok(answer)
        };
        match ask() {
            Ok(answer) if answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH") => Ok(()),
            Ok(answer) => Err(String::from_utf8_lossy(&answer).into_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Stops the server in good order.
    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            process::end(&mut child, Signal::TERM, Duration::from_secs(5));
        }
    }

    /// Ends the server with SIGKILL.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            process::end(&mut child, Signal::KILL, Duration::from_secs(5));
        }
    }

    /// Stops and starts it.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.start_again();
    }

    /// Freezes the server (SIGSTOP): connections stay open and nothing answers. `thaw` lets it go on.
    pub(crate) fn freeze(&self) {
        self.child.as_ref().map(|child| process::signal(child.id(), Signal::STOP));
    }

    /// Undoes `freeze`.
    pub(crate) fn thaw(&self) {
        self.child.as_ref().map(|child| process::signal(child.id(), Signal::CONT));
    }

    /// An asynchronous connection.
    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        connection(&self.url()).await
    }

    /// What the server has written to its log.
    pub(crate) fn log(&self) -> String {
        read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> std::path::PathBuf {
        self.directory.path().join("redis.log")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // A frozen server would not see the polite signal.
        self.thaw();
        self.stop();
    }
}

/// A connection to this database. The client's own patience is half a second, which a loaded machine takes longer than.
pub(crate) async fn connection(url: &str) -> redis::aio::MultiplexedConnection {
    let client = redis::Client::open(url).expect("a Redis URL");
    let patient = redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(30)));
    wait::eventually(Duration::from_secs(10), || client.get_multiplexed_async_connection_with_config(&patient)).await
}
