//! `walbridge rebuild` of the keys in Redis: readers find one state or the other, whatever is killed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::support::equal::{hash_equals, json_equals};
use crate::support::{PgOptions, Postgres, Redis, Walbridge, eventually};

const PATIENCE: Duration = Duration::from_secs(90);

const SOURCE: &str = "CREATE TABLE t (id int PRIMARY KEY, n int, name text); INSERT INTO t SELECT i, 0, 'row ' || i FROM generate_series(1, 800) i;
    CREATE TABLE tags (tag text, id int, PRIMARY KEY (tag, id)); INSERT INTO tags SELECT 'tag' || i % 7, i FROM generate_series(1, 300) i;
    CREATE TABLE emptied (id int PRIMARY KEY); INSERT INTO emptied SELECT generate_series(1, 50)";

fn config(source: &Postgres, redis: &Redis, members: &str) -> String {
    let (source, redis) = (source.url(), redis.url());
    format!(
        "[sources.shop]\nurl = \"{source}\"\ntables = \"public.*\"\n[log]\npath = \"log\"\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{redis}\"\nfrom = [\"public.t\", \"public.emptied\"]\nttl = \"1h\"\nttl_jitter = \"1h\"\nbatch = {{ rows = 20 }}\n\
         [sinks.hash]\nkind = \"redis\"\nurl = \"{redis}\"\nfrom = \"public.t\"\nkey = \"hash:{{id}}\"\nvalue = \"hash\"\nbatch = {{ rows = 20 }}\n\
         [sinks.tags]\nkind = \"redis\"\nurl = \"{redis}\"\nfrom = \"public.tags\"\nkey = \"{members}:{{tag}}\"\nvalue = \"set\"\nmember = \"{{id}}\"\nbatch = {{ rows = 20 }}\n\
         [sinks.stream]\nkind = \"redis\"\nurl = \"{redis}\"\nfrom = \"public.t\"\nvalue = \"stream\"\nkey = \"changes\"\n\
         [sinks.newest]\nkind = \"redis\"\nurl = \"{redis}\"\nfrom = \"public.t\"\nkey = \"newest\"\nvalue = \"list\"\nmember = \"{{id}}\"\nentries_max = 10\n\
         [sinks.drop]\nkind = \"redis\"\nurl = \"{redis}\"\nfrom = \"public.t\"\nkey = \"cached:{{id}}\"\nvalue = \"invalidate\"\n"
    )
}

fn order(walbridge: &Walbridge, arguments: &[&str]) -> Result<String, String> {
    let output = walbridge.run(&[&["rebuild"], arguments].concat());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

async fn keys(redis: &Redis, pattern: &str) -> Vec<String> {
    redis::cmd("KEYS").arg(pattern).query_async(&mut redis.connection().await).await.expect("KEYS")
}

async fn tell(redis: &Redis, script: &str) {
    let () = redis::cmd("EVAL").arg(script).arg(0).query_async(&mut redis.connection().await).await.expect("a script");
}

/// The members of the sets of this name.
async fn tags(redis: &Redis, name: &str) -> BTreeMap<String, Vec<i64>> {
    let mut found = BTreeMap::new();
    for key in keys(redis, &format!("{name}:*")).await {
        let mut members: Vec<i64> =
            redis::cmd("SMEMBERS").arg(&key).query_async(&mut redis.connection().await).await.expect("a set");
        members.sort_unstable();
        found.insert(key, members);
    }
    found
}

fn tags_of(source: &Postgres, name: &str) -> BTreeMap<String, Vec<i64>> {
    let mut wanted: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for row in source.psql("SELECT tag, id FROM tags ORDER BY tag, id").lines() {
        let (tag, id) = row.split_once('|').expect("two columns");
        wanted.entry(format!("{name}:{tag}")).or_default().push(id.parse().expect("a number"));
    }
    wanted
}

/// Rows change, readers look on, until all of these have been rebuilt: never is a row missing that was there.
async fn rebuilt(walbridge: &Walbridge, source: &Postgres, redis: &Redis, sinks: &[&str]) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        source.psql("UPDATE t SET n = n + 1 WHERE id = 700; UPDATE tags SET tag = tag WHERE id = 7");
        let whole = "return {#redis.call('KEYS', 'public.t:7*'), #redis.call('KEYS', 'hash:7*')}";
        let seen: (u32, u32) =
            redis::cmd("EVAL").arg(whole).arg(0).query_async(&mut redis.connection().await).await.expect("a look");
        assert_eq!(seen, (111, 111), "7, 70 to 79, 700 to 799");
        let status: Value = walbridge.status().await["sinks"].clone();
        let done = |sink: &&str| status[*sink]["rebuild"].is_null() && status[*sink]["rebuilt"].is_string();
        if sinks.iter().all(done) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{status:#}");
    }
}

