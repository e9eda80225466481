//! From PostgreSQL to a cluster over all of its slots, while masters die, slots move and walbridge is killed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;

use super::nodes::{REPLICA, ask, cluster, cut_off, id};
use super::run;
use crate::pipeline::caught_up;
use crate::support::cluster::{self, Cluster};
use crate::support::{PgOptions, Postgres, Walbridge, eventually_sync};

const SCHEMA: &str = "CREATE TABLE t (id int PRIMARY KEY, n int NOT NULL, tag text NOT NULL, big text);
    ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
    INSERT INTO t SELECT i, 0, 'tag' || i % 40, repeat(md5(i::text), 100) FROM generate_series(1, 600) i;
    CREATE TABLE tags (tag text, id int, PRIMARY KEY (tag, id)); INSERT INTO tags SELECT 'tag' || i % 40, i FROM generate_series(1, 600) i";

/// Each has another third of the rows change, some of them their keys, and leaves large values alone.
fn change(round: usize) -> String {
    let (keys, most) = (round * 1000, round * 20);
    format!(
        "UPDATE t SET n = n + 1 WHERE id % 3 = {round} % 3; UPDATE t SET id = id + {keys} WHERE id BETWEEN {most} AND {most} + 15;
         DELETE FROM t WHERE id % 50 = {round}; INSERT INTO t VALUES (9000 + {round}, 1, 'new', NULL);
         UPDATE tags SET tag = 'tag' || (id + {round}) % 40 WHERE id % 5 = {round} % 5; DELETE FROM tags WHERE id % 60 = {round}"
    )
}

fn config(postgres: &Postgres, cluster: &Cluster) -> String {
    let (source, url) = (postgres.url(), cluster.url());
    format!(
        "[sources.shop]\nurl = \"{source}\"\ntables = \"public.*\"\n[log]\npath = \"log\"\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{url}\"\nfrom = \"public.t\"\nkey = \"user:{{id}}\"\nbatch = {{ rows = 50 }}\n\
         [sinks.tags]\nkind = \"redis\"\nurl = \"{url}\"\nfrom = \"public.tags\"\nkey = \"{{tag}}\"\nvalue = \"set\"\nmember = \"{{id}}\"\nbatch = {{ rows = 50 }}\n\
         [sinks.changes]\nkind = \"redis\"\nurl = \"{url}\"\nfrom = \"public.t\"\nvalue = \"stream\"\n"
    )
}

/// All documents and sets, as clients of the masters find them.
async fn found(cluster: &Cluster, masters: &[usize]) -> (BTreeMap<String, String>, BTreeMap<String, BTreeSet<i64>>) {
    let (mut rows, mut sets) = (BTreeMap::new(), BTreeMap::new());
    for &master in masters {
        let mut connection = cluster.nodes[master].connection().await;
        let keys: Vec<String> = run(&mut connection, "KEYS", "*").await;
        for key in keys.into_iter().filter(|key| !key.starts_with("walbridge:")) {
            if key.starts_with("user:") {
                let row: String = run(&mut connection, "GET", &key).await;
                rows.insert(key, row);
            } else if key.starts_with("tag") {
                let members: BTreeSet<i64> = run(&mut connection, "SMEMBERS", &key).await;
                sets.insert(key, members);
            }
        }
    }
    (rows, sets)
}

fn wanted(postgres: &Postgres) -> (BTreeMap<String, String>, BTreeMap<String, BTreeSet<i64>>) {
    let rows = postgres.psql("SELECT 'user:' || id, row_to_json(t) FROM t");
    let rows = rows.lines().filter_map(|row| row.split_once('|'));
    let mut sets: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for (tag, id) in postgres.psql("SELECT tag, id FROM tags").lines().filter_map(|row| row.split_once('|')) {
        sets.entry(tag.to_owned()).or_default().insert(id.parse().expect("a number"));
    }
    (rows.map(|(key, row)| (key.to_owned(), row.to_owned())).collect(), sets)
}

/// Moves some slots as `redis-cli --cluster reshard` does.
async fn move_slots(cluster: &Cluster, slots: std::ops::Range<u16>, from: usize, to: usize, all: &[usize]) {
    let (old, new) = (id(cluster, from).await, id(cluster, to).await);
    let (mut source, mut target) = (cluster.nodes[from].connection().await, cluster.nodes[to].connection().await);
    for slot in slots {
        let slot = slot.to_string();
        ask(&mut target, &["SETSLOT", &slot, "IMPORTING", &old]).await;
        ask(&mut source, &["SETSLOT", &slot, "MIGRATING", &new]).await;
        while let keys @ [_, ..] = &*keys_in(&mut source, &slot).await {
            let mut migrate = redis::cmd("MIGRATE");
            migrate.arg("127.0.0.1").arg(cluster.nodes[to].port).arg("").arg(0).arg(20_000).arg("KEYS").arg(keys);
            let _: Value = migrate.query_async(&mut source).await.expect("MIGRATE");
        }
        ask(&mut target, &["SETSLOT", &slot, "NODE", &new]).await;
        ask(&mut source, &["SETSLOT", &slot, "NODE", &new]).await;
        for &other in all {
            ask(&mut cluster.nodes[other].connection().await, &["SETSLOT", &slot, "NODE", &new]).await;
        }
    }
}

