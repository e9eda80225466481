//! Tables with more keys than the memory that a verification is given for them.

use std::collections::BTreeMap;
use std::fs;

use serde_json::json;

use super::{Load, TABLE, begin, cache, reported, source, text, verify};
use crate::pipeline::caught_up;
use crate::support::equal::json_equals;
use crate::support::{PgOptions, Postgres, Redis, Walbridge};

/// Two thousand keys in memory, and a hundred suspects.
const LITTLE: [&str; 2] = ["--memory", "64KiB"];
const EXTRA: std::ops::Range<u32> = 500_000..500_700;

/// Beside the rows that change, as many again as fit, three times over.
async fn open(postgres: &Postgres, redis: &Redis) -> Walbridge {
    postgres.psql(TABLE);
    postgres.psql("INSERT INTO t SELECT i, 0, NULL, NULL FROM generate_series(2001, 8000) i");
    let mut walbridge = Walbridge::start(&(source(postgres, "") + &cache(redis)));
    caught_up(&mut walbridge, postgres).await;
    walbridge
}

/// What is put where, and how it is to be found.
async fn damage(redis: &Redis) -> BTreeMap<String, String> {
    let mut connection = redis.connection().await;
    let mut pipeline = redis::pipe();
    let mut found = BTreeMap::new();
    for id in (2500..8000).step_by(500) {
        pipeline.cmd("DEL").arg(format!("t:{id}"));
        found.insert(format!("t:{id}"), "missing".to_owned());
        pipeline.cmd("SET").arg(format!("t:{}", id + 1)).arg("{}");
        found.insert(format!("t:{}", id + 1), "different".to_owned());
    }
    for id in EXTRA {
        pipeline.cmd("SET").arg(format!("t:{id}")).arg(json!({ "id": id }).to_string());
        found.insert(format!("t:{id}"), "extra".to_owned());
    }
    let () = pipeline.query_async(&mut connection).await.expect("damage");
    found
}

/// Of a table of more than two million rows the sink's extra keys were looked for in a part of all hashes only, and it was never verified whole. Here the memory is made small instead of the table large. Rows change,
/// come and go all the time, and just what was damaged is found and repaired, in several turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_larger_than_the_memory_is_verified_whole_and_repaired_while_all_else_changes() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    let mut walbridge = open(&postgres, &redis).await;
    let roomy = verify(&walbridge, "cache", &[]);
    assert_eq!((roomy.exit_code, roomy.table()["turns"].as_u64()), (Some(0), Some(1)), "{}", roomy.report);
    assert!(roomy.table()["keys"].as_u64() >= Some(7500), "{}", roomy.report);

    let load = Load::start(&postgres).await;
    let sound = verify(&walbridge, "cache", &LITTLE);
    assert_eq!((sound.exit_code, sound.findings()), (Some(0), &[][..]), "{}", sound.report);
    assert_eq!(sound.table()["whole"], true, "{}", sound.report);
    assert!(sound.table()["turns"].as_u64() > Some(2), "{}", sound.report);
    let damaged = damage(&redis).await;
    let verified = verify(&walbridge, "cache", &LITTLE);
    assert!(verified.found() == damaged, "{}", verified.table());
    assert_eq!(verified.exit_code, Some(1));
    // A key is counted once, however often SCAN tells it.
    assert_eq!(verified.table()["extra"].as_u64(), Some(EXTRA.len() as u64), "{}", verified.table());
    assert!(verified.table()["turns"].as_u64() > sound.table()["turns"].as_u64(), "suspects take turns, too");
    let repaired = verify(&walbridge, "cache", &[&LITTLE[..], &["--repair"]].concat());
    assert!(repaired.found() == damaged, "{}", repaired.table());
    assert_eq!((repaired.exit_code, &repaired.table()["whole"]), (Some(0), &json!(true)), "{}", repaired.table());
    assert_eq!(repaired.table()["repaired"].as_u64(), Some(damaged.len() as u64), "{}", repaired.table());
    // All rows go and others come: those that were there count no more.
    postgres.psql("TRUNCATE t; INSERT INTO t SELECT i, 0, NULL, NULL FROM generate_series(3001, 7000) i");
    let emptied = verify(&walbridge, "cache", &LITTLE);
    assert_eq!((emptied.exit_code, emptied.findings()), (Some(0), &[][..]), "{}", emptied.report);
    load.stop().await;
    caught_up(&mut walbridge, &postgres).await;
    json_equals(&postgres, &redis, "SELECT * FROM t", "t:{id}").await;
    let sound = verify(&walbridge, "cache", &LITTLE);
    assert_eq!((sound.exit_code, sound.findings()), (Some(0), &[][..]), "{}", sound.report);
}

/// Where the keys cannot be kept, the rows are compared all the same, and the table is not called whole. A SIGKILL leaves nothing behind.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_room_for_its_keys_a_table_is_not_called_whole_and_a_sigkill_leaves_nothing() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    let mut walbridge = open(&postgres, &redis).await;
    let letters = walbridge.directory().join("log/dead-letters");
    begin(&walbridge, "cache", r#"{"memory": 65536}"#).await;
    reported(&walbridge, "cache", |report| report["tables"][0]["rows"].as_u64() > Some(4000)).await;
    walbridge.sigkill();
    let left: Vec<_> =
        fs::read_dir(&letters).expect("a directory").map(|entry| entry.expect("one").file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("verify")), "{left:?}");
    walbridge.start_again();
    caught_up(&mut walbridge, &postgres).await;

    let damaged = damage(&redis).await;
    let away = letters.with_extension("away");
    fs::rename(&letters, &away).expect("renamed");
    let verified = verify(&walbridge, "cache", &[&LITTLE[..], &["--repair"]].concat());
    let rows: BTreeMap<_, _> =
        damaged.iter().filter(|(_, what)| *what != "extra").map(|(k, w)| (k.clone(), w.clone())).collect();
    assert_eq!((verified.exit_code, verified.found()), (Some(3), rows), "{}", verified.report);
    assert_eq!(verified.table()["whole"], false);
    let why = text(&verified.table()["not_whole"]);
    assert!(why.contains("dead-letters") && why.contains("--memory"), "{why}");
    let roomy = verify(&walbridge, "cache", &[]);
    assert_eq!((roomy.exit_code, roomy.findings().len()), (Some(1), EXTRA.len()), "{}", roomy.table());
    fs::rename(&away, &letters).expect("renamed back");
    let verified = verify(&walbridge, "cache", &[&LITTLE[..], &["--repair"]].concat());
    assert_eq!((verified.exit_code, &verified.table()["whole"]), (Some(0), &json!(true)), "{}", verified.table());
}
