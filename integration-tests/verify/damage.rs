//! Redis caches and an embedded index that somebody has been at.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};

use super::{Load, TABLE, Verified, begin, cache, source, text, verify};
use crate::pipeline::caught_up;
use crate::support::equal::{hash_equals, json_equals};
use crate::support::{PgOptions, Postgres, Redis, Walbridge};

const ALL: &str = "SELECT * FROM t";

/// What is done to documents that nobody changes at the source; and what is to be found.
async fn damage(connection: &mut MultiplexedConnection) -> BTreeMap<String, String> {
    let older: String = redis::cmd("GET").arg("t:1004").query_async(connection).await.expect("a document");
    let stale = older.replace("\"n\":7", "\"n\":0");
    assert_ne!(stale, older);
    let mut pipeline = redis::pipe();
    pipeline
        .cmd("DEL")
        .arg("t:1001")
        .cmd("SET")
        .arg("t:1002")
        .arg("{}")
        .cmd("SET")
        .arg("t:1003")
        .arg("no JSON at all")
        .cmd("SET")
        .arg("t:1004")
        .arg(stale)
        .cmd("DEL")
        .arg("t:1005")
        .cmd("RPUSH")
        .arg("t:1005")
        .arg("a list")
        .cmd("SET")
        .arg("t:77777")
        .arg(&older)
        .cmd("HSET")
        .arg("t:77778")
        .arg("id")
        .arg(77778)
        .cmd("HDEL")
        .arg("h:1001")
        .arg("doc")
        .cmd("HSET")
        .arg("h:1002")
        .arg("more")
        .arg("x")
        .cmd("HSET")
        .arg("h:77777")
        .arg("id")
        .arg(77777)
        .cmd("DEL")
        .arg("h:1500");
    let () = pipeline.query_async(connection).await.expect("damage");
    let found = [
        ("t:1001", "missing"),
        ("t:1002", "different"),
        ("t:1003", "different"),
        ("t:1004", "different"),
        ("t:1005", "different"),
        ("t:77777", "extra"),
        ("t:77778", "extra"),
        ("h:1001", "different"),
        ("h:1002", "different"),
        ("h:77777", "extra"),
        ("h:1500", "missing"),
    ];
    found.map(|(key, what)| (key.to_owned(), what.to_owned())).into()
}

fn of(prefix: &str, found: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    found.iter().filter(|(key, _)| key.starts_with(prefix)).map(|(key, what)| (key.clone(), what.clone())).collect()
}

fn finding<'v>(verified: &'v Verified, key: &str) -> &'v Value {
    verified.findings().iter().find(|found| found["key"] == key).expect("a finding")
}

