//! Debezium's consumers read walbridge's topics unchanged: each keeps a copy of the tables in a database beside them, and what
//! `SELECT` finds there in the end is what it finds in the tables.

use std::sync::Arc;
use std::time::Duration;

use crate::pipeline::caught_up;
use crate::support::connect::Connect;
use crate::support::flink::Flink;
use crate::support::{Kafka, PgOptions, Postgres, Registry, Walbridge, eventually, java};

/// Connect looks through all its plugins before it begins, which takes it more than a minute where several tests share two cores.
const PATIENCE: Duration = Duration::from_secs(240);

/// Tables, the same in a database `mirror` that a consumer writes to, and the topics between them.
struct Mirrored {
    kafka: Arc<Kafka>,
    postgres: Postgres,
    walbridge: Walbridge,
    source: &'static str,
}

impl Mirrored {
    /// With rows that are there before walbridge is, copied into the topics. `log` is added to the log's configuration.
    async fn start(source: &'static str, log: &str) -> Mirrored {
        let (kafka, postgres) = (Kafka::shared(), Postgres::start(PgOptions::default()));
        postgres.psql("CREATE DATABASE mirror");
        postgres.psql(TABLES);
        postgres.psql(&format!("\\connect mirror\n{TABLES}"));
        postgres.psql(EXISTING);
        let mut walbridge = Walbridge::start(&format!(
            "[sources.{source}]\nurl = \"{}\"\ntables = [\"public.*\"]\n\
             [log]\nkind = \"kafka\"\npath = \"log\"\nbrokers = \"{}\"\n{log}\n",
            postgres.url(),
            kafka.brokers()
        ));
        caught_up(&mut walbridge, &postgres).await;
        Mirrored { kafka, postgres, walbridge, source }
    }

    fn topic(&self, table: &str) -> String {
        format!("{}.public.{table}", self.source)
    }

    /// Waits until the consumer's copy is what the tables are.
    async fn equal(&self, tables: &[&str], said: impl Fn() -> String) {
        eventually(PATIENCE, async || {
            for table in tables {
                let rows = format!("SELECT * FROM {table} t ORDER BY 1, 2");
                let (ours, theirs) =
                    (self.postgres.psql(&rows), self.postgres.psql(&format!("\\connect mirror\n{rows}")));
                if ours != theirs {
                    return Err(format!("{table}:\n{ours}\n\nthe consumer's:\n{theirs}\n{}", said()));
                }
            }
            Ok(())
        })
        .await;
    }
}

/// Under `REPLICA IDENTITY FULL`, which Flink asks of Debezium too, values that an update does not touch and PostgreSQL does not send
/// again came as the words for unavailable, and were kept as the value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_of_flinks_ends_with_the_rows_of_select() {
    let mut stage = Mirrored::start("flink", "decimals = \"string\"").await;
    let flink = Flink::start().await;
    for statement in flink_script(&stage).split("\n\n") {
        flink.run(statement).await;
    }
    stage.equal(&["items", "lines", "prices"], || flink.log()).await;
    stage.postgres.psql(&format!("{CHANGES} ALTER TABLE prices REPLICA IDENTITY FULL; {PRICES}"));
    caught_up(&mut stage.walbridge, &stage.postgres).await;
    stage.equal(&["items", "lines", "prices"], || flink.log()).await;
}

/// With schemas, as it needs them: in Avro, read by Connect's converter of the registry's makers. It follows a `TRUNCATE`, and decimals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn debeziums_jdbc_sink_ends_with_the_rows_of_select() {
    let registry = Registry::shared().await;
    let log = format!("format = \"avro\"\nschema_registry = {{ url = \"{}\" }}", registry.url());
    let mut stage = Mirrored::start("jdbc", &log).await;
    let sink = jdbc_sink(&stage, &registry);
    stage.equal(&["items", "lines", "prices"], || sink.log()).await;
    stage.postgres.psql(CHANGES);
    caught_up(&mut stage.walbridge, &stage.postgres).await;
    stage.equal(&["items", "lines", "prices"], || sink.log()).await;
    stage.postgres.psql(PRICES);
    stage.postgres.psql("TRUNCATE lines; INSERT INTO lines VALUES (1, 'after', 1)");
    caught_up(&mut stage.walbridge, &stage.postgres).await;
    stage.equal(&["items", "lines", "prices"], || sink.log()).await;
}

