//! Debezium's PostgreSQL connector, in a Kafka Connect of its own: what walbridge's records are compared with.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::kafka::Kafka;
use super::process::{self, Signal};
use super::{Postgres, ports};

/// A running Kafka Connect with one connector. Dropping it ends the process.
pub(crate) struct Debezium {
    child: Option<Child>,
    directory: TempDir,
}

impl Debezium {
    /// Starts it on a database, with topics that begin with the name, which is its slot's and its publication's too. Does not
    /// wait. Settings beyond the defaults are the test's own.
    pub(crate) fn start(postgres: &Postgres, kafka: &Kafka, name: &str, settings: &[(&str, &str)]) -> Debezium {
        let java = ["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:+UseSerialGC", "-Xmx384m"];
        Debezium::start_in(&java, postgres, kafka, name, settings)
    }

    /// The same to be measured: in a Java as it is in service.
    pub(crate) fn in_service(postgres: &Postgres, kafka: &Kafka, name: &str, settings: &[(&str, &str)]) -> Debezium {
        Debezium::start_in(&["-XX:+UseG1GC", "-Xms512m", "-Xmx1g"], postgres, kafka, name, settings)
    }

    fn start_in(java: &[&str], postgres: &Postgres, kafka: &Kafka, name: &str, settings: &[(&str, &str)]) -> Debezium {
        let directory =
            tempfile::Builder::new().prefix("walbridge-debezium-").tempdir().expect("a temporary directory");
        let path = |file: &str| directory.path().join(file);
        fs::write(path("worker.properties"), worker(kafka, &path("offsets"))).expect("the worker's settings");
        let mut connector = connector(postgres, name);
        connector.extend(settings.iter().map(|(key, value)| format!("{key}={value}\n")));
        fs::write(path("connector.properties"), connector).expect("the connector's settings");
        fs::write(path("log4j2.properties"), LOGGING).expect("the log's settings");
        let log = File::create(path("connect.log")).expect("the log");
        let mut command = Command::new("java");
        command.args(java);
        command.arg(format!("-Dlog4j2.configurationFile={}", path("log4j2.properties").display()));
        command.arg("-cp").arg(home().join("connect/*"));
        command.arg("org.apache.kafka.connect.cli.ConnectStandalone");
        command.arg(path("worker.properties")).arg(path("connector.properties"));
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log")).stderr(log);
        Debezium { child: Some(process::spawn(&mut command)), directory }
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

impl Drop for Debezium {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            process::end(&mut child, Signal::KILL, Duration::from_secs(30));
        }
    }
}

fn worker(kafka: &Kafka, offsets: &std::path::Path) -> String {
    let json = "org.apache.kafka.connect.json.JsonConverter";
    format!(
        "bootstrap.servers={}\nlisteners=HTTP://127.0.0.1:{}\nplugin.path={}\nplugin.discovery=only_scan\n\
         key.converter={json}\nvalue.converter={json}\nkey.converter.schemas.enable=false\nvalue.converter.schemas.enable=false\n\
         topic.creation.enable=true\n\
         connector.client.config.override.policy=All\noffset.storage.file.filename={}\noffset.flush.interval.ms=5000\n",
        kafka.brokers(),
        ports::free(),
        home().join("plugins").display(),
        offsets.display(),
    )
}

/// The defaults of the connector, but for what connects it.
fn connector(postgres: &Postgres, name: &str) -> String {
    let url = postgres.superuser_url();
    let url = url.parse::<tokio_postgres::Config>().expect("a URL");
    let password = url.get_password().map_or("none".into(), String::from_utf8_lossy);
    format!(
        "name={name}\nconnector.class=io.debezium.connector.postgresql.PostgresConnector\ntasks.max=1\nplugin.name=pgoutput\n\
         database.hostname=127.0.0.1\ndatabase.port={}\ndatabase.user={}\ndatabase.password={password}\ndatabase.dbname={}\n\
         topic.prefix={name}\nslot.name={name}\npublication.name={name}\npoll.interval.ms=20\n\
         topic.creation.default.replication.factor=1\ntopic.creation.default.partitions=1\n",
        url.get_ports().first().copied().unwrap_or(5432),
        url.get_user().unwrap_or("postgres"),
        url.get_dbname().unwrap_or("postgres"),
    )
}

/// Where `scripts/setup` puts it: the newest version there.
fn home() -> PathBuf {
    let folder = PathBuf::from("/var/cache/walbridge/debezium");
    let versions = fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let newest = versions.filter(|path| path.extension().is_none_or(|extension| extension != "new")).max();
    assert!(newest.is_some(), "no Debezium in {}; run `make setup`", folder.display());
    newest.unwrap_or_default()
}

const LOGGING: &str = "status = error\nrootLogger.level = warn\nrootLogger.appenderRef.out.ref = out\nappender.out.type = Console\n\
    appender.out.name = out\nappender.out.layout.type = PatternLayout\nappender.out.layout.pattern = %d %p %m (%c)%n%throwable{3}\n";
