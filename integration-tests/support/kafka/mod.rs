//! A private Kafka: one broker, or three that form a quorum, each a process with ports and a directory of its own.
//!
//! Every broker is both broker and controller (KRaft), with small heaps and few threads, so that it starts in a second or two.
//! Topics are made by those who want them: a broker that made them by itself would hide a client that forgot to.

mod client;
mod guarded;
mod server;

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tempfile::TempDir;

#[allow(unused_imports, reason = "the tests, the demo and the benches each use a part")]
pub(crate) use self::client::Record;
use self::server::{Machine, Server};
use super::process::{self, Signal};
use super::proxy::Proxy;

/// A cluster. Dropping it ends its brokers and removes their directories.
pub(crate) struct Kafka {
    /// Never empty.
    servers: Vec<Server>,
    // Behind the servers: they end before their directories go.
    _directory: TempDir,
}

/// The broker that tests share which do it no harm. Gone with the last of them, so that no process outlives the tests.
static SHARED: Mutex<Weak<Kafka>> = Mutex::new(Weak::new());

impl Kafka {
    /// One broker.
    pub(crate) fn start() -> Kafka {
        Kafka::start_with(&[])
    }

    /// One broker with settings of the test's own.
    pub(crate) fn start_with(settings: &[(&str, &str)]) -> Kafka {
        Kafka::cluster(1, Machine::Quick, settings)
    }

    /// One broker to be measured: in a Java as it is in service.
    pub(crate) fn in_service(settings: &[(&str, &str)]) -> Kafka {
        Kafka::cluster(1, Machine::Usual, settings)
    }