fn jdbc_sink(stage: &Mirrored, registry: &Registry) -> Connect {
    let converter = |side: &str| {
        format!(
            "{side}.converter=io.apicurio.registry.utils.converter.AvroConverter\n\
             {side}.converter.apicurio.registry.url=http://127.0.0.1:{}/apis/registry/v2\n\
             {side}.converter.apicurio.registry.as-confluent=true\n{side}.converter.apicurio.registry.use-id=contentId\n",
            registry.port()
        )
    };
    let connector = format!(
        "name=mirror\nconnector.class=io.debezium.connector.jdbc.JdbcSinkConnector\ntasks.max=1\ntopics={},{},{}\n\
         connection.url=jdbc:postgresql://127.0.0.1:{}/mirror?stringtype=unspecified\nconnection.username=postgres\nconnection.password=none\n\
         insert.mode=upsert\ndelete.enabled=true\ntruncate.enabled=true\nprimary.key.mode=record_key\nschema.evolution=none\n\
         collection.name.format=${{source.table}}\nconsumer.override.isolation.level=read_committed\n\
         consumer.override.auto.offset.reset=earliest\n",
        stage.topic("items"),
        stage.topic("lines"),
        stage.topic("prices"),
        stage.postgres.port
    );
    let machine = [java::QUICK.as_slice(), &["-Xmx384m"]].concat();
    let worker = format!("{}{}offset.flush.interval.ms=1000\n", converter("key"), converter("value"));
    Connect::start(&machine, &stage.kafka, &java::installed("jdbc-sink"), &worker, &connector)
}

fn flink_script(stage: &Mirrored) -> String {
    let topic = |table: &str| {
        format!(
            "'connector' = 'kafka', 'properties.bootstrap.servers' = '{}', 'topic' = '{}', 'scan.startup.mode' = 'earliest-offset',
             'properties.isolation.level' = 'read_committed', 'format' = 'debezium-json',
             'debezium-json.timestamp-format.standard' = 'ISO-8601'",
            stage.kafka.brokers(),
            stage.topic(table)
        )
    };
    let mirror = |table: &str| {
        format!(
            "'connector' = 'jdbc', 'url' = 'jdbc:postgresql://127.0.0.1:{}/mirror?user=postgres&stringtype=unspecified', 'table-name' = '{table}',
             'sink.buffer-flush.interval' = '100ms'",
            stage.postgres.port
        )
    };
    // Microseconds are more digits than Flink's functions of time have.
    let moment = |column: &str, format: &str| {
        let fraction = format!("MOD(MOD({column}, 1000000) + 1000000, 1000000)");
        let seconds = format!("DATE_FORMAT(TO_TIMESTAMP_LTZ(({column} - {fraction}) / 1000, 3), '{format}')");
        format!("{seconds} || '.' || LPAD(CAST({fraction} AS STRING), 6, '0')")
    };
    FLINK
        .replace("{clock}", &moment("clock", "HH:mm:ss"))
        .replace("{seen}", &moment("seen", "yyyy-MM-dd HH:mm:ss"))
        .replace("{items}", &topic("items"))
        .replace("{lines}", &topic("lines"))
        .replace("{mirrored items}", &mirror("items"))
        .replace("{mirrored lines}", &mirror("lines"))
        .replace("{prices}", &topic("prices"))
        .replace("{mirrored prices}", &mirror("prices"))
}

const TABLES: &str = "
CREATE TYPE mood AS ENUM ('sad', 'it''s \"ok\"');
CREATE TABLE items (id int PRIMARY KEY, small smallint, big bigint, flag boolean, rough real, ratio double precision, word text, code varchar(20),
    uid uuid, doc jsonb, raw bytea, feeling mood, day date, clock time, seen timestamp, at timestamptz, tags text[], address inet, long text);
CREATE TABLE lines (a int, b text, n bigint, PRIMARY KEY (a, b));
CREATE TABLE prices (id numeric(6, 2) PRIMARY KEY, price numeric(12, 4), amount numeric);
ALTER TABLE items REPLICA IDENTITY FULL; ALTER TABLE lines REPLICA IDENTITY FULL; ALTER TABLE items ALTER long SET STORAGE EXTERNAL;
";