async fn keys_in(connection: &mut MultiplexedConnection, slot: &str) -> Vec<String> {
    run(connection, "CLUSTER", ("GETKEYSINSLOT", slot, 100)).await
}

fn verify(walbridge: &Walbridge, sink: &str, more: &[&str]) -> (Option<i32>, String) {
    let output = tokio::task::block_in_place(|| walbridge.run(&[&["verify", sink, "--json"], more].concat()));
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_ends_up_with_what_the_source_has_whatever_becomes_of_its_nodes() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(SCHEMA);
    let mut cluster = cluster().await;
    let fallen = cluster.owner;
    let mut masters: Vec<usize> = (0..3).collect();
    let mut walbridge = Walbridge::start(&config(&postgres, &cluster));
    caught_up(&mut walbridge, &postgres).await;
    assert_eq!(found(&cluster, &masters).await, wanted(&postgres));

    postgres.psql(&change(1));
    let slots = 5461 * u16::try_from(fallen).expect("small") + 100;
    move_slots(&cluster, slots..slots + 40, fallen, (fallen + 1) % 3, &[(fallen + 2) % 3]).await;
    postgres.psql(&change(2));
    walbridge.sigkill();
    walbridge.start_again();
    caught_up(&mut walbridge, &postgres).await;
    assert_eq!(found(&cluster, &masters).await, wanted(&postgres));

    // A master dies with what its replica has not heard of.
    cut_off(&cluster.nodes[fallen], &cluster.nodes[REPLICA]).await;
    postgres.psql(&change(3));
    caught_up(&mut walbridge, &postgres).await;
    postgres.psql(&change(4));
    cluster.nodes[fallen].kill9();
    cluster.nodes[REPLICA].thaw();
    postgres.psql(&change(5));
    walbridge.sigkill();
    masters[fallen] = REPLICA;
    eventually_sync(Duration::from_secs(60), || {
        let role: String = cluster::ask(&cluster.nodes[REPLICA], "INFO", "replication");
        if role.contains("role:master") { Ok(()) } else { Err(role) }
    });
    walbridge.start_again();
    caught_up(&mut walbridge, &postgres).await;
    assert_eq!(found(&cluster, &masters).await, wanted(&postgres));

    // One is emptied.
    let () = cluster::ask(&cluster.nodes[masters[0]], "FLUSHALL", "SYNC");
    postgres.psql(&change(6));
    caught_up(&mut walbridge, &postgres).await;
    eventually_sync(Duration::from_secs(60), || {
        let (rows, sets) =
            tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(found(&cluster, &masters)));
        if (rows, sets) == wanted(&postgres) { Ok(()) } else { Err("not equal yet") }
    });

    damaged_and_repaired(&walbridge, &postgres, &cluster, &masters).await;
    assert_eq!(walbridge.sigterm(), Some(0));
    assert_streamed(&walbridge, &cluster, &masters).await;
}

/// Somebody has been at it.
async fn damaged_and_repaired(walbridge: &Walbridge, postgres: &Postgres, cluster: &Cluster, masters: &[usize]) {
    for sink in ["cache", "tags"] {
        let (code, report) = verify(walbridge, sink, &[]);
        assert_eq!(code, Some(0), "{report}");
    }
    for &master in masters {
        let mut connection = cluster.nodes[master].connection().await;
        let keys: Vec<String> = run(&mut connection, "KEYS", "user:*").await;
        let () = run(&mut connection, "SET", (&keys[0], "{}")).await;
        let () = run(&mut connection, "DEL", &keys[1]).await;
    }
    let (code, report) = verify(walbridge, "cache", &["--repair"]);
    assert_eq!(report.matches("\"user:").count(), 6, "{code:?} {report}");
    assert_eq!(found(cluster, masters).await, wanted(postgres));
    let (code, report) = verify(walbridge, "cache", &[]);
    assert_eq!(code, Some(0), "{report}");

    let refused = tokio::task::block_in_place(|| walbridge.run(&["rebuild", "cache"]));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("many slots of a cluster"), "{told}");
    let doctor = tokio::task::block_in_place(|| walbridge.run(&["doctor", "--json"]));
    let told = String::from_utf8_lossy(&doctor.stdout).into_owned();
    for &master in masters {
        let subject = format!("sink cache at 127.0.0.1:{}", cluster.nodes[master].port);
        assert!(told.contains(&subject), "{subject}: {told}");
    }
}

/// Whatever came twice, each change is in the stream once, in the log's order.
async fn assert_streamed(walbridge: &Walbridge, cluster: &Cluster, masters: &[usize]) {
    let mut stream = Vec::new();
    for &master in masters {
        type Entry = (String, BTreeMap<String, String>);
        let mut range = redis::cmd("XRANGE");
        range.arg("public.t").arg("-").arg("+");
        let found: Result<Vec<Entry>, _> = range.query_async(&mut cluster.nodes[master].connection().await).await;
        stream.extend(found.into_iter().flatten().map(|(_, fields)| fields["event"].clone()));
    }
    let dump = walbridge.run(&["log", "dump", "--json"]);
    let dump = String::from_utf8_lossy(&dump.stdout).into_owned();
    let logged: Vec<&str> = dump.lines().filter(|line| line.contains("\"table\":\"t\"")).collect();
    assert!(logged.len() > 1000, "{} events", logged.len());
    assert_eq!(stream, logged);
}
