//! Formats whose schemas are in a registry, as other consumers meet them: a real registry numbers the schemas, judges each new one,
//! and another implementation reads the records by what the registry has.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::{PATIENCE, Stage};
use crate::support::kafka::Record;
use crate::support::{Kafka, Proxy, Registry};

fn avro(registry: &str) -> String {
    format!("format = \"avro\"\nschema_registry = {{ url = \"{registry}\" }}")
}

/// The number of the schema in front of what is in a record.
pub(super) fn id(bytes: &[u8]) -> u32 {
    let [0, id @ ..] = bytes.first_chunk::<5>().expect("the wire format") else { panic!("no magic byte: {bytes:?}") };
    u32::from_be_bytes(*id)
}

/// Reads records by the schemas that the registry has.
pub(crate) struct Consumer<'r> {
    registry: &'r Registry,
    schemas: HashMap<u32, Schema>,
}

impl<'r> Consumer<'r> {
    pub(crate) fn new(registry: &'r Registry) -> Self {
        Consumer { registry, schemas: HashMap::new() }
    }

    pub(crate) async fn read(&mut self, bytes: &[u8]) -> Value {
        let id = id(bytes);
        if !self.schemas.contains_key(&id) {
            let schema = Schema::parse_str(&self.registry.schema(id).await).expect("a schema");
            self.schemas.insert(id, schema);
        }
        let mut rest = &bytes[5..];
        let reader = GenericDatumReader::builder(&self.schemas[&id]).build().expect("a reader");
        let value = reader.read_value(&mut rest).expect("a datum");
        assert!(rest.is_empty(), "{rest:?}");
        value
    }

    /// The rows that a topic adds up to, by their keys.
    async fn table(&mut self, records: &[Record]) -> BTreeMap<String, BTreeMap<String, Value>> {
        let mut rows = BTreeMap::new();
        for record in records {
            let key = format!("{:?}", fields(self.read(record.key.as_deref().expect("a key")).await));
            match &record.value {
                None => drop(rows.remove(&key)),
                Some(value) => {
                    let envelope = fields(self.read(value).await);
                    match &envelope["after"] {
                        Value::Null => drop(rows.remove(&key)),
                        after => drop(rows.insert(key, fields(after.clone()))),
                    }
                }
            }
        }
        rows
    }
}

/// A record's members, out of their unions.
pub(crate) fn fields(value: Value) -> BTreeMap<String, Value> {
    let Value::Record(fields) = value else { panic!("no record: {value:?}") };
    let plain = |value| if let Value::Union(_, value) = value { *value } else { value };
    fields.into_iter().map(|(name, value)| (name, plain(value))).collect()
}

/// A table grows a column, loses one and widens one; each is a new version that the registry takes, and a consumer that reads by the
/// registry has what `SELECT` has. Then a column becomes text: the registry refuses, the source halts and says what to do; done, it
/// goes on, and nothing is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_changes_stays_compatible_and_what_cannot_halts_until_it_is_let_in() {
    let (kafka, registry) = (Kafka::shared(), Registry::shared().await);
    let mut stage = Stage::set(&kafka, &avro(&registry.url()));
    stage.caught_up().await;
    let subject = format!("{}-value", stage.topic("t"));
    assert_eq!(registry.versions(&subject).await, 1);
    registry.set_compatibility(&subject, "BACKWARD").await;
    for (ddl, versions) in [
        ("ALTER TABLE t ADD COLUMN \"größer als\" int", 2),
        ("ALTER TABLE t DROP COLUMN v", 3),
        ("ALTER TABLE t ALTER \"größer als\" TYPE bigint", 4),
    ] {
        stage
            .postgres
            .psql(&format!("{ddl}; INSERT INTO t SELECT max(id) + 1, 7 FROM t; UPDATE t SET n = n + 1 WHERE id < 4"));
        stage.caught_up().await;
        assert_eq!(registry.versions(&subject).await, versions, "{ddl}");
    }
    assert_eq!(registry.versions(&format!("{}-key", stage.topic("t"))).await, 1);

    stage.postgres.psql("ALTER TABLE t ALTER n TYPE text; UPDATE t SET n = 'seven' WHERE id = 7");
    let source = stage.source.clone();
    let status = stage.walbridge.wait_for(PATIENCE, |status| status["sources"][&source]["state"] == "halted").await;
    let said = &status["sources"][&source];
    assert_eq!(said["code"], "kafka.schema", "{said}");
    let message = said["message"].as_str().expect("a message");
    assert!(message.contains(&subject) && message.contains("compatibility to NONE"), "{message}");
    registry.set_compatibility(&subject, "NONE").await;
    stage.walbridge.sigterm();
    stage.walbridge.start_again();
    stage.caught_up().await;

    let records = kafka.read_settled(&stage.topic("t"));
    let mut consumer = Consumer::new(&registry);
    let table = consumer.table(&records).await;
    let expected = stage.postgres.psql("SELECT id, n FROM t ORDER BY id");
    let text = |row: &BTreeMap<String, Value>| match (&row["id"], &row["n"]) {
        (Value::Int(id), Value::String(n)) => format!("{id}|{n}"),
        (Value::Int(id), Value::Long(n)) => format!("{id}|{n}"),
        other => panic!("{other:?}"),
    };
    let mut found: Vec<String> = table.values().map(text).collect();
    found.sort_by_key(|line| line.split('|').next().and_then(|id| id.parse::<i32>().ok()));
    assert_eq!(found.join("\n"), expected, "{}", stage.walbridge.log());
    let schema = registry.schema(id(records.last().and_then(|record| record.value.as_deref()).expect("a value"))).await;
    assert!(schema.contains(r#""name":"gr_u00f6_u00dfer_u0020als""#) && schema.contains("größer als"), "{schema}");
}

/// A registry that cannot be reached holds the source up, at the start as well as when a table changes, and no longer than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_away_is_waited_for() {
    let (kafka, registry) = (Kafka::shared(), Registry::shared().await);
    let proxy = Proxy::start(registry.port());
    proxy.refuse();
    let url = format!("http://127.0.0.1:{}{}", proxy.port, crate::support::registry::PATH);
    let mut stage = Stage::set(&kafka, &avro(&url));
    let source = stage.source.clone();
    for ddl in ["SELECT 1", "ALTER TABLE t ADD COLUMN extra int; INSERT INTO t VALUES (11, 0, 'a', 7)"] {
        proxy.refuse();
        stage.postgres.psql(ddl);
        let code = |status: &serde_json::Value| status["sources"][&source]["code"] == "kafka.registry";
        stage.walbridge.wait_for(PATIENCE, code).await;
        proxy.heal();
        stage.caught_up().await;
    }
    let records = kafka.read_settled(&stage.topic("t"));
    assert_eq!(Consumer::new(&registry).table(&records).await.len(), 11);
}