/// A rebuild that is canceled leaves nothing behind, and the keys as they are. It cannot be compared with a locked table, and so not end by itself.
async fn cancel(walbridge: &mut Walbridge, source: &Postgres, redis: &Redis) {
    let lock = source.client().await;
    lock.batch_execute("BEGIN; LOCK TABLE t IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
    order(walbridge, &["hash"]).expect("a beginning");
    eventually(PATIENCE, || async {
        if keys(redis, "walbridge:hash:built:*").await.is_empty() { Err("nothing is beside yet") } else { Ok(()) }
    })
    .await;
    let said = order(walbridge, &["hash", "--cancel"]).expect("an end");
    assert!(said.contains("is removed"), "{said}");
    assert_eq!(keys(redis, "walbridge:hash:built:*").await, [""; 0]);
    assert_eq!(keys(redis, "walbridge:hash:beside:*").await, [""; 0]);
    lock.batch_execute("ROLLBACK").await.expect("no lock");
    source.psql("UPDATE t SET n = 5 WHERE id = 6");
    caught_up(walbridge, source).await;
    hash_equals(source, redis, "SELECT * FROM t", "hash:{id}").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_keys_are_built_anew_under_load_and_over_a_sigkill() {
    let (source, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    source.psql(SOURCE);
    let mut walbridge = Walbridge::start(&config(&source, &redis, "tags"));
    caught_up(&mut walbridge, &source).await;
    source.psql("DELETE FROM emptied");
    source.psql("DO $$ BEGIN FOR i IN 1..300 LOOP UPDATE t SET n = n + 1 WHERE id = i; COMMIT; END LOOP; END $$");
    caught_up(&mut walbridge, &source).await;
    tell(
        &redis,
        "for i = 101, 150 do redis.call('DEL', 'public.t:' .. i); redis.call('HSET', 'hash:' .. i, 'n', '99') end
         for i = 1001, 1100 do redis.call('SET', 'public.t:' .. i, 'stray'); redis.call('HSET', 'hash:' .. i, 'n', '99') end
         redis.call('SET', 'public.emptied:7', 'stray'); redis.call('SADD', 'tags:none', 1); redis.call('SREM', 'tags:tag0', 7)",
    )
    .await;
    for (sink, why) in [("stream", "keeps history"), ("drop", "keeps nothing")] {
        let refused = order(&walbridge, &[sink]).expect_err("it is not for it");
        assert!(refused.contains(why), "{refused}");
    }
    for sink in ["cache", "hash", "tags"] {
        let said = order(&walbridge, &[sink, "--keep-old"]).expect("a beginning");
        assert!(said.contains("builds another from events 0 up to"), "{said}");
    }
    walbridge.sigkill();
    walbridge.start_again();
    rebuilt(&walbridge, &source, &redis, &["cache", "hash", "tags"]).await;
    caught_up(&mut walbridge, &source).await;
    json_equals(&source, &redis, "SELECT * FROM t", "public.t:{id}").await;
    hash_equals(&source, &redis, "SELECT * FROM t", "hash:{id}").await;
    assert_eq!(tags(&redis, "tags").await, tags_of(&source, "tags"));
    assert_eq!(keys(&redis, "public.*").await.len() + keys(&redis, "hash:*").await.len(), 1600, "no stray is left");
    assert_eq!(keys(&redis, "walbridge:*:built:*").await, [""; 0]);
    let (strays, kept) =
        (keys(&redis, "walbridge:cache:kept:*:public.t:1???").await, "walbridge:tags:kept:*:tags:none");
    assert_eq!((strays.len(), keys(&redis, kept).await.len()), (100, 1), "what was there is kept");
    for sink in ["cache", "hash", "tags"] {
        let output = walbridge.run(&["verify", sink]);
        assert_eq!(output.status.code(), Some(0), "{sink}: {}", String::from_utf8_lossy(&output.stdout));
    }

    cancel(&mut walbridge, &source, &redis).await;

    // What keeps only the newest rows lacks the others, which is no reason against it.
    tell(&redis, "redis.call('LPUSH', 'newest', 'stray')").await;
    let said = order(&walbridge, &["newest", "--wait"]).expect("all of it");
    assert!(said.contains("has taken the place"), "{said}");
    let newest: Vec<String> = redis::cmd("LRANGE")
        .arg("newest")
        .arg(0)
        .arg(-1)
        .query_async(&mut redis.connection().await)
        .await
        .expect("a list");
    assert_eq!(newest.len(), 10);
    assert!(newest.iter().all(|id| id.parse::<u32>().is_ok()), "{newest:?}");
    assert_eq!(walbridge.sigterm(), Some(0));
}
