//! A sink that several processes share by partitions: whatever becomes of them, it ends with the table.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use super::kills::setting;
use super::{PATIENCE, Stage, replay};
use crate::support::equal::json_equals;
use crate::support::process::{self, Signal};
use crate::support::proxy::{Direction, Proxy};
use crate::support::{Kafka, Postgres, Redis, Walbridge, eventually};

/// What captures, and how each of those that deliver is configured.
struct Shared {
    stage: Stage,
    redis: Redis,
}

const TABLES: &str = "CREATE TABLE u (a int, b text, big text, n int, PRIMARY KEY (a, b));
     ALTER TABLE u ALTER COLUMN big SET STORAGE EXTERNAL;
     INSERT INTO u SELECT i, 'b' || i % 3, repeat(i::text, 3000), 0 FROM generate_series(1, 60) i";

impl Shared {
    /// Table `u` has four partitions and `t` one, so that two workers have some of `u` each.
    async fn set(kafka: &Kafka) -> Shared {
        let log = "properties = { \"session.timeout.ms\" = 6000, \"topic.metadata.refresh.interval.ms\" = 1000 }";
        let mut stage = Stage::prepare(kafka, log);
        kafka.create_topic(&stage.topic("u"), 4, &[]).await;
        stage.postgres.psql(TABLES);
        stage.walbridge.only("capture");
        stage.walbridge.start_again();
        Shared { stage, redis: Redis::start(&[]) }
    }

    /// One that delivers, not started yet, and reaches Redis there.
    fn worker(&self, redis_port: u16) -> Walbridge {
        let text = std::fs::read_to_string(self.stage.walbridge.config_path()).expect("the configuration");
        let text = text.split("[admin]").next().expect("all before it");
        let sink = format!(
            "[sinks.cache]\nkind = \"redis\"\nfrom = \"public.*\"\nshare = \"partitions\"\n\
             url = \"redis://127.0.0.1:{redis_port}\"\n"
        );
        let mut worker = Walbridge::configured(&format!("{text}\n{sink}"));
        worker.only("deliver");
        worker
    }

    /// Waits until Redis has what PostgreSQL has, and nothing besides.
    async fn equal(&self) {
        json_equals(&self.stage.postgres, &self.redis, "SELECT * FROM t", "public.t:{id}").await;
        json_equals(&self.stage.postgres, &self.redis, "SELECT * FROM u", "public.u:{a}:{b}").await;
    }

    fn psql(&self, sql: &str) {
        self.stage.postgres.psql(sql);
    }
}

fn given(worker: &Walbridge) -> usize {
    worker.log().matches("partitions given").count()
}

/// Writes of every kind: rows that change, that get other keys and swap them, with values that lie out of line; deletes; truncations in the
/// middle of transactions.
async fn write(postgres: &Postgres, rounds: u64, random: &mut StdRng) {
    let client = postgres.client().await;
    for round in 0..rounds {
        let id = random.random_range(1..=10);
        let a = random.random_range(1..=60);
        let sql = match random.random_range(0..40) {
            0 => format!(
                "BEGIN; INSERT INTO u VALUES (1000, 'gone', 'x', 0); TRUNCATE u; \
                 INSERT INTO u SELECT i, 'b' || i % 3, repeat(i::text, 3000), {round} FROM generate_series(1, 60) i; COMMIT"
            ),
            1..=4 => "UPDATE u SET a = 61 - a WHERE b = 'b0'; UPDATE u SET a = -a WHERE a < 30; UPDATE u SET a = -a WHERE a < 0".to_owned(),
            5..=8 => format!("UPDATE u SET b = 'c' || n, n = n + 1 WHERE a = {a}"),
            9..=11 => format!("DELETE FROM u WHERE a = {a}; INSERT INTO u VALUES ({a}, 'again', repeat('y', 4000), {round})"),
            12..=14 => format!("DELETE FROM t WHERE id = {id}; INSERT INTO t VALUES ({id}, {round}, 'new')"),
            15..=25 => format!("UPDATE u SET n = n + 1 WHERE a % 7 = {}", a % 7),
            _ => format!("UPDATE t SET n = n + 1 WHERE id IN ({id}, {})", (id + 3) % 10 + 1),
        };
        // A key that is taken already is a transaction that did not take place.
        let _ = client.batch_execute(&sql).await;
        let _ = client.batch_execute("ROLLBACK").await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..8))).await;
    }
}

