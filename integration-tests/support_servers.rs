//! The rig itself: a test that trusts a server or a fault which is not what it says proves nothing.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::postgres::PASSWORD;
use crate::support::{Auth, Direction, PgOptions, Postgres, Proxy, Redis, StopMode};

#[tokio::test]
async fn a_cluster_decodes_and_keeps_its_data_over_every_kind_of_stop() {
    let mut postgres = Postgres::start(PgOptions::default());
    postgres.psql("CREATE TABLE kept (id int PRIMARY KEY); INSERT INTO kept VALUES (1)");
    assert_eq!(postgres.psql("SHOW wal_level"), "logical");
    for mode in [StopMode::Smart, StopMode::Fast, StopMode::Immediate] {
        postgres.stop(mode);
        postgres.start_again();
    }
    let client = postgres.client().await;
    client.batch_execute("INSERT INTO kept VALUES (2)").await.unwrap();
    postgres.kill9();
    assert!(client.batch_execute("SELECT 1").await.is_err());
    postgres.start_again();
    assert_eq!(postgres.psql("SELECT count(*) FROM kept"), "2");
}

#[test]
fn every_supported_major_is_there_and_decodes() {
    for major in [15, 16, 17, 18] {
        let postgres = Postgres::start(PgOptions::of_major(major));
        let version = postgres.psql("SHOW server_version_num");
        assert!(version.starts_with(&major.to_string()), "asked for {major}, got {version}");
        postgres.psql("SELECT pg_create_logical_replication_slot('oracle', 'test_decoding')");
        postgres.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
        let seen = postgres.psql("SELECT data FROM pg_logical_slot_get_changes('oracle', NULL, NULL)");
        assert!(seen.contains("table public.t: INSERT: id[integer]:1"), "{major}: {seen}");
    }
}

#[test]
fn two_clusters_are_two_histories_and_leave_nothing_behind() {
    let first = Postgres::start(PgOptions::default());
    let second = Postgres::start(PgOptions::default());
    assert_ne!(first.port, second.port);
    let (directory, pid) = (first.directory().to_owned(), first.pid().unwrap());
    drop(first);
    assert!(!directory.exists());
    assert!(!crate::support::process::alive(pid));
    assert_eq!(second.psql("SELECT 1"), "1");
    assert!(second.try_psql("SELECT 1/0").unwrap_err().contains("division by zero"));
}

#[test]
fn passwords_and_certificates_are_asked_for_when_wanted() {
    let options = PgOptions { auth: Auth::Scram, tls: true, ..PgOptions::default() };
    let postgres = Postgres::start(options);
    let ask = |password: &str, sslmode: &str| {
        let ca = postgres.ca();
        let url = format!(
            "postgres://postgres@127.0.0.1:{}/postgres?sslmode={sslmode}&sslrootcert={}",
            postgres.port,
            ca.display()
        );
        let mut psql = std::process::Command::new(crate::support::postgres::program("psql"));
        psql.args(["-X", "-At", "-w", "-c", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"]).arg(url);
        let output = psql.env("PGPASSWORD", password).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    assert_eq!(ask(PASSWORD, "verify-full"), "t");
    assert_eq!(ask(PASSWORD, "disable"), "f");
    assert_eq!(ask("wrong", "verify-full"), "");
}

#[tokio::test]
async fn redis_answers_and_comes_back_on_its_port() {
    let mut redis = Redis::start(&[]);
    let mut connection = redis.connection().await;
    let _: () = redis::cmd("SET").arg("a").arg(1).query_async(&mut connection).await.unwrap();
    redis.kill9();
    assert!(redis::cmd("GET").arg("a").query_async::<Option<i64>>(&mut connection).await.is_err());
    redis.start_again();
    let mut connection = redis.connection().await;
    let gone: Option<i64> = redis::cmd("GET").arg("a").query_async(&mut connection).await.unwrap();
    assert_eq!(gone, None);
}

/// Three brokers keep what they acknowledged when one is killed, and the killed one comes back; what a transaction took back is
/// not seen.
#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn a_kafka_of_three_brokers_survives_the_loss_of_its_leader() {
    use crate::support::kafka::Record;
    use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
    let mut kafka = crate::support::Kafka::three();
    kafka.create_topic("kept", 2, &[("cleanup.policy", "compact")]).await;
    let mut config = kafka.client_config();
    config.set("transactional.id", "rig");
    let producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext> = config.create().unwrap();
    let patience = Duration::from_secs(60);
    producer.init_transactions(patience).unwrap();
    let put = |key: &str, value: &str| {
        producer.send(BaseRecord::to("kept").key(key).payload(value).partition(1)).unwrap();
    };
    producer.begin_transaction().unwrap();
    put("a", "1");
    producer.commit_transaction(patience).unwrap();
    let leader = kafka.leader("kept", 1).expect("a leader");
    kafka.kill9(leader);
    producer.begin_transaction().unwrap();
    put("b", "2");
    producer.abort_transaction(patience).unwrap();
    producer.begin_transaction().unwrap();
    put("c", "3");
    producer.commit_transaction(patience).unwrap();
    kafka.start_again(leader);
    let seen = kafka.read("kept");
    assert_eq!(seen.iter().map(Record::key_text).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(kafka.topics(), ["kept"]);
    kafka.delete_topic("kept").await;
    assert_eq!(kafka.partitions("kept"), 0);
}

/// A server that answers each byte with the same byte, for as many connections as come.
fn echo() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut byte = [0];
                while matches!(stream.read(&mut byte), Ok(1)) && stream.write_all(&byte).is_ok() {}
            });
        }
    });
    port
}

fn client(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    stream
}

fn ask(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes)?;
    let mut answer = vec![0; bytes.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[test]
fn the_proxy_holds_back_swallows_and_heals() {
    let proxy = Proxy::start(echo());
    let mut stream = client(proxy.port);
    assert_eq!(ask(&mut stream, b"plain").unwrap(), b"plain");
    proxy.split(Direction::Down);
    assert_eq!(ask(&mut stream, b"split").unwrap(), b"split");
    proxy.blackhole(Direction::Up);
    assert!(ask(&mut stream, b"held").is_err());
    proxy.heal();
    let mut held = [0; 4];
    stream.read_exact(&mut held).unwrap();
    assert_eq!(&held, b"held");
    proxy.swallow(Direction::Down);
    assert!(ask(&mut stream, b"lost").is_err());
    proxy.heal();
    assert_eq!(ask(&mut stream, b"found").unwrap(), b"found");
}

#[test]
fn the_proxy_cuts_at_the_byte_and_refuses_until_healed() {
    let proxy = Proxy::start(echo());
    let mut stream = client(proxy.port);
    proxy.cut_after(Direction::Down, 3);
    stream.write_all(b"abcdef").unwrap();
    let mut seen = Vec::new();
    let ended = stream.read_to_end(&mut seen).unwrap_err();
    assert_eq!(ended.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(seen.len() <= 3, "{seen:?}");
    assert_eq!(proxy.bytes(Direction::Down), 3);
    assert_eq!(ask(&mut client(proxy.port), b"again").unwrap(), b"again");
    proxy.refuse();
    assert!(ask(&mut client(proxy.port), b"refused").is_err());
    proxy.heal();
    assert_eq!(ask(&mut client(proxy.port), b"healed").unwrap(), b"healed");
}