    /// One broker that also listens on another port, with TLS under a certificate of the authority in `directory`, and asks for SCRAM
    /// there: `walbridge` with `password`. Gives the port.
    pub(crate) fn secured(directory: &std::path::Path, password: &str) -> (Kafka, u16) {
        let files = super::postgres::certificate::write(directory);
        let read = |path| std::fs::read_to_string(path).expect("PEM").replace('\n', "\\n");
        let (certificate, key, port) = (read(files.certificate), read(files.key), super::ports::free());
        let kafka = Kafka::start_with(&[
            (
                "listeners",
                &format!(
                    "PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller}},SECURE://127.0.0.1:{port}"
                ),
            ),
            ("advertised.listeners", &format!("PLAINTEXT://127.0.0.1:{{port}},SECURE://127.0.0.1:{port}")),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL"),
            ("inter.broker.listener.name", "PLAINTEXT"),
            ("listener.name.secure.sasl.enabled.mechanisms", "SCRAM-SHA-512"),
            (
                "listener.name.secure.scram-sha-512.sasl.jaas.config",
                "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            ),
            ("ssl.keystore.type", "PEM"),
            ("ssl.keystore.certificate.chain", &certificate),
            ("ssl.keystore.key", &key),
        ]);
        kafka.let_in(password);
        (kafka, port)
    }

    /// From now on `walbridge` has this password.
    pub(crate) fn let_in(&self, password: &str) {
        let credentials = format!("SCRAM-SHA-512=[password={password}]");
        let arguments =
            ["--alter", "--entity-type", "users", "--entity-name", "walbridge", "--add-config", &credentials];
        self.tool("kafka.admin.ConfigCommand", &arguments, "");
    }

    /// One broker, and a proxy before it for those who know the cluster by the proxy's port.
    pub(crate) fn proxied() -> (Kafka, Proxy) {
        let port = super::ports::free();
        let proxy = Proxy::start(port);
        let listeners =
            format!("PLAINTEXT://127.0.0.1:{{port}},CONTROLLER://127.0.0.1:{{controller}},PROXIED://127.0.0.1:{port}");
        let advertised = format!("PLAINTEXT://127.0.0.1:{{port}},PROXIED://127.0.0.1:{}", proxy.port);
        let kafka = Kafka::start_with(&[
            ("listeners", &listeners),
            ("advertised.listeners", &advertised),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT"),
            ("inter.broker.listener.name", "PLAINTEXT"),
        ]);
        (kafka, proxy)
    }

    /// Three brokers. Everything is on all three, and a write with `acks=all` needs two.
    pub(crate) fn three() -> Kafka {
        Kafka::cluster(3, Machine::Quick, &[("min.insync.replicas", "2")])
    }

    /// A broker that other tests use too: for those that neither stop it nor mind other topics.
    pub(crate) fn shared() -> Arc<Kafka> {
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let kafka = Arc::new(Kafka::start());
            *shared = Arc::downgrade(&kafka);
            kafka
        })
    }

    fn cluster(count: usize, machine: Machine, settings: &[(&str, &str)]) -> Kafka {
        let directory = tempfile::Builder::new().prefix("walbridge-kafka-").tempdir().expect("a temporary directory");
        let mut servers = Server::prepare(directory.path(), count, machine, settings);
        servers.iter_mut().for_each(Server::start);
        servers.iter_mut().for_each(Server::await_port);
        let kafka = Kafka { servers, _directory: directory };
        kafka.await_brokers(count);
        kafka
    }

    /// `127.0.0.1:PORT,127.0.0.1:PORT`…
    pub(crate) fn brokers(&self) -> String {
        let addresses: Vec<String> = self.servers.iter().map(|server| format!("127.0.0.1:{}", server.port)).collect();
        addresses.join(",")
    }

    /// Where a broker listens; brokers count from 0 here (Kafka calls that one 1).
    pub(crate) fn port(&self, broker: usize) -> u16 {
        self.server(broker).port
    }

    /// A broker's process, while it runs.
    pub(crate) fn pid(&self, broker: usize) -> Option<u32> {
        self.server(broker).pid()
    }

    /// Ends a broker with SIGKILL.
    pub(crate) fn kill9(&mut self, broker: usize) {
        self.server_mut(broker).end(Signal::KILL);
    }

    /// Stops a broker in good order.
    pub(crate) fn stop(&mut self, broker: usize) {
        self.server_mut(broker).end(Signal::TERM);
    }

    /// Starts a stopped broker on its old port with what it had.
    pub(crate) fn start_again(&mut self, broker: usize) {
        self.server_mut(broker).start();
        self.server_mut(broker).await_port();
    }

    /// Starts all that are stopped: where a quorum is lost, none comes up without another.
    pub(crate) fn start_all_again(&mut self) {
        let stopped = self.servers.iter_mut().filter(|server| server.pid().is_none());
        let mut started: Vec<&mut Server> = stopped.collect();
        started.iter_mut().for_each(|server| server.start());
        started.iter_mut().for_each(|server| server.await_port());
    }

    /// Freezes a broker (SIGSTOP): connections stay open and nothing answers.
    pub(crate) fn freeze(&self, broker: usize) {
        self.server(broker).pid().map(|pid| process::signal(pid, Signal::STOP));
    }

    /// Undoes `freeze`.
    pub(crate) fn thaw(&self, broker: usize) {
        self.server(broker).pid().map(|pid| process::signal(pid, Signal::CONT));
    }

    /// What a broker has written to its log.
    pub(crate) fn log(&self, broker: usize) -> String {
        self.server(broker).log()
    }

    fn server(&self, broker: usize) -> &Server {
        self.servers.get(broker).expect("there is such a broker")
    }

    fn server_mut(&mut self, broker: usize) -> &mut Server {
        self.servers.get_mut(broker).expect("there is such a broker")
    }

    /// Runs one of Kafka's own tools (`org.apache.kafka.tools.ConsoleProducer`) against the cluster, with this on its standard
    /// input, and returns what it printed.
    pub(crate) fn tool(&self, class: &str, arguments: &[&str], input: &str) -> String {
        server::tool(class, &[&["--bootstrap-server", &self.brokers()], arguments].concat(), input)
    }
}

/// How long a broker may take to come up or an answer to come, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(90);
