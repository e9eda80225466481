//! One broker's process.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::PATIENCE;
use crate::support::process::{self, Signal};
use crate::support::{eventually_sync, java, ports};

/// A running (or stopped) broker.
pub(super) struct Server {
    /// Its port on 127.0.0.1.
    pub(super) port: u16,
    directory: PathBuf,
    machine: Machine,
    child: Option<Child>,
}

/// The Java a broker runs in.
#[derive(Clone, Copy, Debug)]
pub(super) enum Machine {
    /// One that starts fast and takes little, for tests.
    Quick,
    /// One as it is in service, with a heap of a GiB: to be measured.
    Usual,
}

impl Server {
    /// Directories and settings for so many brokers of one cluster.
    pub(super) fn prepare(directory: &Path, count: usize, machine: Machine, settings: &[(&str, &str)]) -> Vec<Server> {
        let ports: Vec<(u16, u16)> = (0..count).map(|_| (ports::free(), ports::free())).collect();
        let voters: Vec<String> =
            (1..).zip(&ports).map(|(id, (_, controller))| format!("{id}@127.0.0.1:{controller}")).collect();
        let cluster = unique_id();
        let make = |(id, &(port, controller)): (usize, &(u16, u16))| {
            let directory = directory.join(id.to_string());
            let data = directory.join("data");
            fs::create_dir_all(&data).expect("the broker's directory");
            fs::write(data.join("bootstrap.checkpoint"), bootstrap()).expect("the bootstrap file");
            let meta = format!("version=1\nnode.id={id}\ncluster.id={cluster}\ndirectory.id={}\n", unique_id());
            fs::write(data.join("meta.properties"), meta).expect("meta.properties");
            let mut text = properties(id, port, controller, &voters.join(","), &data, count.min(3));
            let filled = |value: &str| {
                value.replace("{port}", &port.to_string()).replace("{controller}", &controller.to_string())
            };
            text.extend(settings.iter().map(|(name, value)| format!("{name}={}\n", filled(value))));
            fs::write(directory.join("server.properties"), text).expect("server.properties");
            fs::write(directory.join("log4j2.properties"), java::LOGGING).expect("log4j2.properties");
            Server { port, directory, machine, child: None }
        };
        (1..).zip(&ports).map(make).collect()
    }

    /// Starts it, and does not wait.
    pub(super) fn start(&mut self) {
        assert!(self.child.is_none(), "the broker is still running");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("the broker's log file");
        let mut command = match self.machine {
            Machine::Quick => quick_java("192m"),
            Machine::Usual => usual_java("1g"),
        };
        command.arg(format!("-Dlog4j2.configurationFile={}", self.directory.join("log4j2.properties").display()));
        command.arg("kafka.Kafka").arg(self.directory.join("server.properties"));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log file")).stderr(log);
        self.child = Some(process::spawn(&mut command));
    }

    /// Waits until it listens.
    pub(super) fn await_port(&mut self) {
        eventually_sync(PATIENCE, || {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "the broker ended with {ended:?}: {}", self.log());
            TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| format!("{error}: {}", self.log()))
        });
    }

    pub(super) fn end(&mut self, gently: Signal) {
        if let Some(mut child) = self.child.take() {
            process::signal(child.id(), Signal::CONT);
            process::end(&mut child, gently, Duration::from_secs(30));
        }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("broker.log")
    }
}

impl Drop for Server {
    /// Nothing in its directory is wanted any more, so there is nothing to wait for.
    fn drop(&mut self) {
        self.end(Signal::KILL);
    }
}

/// Runs a tool of Kafka's to its end.
pub(super) fn tool(class: &str, arguments: &[&str], input: &str) -> String {
    let mut command = quick_java("96m");
    command.arg(class).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process::spawn(&mut command);
    // Dropped at once, which is the end of the input.
    child.stdin.take().map(|mut pipe| pipe.write_all(input.as_bytes())).transpose().expect("the tool reads");
    let output = child.wait_with_output().expect("the tool ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{class} ended with {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Kafka's programs in a Java that starts fast.
fn quick_java(heap: &str) -> Command {
    let mut command = Command::new("java");
    command.args(java::QUICK);
    command.arg(format!("-Xmx{heap}")).arg("-cp").arg(java::installed("kafka").join("*"));
    command
}

/// The Java of Kafka's own start script, but for the flags that are about logging.
fn usual_java(heap: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:InitiatingHeapOccupancyPercent=35"]);
    command.arg(format!("-Xmx{heap}")).arg(format!("-Xms{heap}")).arg("-cp").arg(java::installed("kafka").join("*"));
    command
}

/// The feature levels a new cluster begins with, as `kafka-storage format` writes them. They are the same for every broker, so
/// it is run once.
fn bootstrap() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let directory = tempfile::Builder::new().prefix("walbridge-kafka-").tempdir().expect("a temporary directory");
        let (data, settings) = (directory.path().join("data"), directory.path().join("server.properties"));
        let text = properties(1, 9092, 9093, "1@127.0.0.1:9093", &data, 1);
        fs::write(&settings, text).expect("server.properties");
        let mut command = quick_java("64m");
        command.args(["kafka.tools.StorageTool", "format", "-t", &unique_id(), "-c"]).arg(&settings);
        let output = command.output().expect("java runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the broker's storage is not formatted: {said}");
        fs::read(data.join("bootstrap.checkpoint")).expect("the bootstrap file")
    })
}

/// 16 random bytes as Kafka writes them (URL-safe base64 without padding). No dashes: the
/// tools would take one in front for an option.
fn unique_id() -> String {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let letter = || ALPHABET.get(rand::random_range(0..ALPHABET.len())).copied().map_or('A', char::from);
    // 22 characters are 132 bits, of which the last four must be zero.
    (0..21).map(|_| letter()).chain(['g']).collect()
}

fn properties(id: usize, port: u16, controller: u16, voters: &str, data: &Path, replicas: usize) -> String {
    let data = data.display();
    let in_sync = replicas.min(2);
    format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
default.replication.factor={replicas}
offsets.topic.num.partitions=1
offsets.topic.replication.factor={replicas}
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={replicas}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={replicas}
share.coordinator.state.topic.min.isr={in_sync}
group.initial.rebalance.delay.ms=0
socket.receive.buffer.bytes=-1
socket.send.buffer.bytes=-1
num.network.threads=1
num.io.threads=2
num.recovery.threads.per.data.dir=1
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
log.index.size.max.bytes=1048576
log.segment.bytes=16777216
log.segment.delete.delay.ms=100
replica.lag.time.max.ms=3000
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
"
    )
}