/// Scenario 109. The second worker comes and goes, asked or killed, while writes go on and the target is slow at times: everything arrives,
/// and nothing older over something newer. `ROUNDS=2000` makes a long run; `SEED=n` repeats the schedule.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shared_sink_ends_with_the_tables_whatever_workers_come_and_go() {
    let (rounds, seed) = (setting("ROUNDS", 600), setting("SEED", u64::from(std::process::id())));
    println!("ROUNDS={rounds} SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let kafka = Kafka::shared();
    let shared = Shared::set(&kafka).await;
    let slow = Proxy::start(shared.redis.port);
    let (mut first, mut second) = (shared.worker(shared.redis.port), shared.worker(slow.port));
    first.go_on();
    let mut writes = StdRng::seed_from_u64(seed);
    let writing = write(&shared.stage.postgres, rounds, &mut writes);
    let churn = async {
        for round in 0.. {
            slow.delay(Direction::Up, Duration::from_millis(random.random_range(0..30)));
            let before = given(&second);
            second.go_on();
            eventually(PATIENCE, || async { if given(&second) > before { Ok(()) } else { Err(second.log()) } }).await;
            tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
            if round % 2 == 0 {
                assert_eq!(second.sigterm(), Some(0), "{}", second.log());
            } else {
                second.sigkill();
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = churn => {}
    }
    second.sigkill();
    slow.heal();
    second.go_on();
    shared.equal().await;
    let ended = [&mut first, &mut second].map(|worker| worker.sigterm());
    assert_eq!(ended, [Some(0), Some(0)], "{}\n{}", first.log(), second.log());
    for worker in [&first, &second] {
        assert!(given(worker) > 0 && !worker.log().contains("halted"), "{}", worker.log());
    }
}

/// How many transactions Redis has carried out, or refused to.
async fn executed(redis: &Redis) -> u64 {
    let mut connection = redis.connection().await;
    let told: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.expect("an answer");
    let of_exec = told.lines().find_map(|line| line.strip_prefix("cmdstat_exec:calls=")?.split(',').next());
    of_exec.map_or(0, |calls| calls.parse().expect("a number"))
}

/// The same scenario's worst case. A worker's commit is on its way, and the worker is frozen; the group gives its partitions to another, which
/// writes newer rows; then the commit arrives. It was to do nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_arrives_after_its_partitions_were_given_to_another_does_nothing() {
    let kafka = Kafka::shared();
    let shared = Shared::set(&kafka).await;
    let proxy = Proxy::start(shared.redis.port);
    let (mut zombie, mut heir) = (shared.worker(proxy.port), shared.worker(shared.redis.port));
    zombie.go_on();
    shared.equal().await;
    proxy.blackhole(Direction::Up);
    shared.psql("UPDATE t SET n = 100");
    eventually(PATIENCE, || async { if proxy.held() > 300 { Ok(()) } else { Err("no commit is on its way") } }).await;
    let pid = zombie.pid().expect("it runs");
    process::signal(pid, Signal::STOP);
    heir.go_on();
    shared.equal().await;
    shared.psql("UPDATE t SET n = 200; DELETE FROM u WHERE a < 10; UPDATE u SET n = 200");
    shared.equal().await;
    let before = executed(&shared.redis).await;
    proxy.heal();
    eventually(PATIENCE, || async {
        if executed(&shared.redis).await > before { Ok(()) } else { Err("the commit has not arrived") }
    })
    .await;
    // Nobody would have to see it for long: the heir notices. But not even so.
    let mut connection = shared.redis.connection().await;
    let row: String = redis::cmd("GET").arg("public.t:1").query_async(&mut connection).await.expect("a document");
    assert!(row.contains("\"n\":200"), "{row}");
    shared.psql("UPDATE t SET v = 'later' WHERE id = 1");
    shared.equal().await;
    process::signal(pid, Signal::CONT);
    shared.psql("UPDATE t SET n = 300 WHERE id < 5");
    shared.equal().await;
    // It is one of the group again.
    assert_eq!(heir.sigterm(), Some(0), "{}", heir.log());
    shared.psql("UPDATE t SET n = 400 WHERE id > 5");
    shared.equal().await;
    assert_eq!(zombie.sigterm(), Some(0), "{}", zombie.log());
}

/// A truncation, the end of a copy, and partitions that are added concern rows of all partitions. What one worker applies for all was not to
/// overtake what another, which is slower, still has in front of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_concerns_all_partitions_waits_until_all_have_come_there() {
    let kafka = Kafka::shared();
    let shared = Shared::set(&kafka).await;
    let proxies = [Proxy::start(shared.redis.port), Proxy::start(shared.redis.port)];
    let mut workers = proxies.each_ref().map(|proxy| shared.worker(proxy.port));
    for worker in &mut workers {
        let before = given(worker);
        worker.go_on();
        eventually(PATIENCE, || async { if given(worker) > before { Ok(()) } else { Err("no partitions") } }).await;
    }
    shared.equal().await;
    for slow in &proxies {
        slow.blackhole(Direction::Up);
        shared.psql("UPDATE u SET n = n + 1; INSERT INTO u SELECT i, 'before', 'x', 0 FROM generate_series(1, 50) i");
        shared.psql(
            "TRUNCATE u; INSERT INTO u SELECT i, 'after', 'x', 0 FROM generate_series(1, 50) i; UPDATE t SET n = n + 1",
        );
        // The other one has done what it could: of `t`, which nothing waits for, and in front of the truncation.
        eventually(PATIENCE, || async { if slow.held() > 300 { Ok(()) } else { Err("nothing is held up") } }).await;
        slow.heal();
        shared.equal().await;
    }
    let mut connection = shared.redis.connection().await;
    let _: () =
        redis::cmd("SET").arg("public.u:9:stale").arg("{}").query_async(&mut connection).await.expect("an answer");
    let order = shared.stage.walbridge.run(&["resnapshot", &shared.stage.source, "--table", "public.u"]);
    assert!(order.status.success(), "{}", String::from_utf8_lossy(&order.stderr));
    shared.psql("UPDATE u SET n = 50 WHERE a < 20; DELETE FROM u WHERE a > 40");
    shared.equal().await;
    let topic = shared.stage.topic("u");
    kafka.add_partitions(&topic, 7).await;
    // Whoever writes learns of them by and by.
    eventually(PATIENCE, || async {
        shared.psql(
            "UPDATE u SET n = n + 1; UPDATE u SET a = a + 1000 WHERE a < 10; UPDATE u SET a = a - 1000 WHERE a > 1000",
        );
        let read = kafka.read_settled(&topic);
        if read.iter().any(|record| record.partition > 3) { Ok(()) } else { Err("nothing in the new partitions yet") }
    })
    .await;
    shared.psql("UPDATE u SET n = n + 1; DELETE FROM u WHERE a = 3; TRUNCATE t; INSERT INTO t VALUES (5, 5, 'five')");
    shared.equal().await;
    for worker in &mut workers {
        assert_eq!(worker.sigterm(), Some(0), "{}", worker.log());
        assert!(!worker.log().contains("halted"), "{}", worker.log());
    }
}