const EXISTING: &str = r#"
INSERT INTO items SELECT i, i, i * 10000000000, i % 2 = 0, i / 4.0, i / 8.0, 'word ' || i, 'code', gen_random_uuid(), jsonb_build_object('i', i),
    decode('00ff', 'hex'), 'it''s "ok"', date '2026-01-01' + i, time '10:00:00.123456', timestamp '2026-01-01 10:00:00.000001' + i * interval '1 day',
    timestamptz '2026-01-01 10:00:00.000001+00' + i * interval '1 day', ARRAY['a', NULL, 'c'], '10.0.0.1', repeat('long', 1000) FROM generate_series(1, 20) i;
INSERT INTO items (id) VALUES (0);
INSERT INTO prices VALUES (1, 12.5, 1e30), (2, -99999999.9999, 0.000000001), (3, NULL, 'NaN');
INSERT INTO lines SELECT i % 3, 'line ' || i, i FROM generate_series(1, 20) i;
"#;

const CHANGES: &str = r#"
INSERT INTO items (id, word) VALUES (100, 'new'), (101, NULL), (102, 'gone');
UPDATE items SET word = 'changed', small = NULL, flag = NOT flag WHERE id < 5;
UPDATE items SET id = id + 1000 WHERE id BETWEEN 6 AND 8;
UPDATE items SET long = repeat('other', 1000) WHERE id = 9;
DELETE FROM items WHERE id IN (10, 102);
BEGIN; INSERT INTO lines VALUES (7, 'x', 1), (7, 'y', 1); UPDATE lines SET n = n + 1; UPDATE lines SET n = n + 1 WHERE a = 7; DELETE FROM lines WHERE b = 'y';
INSERT INTO lines VALUES (7, 'y', 5); COMMIT;
BEGIN; DELETE FROM items; ROLLBACK;
UPDATE lines SET b = 'é "quoted" \ 🦀' WHERE b = 'line 1';
UPDATE items SET rough = 'NaN', ratio = '-Infinity', doc = '{"b": [1, 2.50, null]}', tags = '{}', seen = '1969-12-31 23:59:59.999999' WHERE id = 11;
UPDATE items SET word = coalesce(word, '') || '!'; UPDATE lines SET n = -n;
"#;

const PRICES: &str = "UPDATE prices SET price = 1.5, amount = 'Infinity' WHERE id = 1; UPDATE prices SET id = 2.50 WHERE id = 3; DELETE FROM prices WHERE id = 2;";

const FLINK: &str = "
CREATE TABLE items (
    id INT, small SMALLINT, big BIGINT, flag BOOLEAN, rough FLOAT, ratio DOUBLE, word STRING, code STRING, uid STRING, doc STRING, `raw` BYTES,
    feeling STRING, `day` INT, clock BIGINT, seen BIGINT, `at` TIMESTAMP_LTZ(6), tags ARRAY<STRING>, address STRING, `long` STRING,
    PRIMARY KEY (id) NOT ENFORCED
) WITH ({items});

CREATE TABLE lines (a INT, b STRING, n BIGINT, PRIMARY KEY (a, b) NOT ENFORCED) WITH ({lines});

CREATE TABLE mirrored_items (
    id INT, small SMALLINT, big BIGINT, flag BOOLEAN, rough FLOAT, ratio DOUBLE, word STRING, code STRING, uid STRING, doc STRING, `raw` BYTES,
    feeling STRING, `day` STRING, clock STRING, seen STRING, `at` STRING, tags STRING, address STRING, `long` STRING,
    PRIMARY KEY (id) NOT ENFORCED
) WITH ({mirrored items});

CREATE TABLE prices (id DECIMAL(6, 2), price DECIMAL(12, 4), amount STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ({prices});

CREATE TABLE mirrored_prices (id DECIMAL(6, 2), price DECIMAL(12, 4), amount STRING, PRIMARY KEY (id) NOT ENFORCED) WITH ({mirrored prices});

CREATE TABLE mirrored_lines (a INT, b STRING, n BIGINT, PRIMARY KEY (a, b) NOT ENFORCED) WITH ({mirrored lines});

EXECUTE STATEMENT SET BEGIN
INSERT INTO mirrored_items SELECT
    id, small, big, flag, rough, ratio, word, code, uid, doc, `raw`, feeling,
    CAST(TIMESTAMPADD(DAY, `day`, DATE '1970-01-01') AS STRING),
    {clock}, {seen},
    CAST(`at` AS STRING) || '+00',
    '{' || ARRAY_JOIN(tags, ',', 'NULL') || '}',
    address, `long` FROM items;
INSERT INTO mirrored_lines SELECT * FROM lines;
INSERT INTO mirrored_prices SELECT * FROM prices;
END;
";