/// A registry behind TLS and a password: a wrong password and a schema that nobody registered halt the sink and say what to do; with
/// both mended the topics have everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_says_what_keeps_its_registry_from_taking_it() {
    let (kafka, registry) = (Kafka::shared(), Registry::shared().await);
    let mut stage = Stage::prepare(&kafka, "");
    let folder = stage.walbridge.directory().to_owned();
    let files = crate::support::postgres::certificate::write(&folder);
    let port = guard(&files, registry.port()).await;
    let url = format!("https://localhost:{port}{}", crate::support::registry::PATH);
    let ca = folder.join(crate::support::postgres::certificate::CA);
    let text = |password: &str, auto_register: bool| {
        format!(
            "[sources.{source}]\nurl = \"{}\"\ntables = [\"public.*\"]\nslot = \"kafka_test\"\n[log]\npath = \"log\"\n\
             [sinks.events]\nkind = \"kafka\"\nfrom = \"public.*\"\nbrokers = \"{}\"\nformat = \"avro\"\n\
             schema_registry = {{ url = \"{url}\", ca = \"{}\", username = \"shop\", password = \"{password}\", auto_register = {auto_register} }}\n",
            stage.postgres.url(),
            kafka.brokers(),
            ca.display(),
            source = stage.source,
        )
    };
    for (text, code, says) in [
        (text("wrong", true), "security.auth", "Mend username and password"),
        (text("open sesame", false), "kafka.schema", "auto_register"),
    ] {
        stage.walbridge.configure(&text);
        stage.walbridge.start_again();
        let halted = |status: &serde_json::Value| status["sinks"]["events"]["state"] == "halted";
        let status = stage.walbridge.wait_for(PATIENCE, halted).await;
        let sink = &status["sinks"]["events"];
        assert_eq!(sink["code"], code, "{sink}");
        assert!(sink["message"].as_str().is_some_and(|message| message.contains(says)), "{sink}");
        stage.walbridge.sigterm();
    }
    stage.walbridge.configure(&text("open sesame", true));
    stage.walbridge.start_again();
    stage.caught_up().await;
    let records = kafka.read_settled(&stage.topic("t"));
    assert_eq!(Consumer::new(&registry).table(&records).await.len(), 10, "{}", stage.walbridge.log());
}

/// Answers with TLS, and lets through to the port those who know the password.
async fn guard(files: &crate::support::postgres::certificate::Certificate, to: u16) -> u16 {
    let certificates = CertificateDer::pem_file_iter(&files.certificate).expect("PEM").map(|found| found.expect("PEM"));
    let key = PrivateKeyDer::from_pem_file(&files.key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(certificates.collect(), key)
        .expect("a certificate");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = vec![0; 2048];
                let length = stream.read(&mut head).await.unwrap_or_default();
                // shop:open sesame
                let knows = String::from_utf8_lossy(&head[..length]).contains("Basic c2hvcDpvcGVuIHNlc2FtZQ==");
                if knows {
                    let mut registry = TcpStream::connect(("127.0.0.1", to)).await.expect("the registry");
                    registry.write_all(&head[..length]).await.expect("written");
                    drop(tokio::io::copy_bidirectional(&mut stream, &mut registry).await);
                } else {
                    let answer = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                    stream.write_all(answer).await.expect("written");
                    drop(stream.shutdown().await);
                }
            });
        }
    });
    port
}