/// Two clients change rows as fast as they can, all the time. Of what they change nothing may ever look wrong, and of what is wrong nothing may be passed over; a repair
/// writes just that, and in the end all is as `SELECT` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn just_what_was_damaged_is_named_and_repaired_while_all_else_changes() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql(TABLE);
    let hashes = cache(&redis).replace("cache", "hashes").replace("t:{id}", "h:{id}") + "value = \"hash\"\n";
    let config = source(&postgres, "") + &cache(&redis) + &hashes;
    let mut walbridge = Walbridge::start(&config);
    caught_up(&mut walbridge, &postgres).await;
    postgres.psql("UPDATE t SET n = 7 WHERE id > 1000");
    caught_up(&mut walbridge, &postgres).await;
    let quiet = verify(&walbridge, "cache", &[]);
    assert_eq!((quiet.exit_code, quiet.findings()), (Some(0), &[][..]), "{}", quiet.report);
    assert_eq!((quiet.table()["rows"].as_u64(), &quiet.table()["whole"]), (Some(1500), &json!(true)));

    let load = Load::start(&postgres).await;
    for round in 0..3 {
        for sink in ["cache", "hashes"] {
            let sound = verify(&walbridge, sink, &[]);
            assert_eq!((sound.exit_code, sound.findings()), (Some(0), &[][..]), "round {round}: {}", sound.report);
        }
    }
    let mut connection = redis.connection().await;
    let damaged = damage(&mut connection).await;
    for (sink, prefix) in [("cache", "t:"), ("hashes", "h:")] {
        let verified = verify(&walbridge, sink, &[]);
        assert_eq!(verified.found(), of(prefix, &damaged), "{}", verified.report);
        assert_eq!(verified.exit_code, Some(1));
    }
    let verified = verify(&walbridge, "cache", &["--repair"]);
    assert_eq!(verified.found(), of("t:", &damaged), "{}", verified.report);
    assert!(verified.findings().iter().all(|found| found["repaired"] == true), "{}", verified.report);
    assert_eq!(verified.exit_code, Some(0));
    // Both values are told, whatever they are.
    let stale = finding(&verified, "t:1004");
    assert_eq!(
        (&stale["source"]["n"], &stale["sink"]["n"], &stale["sink"]["id"]),
        (&json!(7), &json!(0), &json!(1004))
    );
    assert_eq!(finding(&verified, "t:1003")["sink"], "no JSON at all");
    assert_eq!(
        (&finding(&verified, "t:1001")["sink"], &finding(&verified, "t:77777")["source"]),
        (&Value::Null, &Value::Null)
    );
    assert!(text(&finding(&verified, "t:1005")["sink"]).contains("another type"), "{}", verified.report);
    let verified = verify(&walbridge, "hashes", &["--repair"]);
    assert_eq!((verified.exit_code, verified.found()), (Some(0), of("h:", &damaged)), "{}", verified.report);
    let transactions = load.stop().await;
    println!("{transactions} transactions beside 11 verifications");
    caught_up(&mut walbridge, &postgres).await;
    json_equals(&postgres, &redis, ALL, "t:{id}").await;
    hash_equals(&postgres, &redis, ALL, "h:{id}").await;
    for sink in ["cache", "hashes"] {
        let verified = verify(&walbridge, sink, &[]);
        assert_eq!((verified.exit_code, verified.findings()), (Some(0), &[][..]), "{}", verified.report);
    }
    let status = walbridge.status().await;
    let last = &status["sinks"]["cache"]["verified"];
    assert_eq!(
        (&last["differences"], &last["remaining"], &last["is_whole"]),
        (&json!(0), &json!(0), &json!(true)),
        "{status}"
    );
}

/// Thousands of documents are gone. walbridge is killed in the middle of their repair, more than once; what it was at is as it was, or repaired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_is_killed_is_done_again() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql(TABLE);
    let mut walbridge = Walbridge::start(&(source(&postgres, "") + &cache(&redis)));
    caught_up(&mut walbridge, &postgres).await;
    let mut connection = redis.connection().await;
    let script = "for id = 1, 1500 do redis.call('SET', 't:' .. id, '{}') end";
    let () = redis::cmd("EVAL").arg(script).arg(0).query_async(&mut connection).await.expect("damage");
    let damaged = || async {
        let mut connection = redis.connection().await;
        let script =
            "local n = 0 for id = 1, 1500 do if redis.call('GET', 't:' .. id) == '{}' then n = n + 1 end end return n";
        let damaged: u64 = redis::cmd("EVAL").arg(script).arg(0).query_async(&mut connection).await.expect("a count");
        damaged
    };
    for _ in 0..2 {
        let before = damaged().await;
        let begun = begin(&walbridge, "cache", "{\"repair\": true}").await;
        assert_eq!(begun["repair"], true, "{begun}");
        while damaged().await == before {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        walbridge.sigkill();
        let left = damaged().await;
        println!("{left} of {before} are still damaged");
        walbridge.start_again();
        caught_up(&mut walbridge, &postgres).await;
        if left == 0 {
            break;
        }
        let verified = verify(&walbridge, "cache", &[]);
        assert_eq!(verified.table()["different"].as_u64(), Some(left), "{}", verified.table());
    }
    let verified = verify(&walbridge, "cache", &["--repair"]);
    assert_eq!((verified.exit_code, &verified.table()["missing"]), (Some(0), &json!(0)), "{}", verified.table());
    assert_eq!(damaged().await, 0);
    json_equals(&postgres, &redis, ALL, "t:{id}").await;
}
