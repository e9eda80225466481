//! Debezium's PostgreSQL connector, in a Kafka Connect of its own: what walbridge's records are compared with.

use super::Postgres;
use super::connect::Connect;
use super::java::{QUICK, installed};
use super::kafka::Kafka;

/// A running connector. Dropping it ends its process.
pub(crate) struct Debezium(Connect);

impl Debezium {
    /// Starts it on a database, with topics that begin with the name, which is its slot's and its publication's too. Does not
    /// wait. Settings beyond the defaults are the test's own.
    pub(crate) fn start(postgres: &Postgres, kafka: &Kafka, name: &str, settings: &[(&str, &str)]) -> Debezium {
        let machine = [QUICK.as_slice(), &["-Xmx384m"]].concat();
        Debezium::start_in(&machine, postgres, kafka, name, settings)
    }

    /// The same to be measured: in a Java as it is in service.
    pub(crate) fn in_service(postgres: &Postgres, kafka: &Kafka, name: &str, settings: &[(&str, &str)]) -> Debezium {
        Debezium::start_in(&["-XX:+UseG1GC", "-Xms512m", "-Xmx1g"], postgres, kafka, name, settings)
    }

    fn start_in(
        machine: &[&str],
        postgres: &Postgres,
        kafka: &Kafka,
        name: &str,
        settings: &[(&str, &str)],
    ) -> Debezium {
        let mut connector = connector(postgres, name);
        connector.extend(settings.iter().map(|(key, value)| format!("{key}={value}\n")));
        Debezium(Connect::start(machine, kafka, &installed("debezium").join("plugins"), WORKER, &connector))
    }

    /// Its process, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.0.pid()
    }

    /// What it has said.
    pub(crate) fn log(&self) -> String {
        self.0.log()
    }
}

/// JSON without schemas, as walbridge's own.
const WORKER: &str = "key.converter=org.apache.kafka.connect.json.JsonConverter\nkey.converter.schemas.enable=false\n\
    value.converter=org.apache.kafka.connect.json.JsonConverter\nvalue.converter.schemas.enable=false\ntopic.creation.enable=true\n";

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
