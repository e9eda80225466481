//! Who gets what: transactions over several tables, of which a source captures some and a sink takes fewer; and the order of what
//! arrives, whatever the way there is like.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::support::{Direction, PgOptions, Postgres, Proxy, Redis, Walbridge, eventually};

const PATIENCE: Duration = Duration::from_secs(60);

/// The keys in a file sink's lines, in order.
fn keys(walbridge: &Walbridge, file: &str) -> Vec<i64> {
    let text = std::fs::read_to_string(walbridge.directory().join(file)).unwrap_or_default();
    let key = |line: &str| serde_json::from_str::<Value>(line).expect("JSON")["key"]["id"].as_i64().expect("an id");
    text.lines().map(key).collect()
}

/// Scenarios 85 and 86. The publication is somebody's and sends all tables; the source captures two of them, and each sink takes one.
/// Transactions begin and end with what is foreign to a reader, who must neither stop there nor stay behind because of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreign_to_a_sink_in_a_transaction_hides_nothing_behind_it_and_holds_no_checkpoint_back() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql(
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE TABLE foreign_to_all (id int PRIMARY KEY);
         CREATE PUBLICATION everything FOR ALL TABLES; GRANT SELECT ON a, b TO walbridge",
    );
    let sink =
        |name: &str| format!("[sinks.{name}]\nkind = \"file\"\npath = \"{name}.jsonl\"\nfrom = \"public.{name}\"\n");
    let mut walbridge = Walbridge::configured(&format!(
        "[sources.shop]\nurl = \"{}\"\ntables = [\"public.a\", \"public.b\"]\npublication = \"everything\"\n[log]\npath = \"log\"\n{}{}\
         [sinks.cache]\nkind = \"redis\"\nurl = \"{}\"\nfrom = \"public.a\"\nkey = \"a:{{id}}\"\n",
        postgres.url(),
        sink("a"),
        sink("b"),
        redis.url()
    ));
    walbridge.go_on();
    caught_up(&mut walbridge, &postgres).await;
    for n in 0..20 {
        let insert = |table: &str| format!("INSERT INTO {table} VALUES ({n})");
        let mut order = ["foreign_to_all", "a", "b"];
        order.rotate_left(n % 3);
        let statements = order.map(insert).join("; ");
        postgres.psql(&format!("BEGIN; {statements}; UPDATE foreign_to_all SET id = id + 1000 WHERE id = {n}; COMMIT"));
    }
    // The last ones have nothing for one sink, or for any.
    postgres.psql("INSERT INTO b VALUES (100); INSERT INTO foreign_to_all VALUES (100)");
    caught_up(&mut walbridge, &postgres).await;
    let twenty: Vec<i64> = (0..20).collect();
    assert_eq!(keys(&walbridge, "a.jsonl"), twenty);
    assert_eq!(keys(&walbridge, "b.jsonl"), [twenty, vec![100]].concat());
    let status = walbridge.status().await;
    let checkpoints = ["a", "b", "cache"].map(|name| status["sinks"][name]["checkpoint"].as_u64());
    assert_eq!(checkpoints, [Some(41); 3], "{status:#}");
}

const KEYS: i32 = 16;

/// Appends to the lists of hot keys, until told to stop.
async fn append(client: tokio_postgres::Client, writer: i32, stop: Arc<AtomicBool>) {
    let mut n = 0;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let (value, first) = (writer * 1_000_000 + n, (n * 7 + writer) % KEYS);
        // In the order of the keys, or two writers wait for each other.
        let (one, other) = (first.min(KEYS - 1 - first), first.max(KEYS - 1 - first));
        let sql = format!(
            "UPDATE lists SET items = items || {value} WHERE id = {one}; UPDATE lists SET items = items || {value} WHERE id = {other}"
        );
        client.batch_execute(&format!("BEGIN; {sql}; COMMIT")).await.expect("appended");
        // A list is sent whole with each change of it: not too many.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn lists(redis: &Redis) -> HashMap<i32, Vec<i64>> {
    let mut connection = redis.connection().await;
    let keys: Vec<String> = (0..KEYS).map(|id| format!("list:{id}")).collect();
    let values: Vec<Option<String>> = redis::cmd("MGET").arg(&keys).query_async(&mut connection).await.expect("values");
    let items = |text: String| serde_json::from_str::<Value>(&text).ok()?["items"].as_array().cloned();
    let numbers = |items: Vec<Value>| items.iter().filter_map(Value::as_i64).collect();
    (0..KEYS).zip(values).filter_map(|(id, text)| Some((id, numbers(items(text?)?)))).collect()
}

/// Scenario 87. Sixteen hot keys, four writers, and a way to the target that is slow, fast and cut in turns. In a list that is only ever
/// appended to, each version must begin with every earlier one: a swap, a loss or a repeat shows in a single value.
#[tokio::test(flavor = "multi_thread")]
async fn the_versions_of_a_hot_key_arrive_in_order_over_a_way_that_is_slow_and_breaks() {
    let (postgres, redis) = (Postgres::start(PgOptions::default()), Redis::start(&[]));
    postgres.psql(&format!("CREATE TABLE lists (id int PRIMARY KEY, items int[] NOT NULL DEFAULT '{{}}'); INSERT INTO lists SELECT generate_series(0, {})", KEYS - 1));
    let proxy = Proxy::start(redis.port);
    let mut walbridge = Walbridge::start(&format!(
        "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\n[log]\npath = \"log\"\n\
         [sinks.cache]\nkind = \"redis\"\nurl = \"redis://127.0.0.1:{}\"\nfrom = \"public.lists\"\nkey = \"list:{{id}}\"\n",
        postgres.url(),
        proxy.port
    ));
    caught_up(&mut walbridge, &postgres).await;
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for writer in 1..=4 {
        writers.push(tokio::spawn(append(postgres.client().await, writer, stop.clone())));
    }
    let mut seen: HashMap<i32, Vec<i64>> = HashMap::new();
    let longest = |seen: &HashMap<i32, Vec<i64>>| seen.values().map(Vec::len).max().unwrap_or_default();
    let (started, mut look) = (tokio::time::Instant::now(), 0_u64);
    // Until there was something to be seen.
    while look < 60 || longest(&seen) < 40 {
        assert!(started.elapsed() < PATIENCE, "{} appended", longest(&seen));
        look += 1;
        match look % 6 {
            0 => proxy.delay(Direction::Down, Duration::from_millis(look % 20)),
            3 => proxy.heal(),
            // Only for a while: whoever is cut off at every attempt waits longer and longer between two.
            5 if look < 60 => proxy.reset(),
            _ => {}
        }
        for (id, items) in lists(&redis).await {
            let before = seen.insert(id, items.clone()).unwrap_or_default();
            assert!(items.starts_with(&before), "list {id} was {before:?} and is {items:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("a writer");
    }
    proxy.heal();
    let rows = postgres.psql("SELECT id || '=' || array_to_string(items, ',') FROM lists ORDER BY id");
    let wanted: Vec<String> = rows.lines().map(str::to_owned).collect();
    eventually(PATIENCE, || async {
        let mut found: Vec<_> = lists(&redis).await.into_iter().collect();
        found.sort();
        let text = |(id, items): &(i32, Vec<i64>)| {
            format!("{id}={}", items.iter().map(i64::to_string).collect::<Vec<_>>().join(","))
        };
        let found: Vec<String> = found.iter().map(text).collect();
        let differing = found.iter().zip(&wanted).filter(|(found, wanted)| found != wanted).count();
        if found == wanted { Ok(()) } else { Err(format!("{differing} of {} lists differ", found.len())) }
    })
    .await;
}