/// Scenario 113. What the group knows of offsets is for people. It is thrown away, and then made to lie; workers go on from where the target
/// is, neither behind it nor in front of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_has_lost_its_offsets_costs_nothing() {
    let kafka = Kafka::shared();
    let shared = Shared::set(&kafka).await;
    let mut worker = shared.worker(shared.redis.port);
    worker.go_on();
    shared.equal().await;
    assert_eq!(worker.sigterm(), Some(0), "{}", worker.log());
    let group = format!("walbridge.{}.cache", shared.stage.source);
    let tool =
        |arguments: &[&str]| kafka.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand", arguments, "");
    let told = tool(&["--describe", "--group", &group]);
    assert!(told.contains(&shared.stage.topic("t")), "the usual tool shows the group's lag: {told}");
    tool(&["--delete", "--group", &group]);
    shared.psql("UPDATE t SET n = n + 1; DELETE FROM t WHERE id = 4");
    worker.go_on();
    shared.equal().await;
    let status = worker.wait_for(PATIENCE, |status| status["sinks"]["cache"]["lag_events"] == 0).await;
    assert!(status["sinks"]["cache"]["applied"].as_u64() <= Some(12), "only what is new was applied: {status}");
    assert_eq!(worker.sigterm(), Some(0), "{}", worker.log());
    shared.psql("UPDATE t SET n = n + 1");
    tool(&["--reset-offsets", "--to-latest", "--execute", "--group", &group, "--topic", &shared.stage.topic("t")]);
    worker.go_on();
    shared.equal().await;
}

/// A sink that one process had is shared from then on; and whoever does not share it any more is told so instead of writing beside the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_goes_from_one_process_to_several_and_one_that_does_not_share_is_refused() {
    let kafka = Kafka::shared();
    let shared = Shared::set(&kafka).await;
    let mut alone = shared.worker(shared.redis.port);
    let sharing = std::fs::read_to_string(alone.config_path()).expect("the configuration");
    alone.configure(&sharing.replace("share = \"partitions\"\n", ""));
    alone.go_on();
    shared.equal().await;
    let mut workers = [shared.worker(shared.redis.port), shared.worker(shared.redis.port)];
    workers.iter_mut().for_each(Walbridge::go_on);
    let halted = |status: &Value| status["sinks"]["cache"]["state"] == "halted";
    let status = alone.wait_for(PATIENCE, halted).await;
    let message = status["sinks"]["cache"]["message"].as_str().unwrap_or_default().to_owned();
    assert!(message.contains("share = \"partitions\""), "{message}");
    shared.psql("UPDATE t SET n = n + 1; UPDATE u SET a = a + 100, n = 7; DELETE FROM t WHERE id = 3");
    shared.equal().await;
    assert_eq!(alone.sigterm(), Some(3));
    let refused = replay::refused(&workers[0], "start");
    assert!(refused.contains("remove the keys walbridge:SINK:*"), "{refused}");
    for worker in &mut workers {
        worker.wait_for(PATIENCE, |status| status["sinks"]["cache"]["state"] == "streaming").await;
        assert_eq!(worker.sigterm(), Some(0), "{}", worker.log());
    }
}
