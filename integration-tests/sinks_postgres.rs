//! What only a sink of another PostgreSQL database can meet: tables that are made, adopted and followed, constraints, other writers, lost answers,
//! and a target that somebody changes behind our back.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::shop::PATIENCE;
use crate::support::{Direction, PgOptions, Postgres, Proxy, Walbridge, eventually};

/// A database, another one, and walbridge between them.
struct World {
    source: Postgres,
    target: Postgres,
    walbridge: Walbridge,
}

fn config(source: &Postgres, url: &str, more: &str) -> String {
    format!(
        "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\ntables_without_key = \"full\"\n[log]\npath = \"log\"\n\
         [sinks.copy]\nkind = \"postgres\"\nurl = \"{url}\"\nfrom = \"public.*\"\n{more}\n",
        source.url(),
    )
}

/// The rows of `t` in an order of their own, as text.
fn rows(postgres: &Postgres, table: &str) -> Result<String, String> {
    postgres.try_psql(&format!("SELECT t::text FROM {table} t ORDER BY t::text COLLATE \"C\""))
}

impl World {
    fn open(sql: &str, sql_there: &str, more: &str) -> World {
        let (source, target) = (Postgres::start(PgOptions::default()), Postgres::start(PgOptions::default()));
        source.psql(sql);
        target.psql(sql_there);
        let walbridge = Walbridge::start(&config(&source, &target.superuser_url(), more));
        World { source, target, walbridge }
    }

    /// Waits until both have the same rows.
    async fn equals(&self, table: &str) {
        eventually(PATIENCE, || async {
            let (here, there) = (rows(&self.source, table)?, rows(&self.target, table)?);
            let first = here.lines().zip(there.lines()).find(|(here, there)| here != there);
            let counts = (here.lines().count(), there.lines().count());
            if here == there { Ok(()) } else { Err(format!("{counts:?} rows; {first:?}")) }
        })
        .await;
    }

    async fn wait_for(&mut self, state: &str, code: &str) -> Value {
        let wanted = |status: &Value| {
            let sink = &status["sinks"]["copy"];
            sink["state"] == state && (code.is_empty() || sink["code"] == code)
        };
        self.walbridge.wait_for(PATIENCE, wanted).await["sinks"]["copy"].clone()
    }

    /// Waits until it has halted, runs what its message says after `Run there: `, and starts it again.
    async fn run_the_remedy(&mut self) -> String {
        let sink = self.wait_for("halted", "sink.rejected").await;
        let message = sink["message"].as_str().expect("a message").to_owned();
        let (_, statement) = message.split_once("Run there: ").unwrap_or_else(|| panic!("{message}"));
        self.target.psql(statement);
        self.walbridge.sigterm();
        self.walbridge.start_again();
        message
    }
}

/// A large value left alone, a new key with and without it, NULLs, a truncation in a transaction, tables with several key columns and with none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_kept_as_they_are_through_all_statements() {
    let mut world = World::open(
        "CREATE TABLE t (id int PRIMARY KEY, name text, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         CREATE TABLE \"Odd: näme%\" (a text, \"b c\" text, n int, PRIMARY KEY (a, \"b c\"));
         CREATE TABLE keyless (a int, b text); ALTER TABLE keyless REPLICA IDENTITY FULL;
         INSERT INTO t SELECT i, 'n' || i, repeat('x', 9000) || i FROM generate_series(1, 30) i; INSERT INTO t VALUES (0, NULL, NULL);
         INSERT INTO \"Odd: näme%\" VALUES ('a:b', 'c', 1), ('a', 'b:c', 2), ('%3A', '', 3); INSERT INTO keyless VALUES (1, 'one'), (2, 'two')",
        "",
        "",
    );
    for table in ["t", "\"Odd: näme%\"", "keyless"] {
        world.equals(table).await;
    }
    world.source.psql("UPDATE t SET name = 'kept' WHERE id < 10; UPDATE t SET id = id + 100 WHERE id BETWEEN 5 AND 8; UPDATE t SET id = -1, big = NULL WHERE id = 9");
    world.source.psql("UPDATE t SET id = id + 1 WHERE id = 30; UPDATE t SET id = 30 WHERE id = 29; UPDATE t SET name = 'moved' WHERE id = 30; DELETE FROM t WHERE id = 12");
    world.source.psql("UPDATE \"Odd: näme%\" SET n = n + 1; DELETE FROM \"Odd: näme%\" WHERE a = '%3A'; UPDATE \"Odd: näme%\" SET a = 'z:' WHERE a = 'a'");
    world.source.psql("UPDATE keyless SET b = 'zwei' WHERE a = 2; DELETE FROM keyless WHERE a = 1; INSERT INTO keyless VALUES (3, 'three')");
    for table in ["t", "\"Odd: näme%\"", "keyless"] {
        world.equals(table).await;
    }
    world.source.psql("BEGIN; INSERT INTO t VALUES (500, 'a', 'b'); TRUNCATE t; INSERT INTO t VALUES (500, 'c', 'd'), (6, 'six', NULL); COMMIT");
    world.equals("t").await;
    assert_eq!(world.wait_for("streaming", "").await["rejected"], 0);
    assert_eq!(world.walbridge.sigterm(), Some(0));
}

/// What keeps every value is followed; what does not stops the sink with the statement, and goes on once that has been run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_a_table_are_followed_or_told() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, a text, n int, v varchar(5), z text DEFAULT 'z');
        INSERT INTO t SELECT i, 'a' || i, i, 'v' FROM generate_series(1, 20) i";
    let mut world = World::open(sql, "", "");
    world.equals("t").await;
    for change in [
        "ALTER TABLE t ADD COLUMN more int DEFAULT 7; INSERT INTO t VALUES (21, 'x')",
        "ALTER TABLE t RENAME COLUMN a TO b; UPDATE t SET n = -n WHERE id < 5",
        "ALTER TABLE t RENAME COLUMN more TO less; UPDATE t SET n = -n WHERE id > 5",
        "ALTER TABLE t ALTER n TYPE bigint, ALTER v TYPE varchar(9); INSERT INTO t (id, n, v) VALUES (22, 5000000000, 'ninechars')",
        "ALTER TABLE t DROP COLUMN z; DELETE FROM t WHERE id = 3",
        "ALTER TABLE t ALTER id TYPE bigint; UPDATE t SET id = 6000000000 WHERE id = 4",
    ] {
        world.source.psql(change);
        world.equals("t").await;
    }
    world.source.psql("ALTER TABLE t ALTER b TYPE int USING (n % 100)::int; INSERT INTO t (id, b) VALUES (23, 23)");
    world.target.psql("ALTER TABLE t ALTER less TYPE varchar(3)");
    world.source.psql("ALTER TABLE t ALTER less TYPE varchar(2)");
    let equal_text = |postgres: &Postgres| rows(postgres, "t").expect("rows");
    eventually(PATIENCE, || async {
        // A number in a column of text is the same text.
        if equal_text(&world.source) == equal_text(&world.target) { Ok(()) } else { Err("not yet") }
    })
    .await;
    world.source.psql("ALTER TABLE t ADD w varchar(5) DEFAULT '5'; INSERT INTO t (id) VALUES (24)");
    world.equals("t").await;
    world.source.psql(
        "ALTER TABLE t ALTER w DROP DEFAULT, ALTER w TYPE int USING w::int; INSERT INTO t (id, w) VALUES (25, 7)",
    );
    let message = world.run_the_remedy().await;
    assert!(message.contains("ALTER COLUMN \"w\" TYPE integer USING \"w\"::integer"), "{message}");
    world.equals("t").await;
}

/// A table that somebody made is taken as it is if it can hold the rows; if not, the exact statement is told. With `ddl = false` nothing is made or altered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_there_is_adopted_or_the_statement_is_told() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, name varchar(20), mood int); INSERT INTO t VALUES (1, 'a name of some size', 3)";
    let there =
        "CREATE TABLE t (mood bigint, more text, id bigint, name varchar(10), must int NOT NULL, UNIQUE (mood, id))";
    let mut world = World::open(sql, there, "ddl = false");
    for wanted in [
        "ADD PRIMARY KEY (\"id\")",
        "ALTER COLUMN \"must\" DROP NOT NULL",
        "ALTER COLUMN \"name\" TYPE character varying(20)",
    ] {
        let sink = world.wait_for("halted", "sink.rejected").await;
        assert!(sink["message"].as_str().is_some_and(|message| message.contains(wanted)), "{wanted}: {sink}");
        let checked = world.walbridge.run(&["check"]);
        let told = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
        assert!(told.contains(wanted), "{told}");
        let (_, statement) = told.split_once("Run there: ").expect("a remedy");
        let statement = statement.lines().next().expect("a line");
        world.target.psql(statement);
        world.walbridge.sigterm();
        world.walbridge.start_again();
    }
    let same = |world: &World| {
        let select = |postgres: &Postgres| postgres.psql("SELECT id, name, mood FROM t ORDER BY id");
        select(&world.source) == select(&world.target)
    };
    eventually(PATIENCE, || async { if same(&world) { Ok(()) } else { Err("not yet") } }).await;
    world.source.psql(
        "CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1); ALTER PUBLICATION walbridge_shop ADD TABLE u",
    );
    let message = world.run_the_remedy().await;
    assert!(message.contains("CREATE TABLE \"public\".\"u\" (\"id\" integer, PRIMARY KEY (\"id\"))"), "{message}");
    world.equals("u").await;
}

/// A row that a constraint refuses is set aside alone. Rows that are only in each other's way for a moment are not: values of a unique column
/// that change places within a transaction.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_row_is_set_aside_alone() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, u int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
        INSERT INTO t SELECT i, i, repeat('o', 9000) FROM generate_series(1, 300) i";
    let there = "CREATE TABLE t (id int PRIMARY KEY, u int UNIQUE CHECK (u <> 13), big text)";
    let mut world = World::open(sql, there, "");
    let sink = world.wait_for("degraded", "sink.rejected").await;
    assert_eq!(sink["rejected"], 1, "{sink}");
    eventually(PATIENCE, || async {
        let found = world.target.psql("SELECT count(*), count(*) FILTER (WHERE id = 13) FROM t");
        if found.trim() == "299|0" { Ok(()) } else { Err(found) }
    })
    .await;
    world.source.psql("BEGIN; UPDATE t SET u = -1, big = 'b' WHERE id = 1; UPDATE t SET u = 1, big = 'c' WHERE id = 2; UPDATE t SET u = 2 WHERE id = 1; COMMIT");
    // The row that is not there is completed from the source: the large value was not sent.
    world.source.psql("UPDATE t SET u = 1300 WHERE id = 13");
    world.equals("t").await;
    // Its newer state has been told: nothing is left to be mended.
    world.wait_for("streaming", "").await;
}

/// Answers get lost, connections break, in the middle of everything; the server is killed and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_and_a_killed_server_change_nothing() {
    let (source, mut target) = (Postgres::start(PgOptions::default()), Postgres::start(PgOptions::default()));
    source.psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t SELECT i, 0 FROM generate_series(1, 50) i");
    let proxy = Proxy::start(target.port);
    let walbridge =
        Walbridge::start(&config(&source, &format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port), ""));
    let change = |round: i32| {
        source.psql(&format!(
            "UPDATE t SET n = {round}; DELETE FROM t WHERE id = {round}; INSERT INTO t VALUES ({round} + 100, 0)"
        ));
    };
    let equal = |target: &Postgres| {
        let (here, there) = (rows(&source, "t"), rows(target, "t"));
        if here == there { Ok(()) } else { Err(format!("{there:?}")) }
    };
    eventually(PATIENCE, || async { equal(&target) }).await;
    for round in 1..8 {
        proxy.lose_answer(PATIENCE, || change(round)).await;
        proxy.heal();
        proxy.reset();
    }
    eventually(PATIENCE, || async { equal(&target) }).await;
    for cut in [60, 300, 700] {
        proxy.cut_after(Direction::Up, cut);
        change(i32::try_from(cut).expect("small"));
        proxy.heal();
    }
    target.kill9();
    change(9);
    target.start_again();
    eventually(PATIENCE, || async { equal(&target) }).await;
    drop(walbridge);
}

/// Two processes with one sink: whoever comes second to the checkpoint stops, and nothing of what it wrote stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_somebody_else_wrote_stops_the_sink() {
    let mut world = World::open("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)", "", "");
    world.equals("t").await;
    world.target.psql("UPDATE walbridge.checkpoints SET saved = jsonb_set(saved::jsonb, '{offset}', '999')::text");
    world.source.psql("INSERT INTO t VALUES (2)");
    let sink = world.wait_for("halted", "sink.fenced").await;
    assert!(sink["message"].as_str().is_some_and(|message| message.contains("another walbridge")), "{sink}");
    assert_eq!(world.target.psql("SELECT count(*) FROM t").trim(), "1");
}

/// Rows that were written are believed to be there. A table that is dropped behind our back is not made anew, empty; the message says how it is filled again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_was_dropped_there_is_not_made_anew_without_its_rows() {
    let mut world = World::open("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1), (2)", "", "");
    world.equals("t").await;
    world.target.psql("DROP TABLE t");
    world.source.psql("INSERT INTO t VALUES (3)");
    let sink = world.wait_for("halted", "sink.rejected").await;
    let message = sink["message"].as_str().expect("a message");
    let (_, rest) = message.split_once("run there: ").unwrap_or_else(|| panic!("{message}"));
    world.target.psql(rest.split_once(", have").expect("a statement").0);
    let ordered = world.walbridge.run(&["resnapshot", "shop", "--table", "public.t"]);
    assert!(ordered.status.success(), "{ordered:?}");
    world.walbridge.sigterm();
    world.walbridge.start_again();
    world.equals("t").await;
}

/// What somebody changed there is found by `verify`, value by value, and put right; a table's own columns and wider types are no difference.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_changed_there_is_found_and_put_right() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY, n numeric(6,2), at timestamptz, tags text[], raw bytea);
        INSERT INTO t SELECT i, i / 7.0, now(), ARRAY['a', NULL, i::text], '\\x00ff' FROM generate_series(1, 500) i; INSERT INTO t VALUES (0)";
    let there =
        "CREATE TABLE t (own int DEFAULT 7, id bigint PRIMARY KEY, n numeric, at timestamptz, tags text[], raw bytea)";
    let world = World::open(sql, there, "");
    let same = || async {
        let select = |postgres: &Postgres| postgres.psql("SELECT id, n, at, tags, raw FROM t ORDER BY id");
        if select(&world.source) == select(&world.target) { Ok(()) } else { Err("not yet") }
    };
    eventually(PATIENCE, same).await;
    let clean = world.walbridge.run(&["verify", "copy"]);
    assert!(clean.status.success(), "{clean:?}");
    world.target.psql("UPDATE t SET n = n + 1 WHERE id = 7; DELETE FROM t WHERE id = 9; INSERT INTO t (id) VALUES (9000); UPDATE t SET own = 8");
    let found = world.walbridge.run(&["verify", "copy"]);
    let told = String::from_utf8_lossy(&found.stdout);
    assert!(
        !found.status.success() && ["public.t:7", "public.t:9", "public.t:9000"].iter().all(|key| told.contains(key)),
        "{found:?}"
    );
    world.walbridge.run(&["verify", "copy", "--repair"]);
    eventually(PATIENCE, same).await;
    assert!(world.walbridge.run(&["verify", "copy"]).status.success());
}

/// A role without the right to write stops the sink, and is told what to grant; a wrong password is told as such.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_rights_are_told_before_and_after_the_start() {
    let sql = "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)";
    let mut world = World::open(sql, "", "");
    world.equals("t").await;
    world.walbridge.sigterm();
    world.walbridge.configure(&config(&world.source, &world.target.url(), ""));
    let checked = world.walbridge.run(&["check"]);
    let told = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert!(!checked.status.success() && told.contains("Grant the role"), "{told}");
    world.walbridge.start_again();
    let sink = world.wait_for("halted", "sink.rejected").await;
    assert!(sink["message"].as_str().is_some_and(|message| message.contains("Grant the role")), "{sink}");
    // What docs/configuration.md asks for, of tables that another made.
    world.target.psql(
        "GRANT USAGE ON SCHEMA walbridge TO walbridge; GRANT ALL ON ALL TABLES IN SCHEMA walbridge TO walbridge; GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON t TO walbridge",
    );
    world.source.psql("INSERT INTO t VALUES (2); DELETE FROM t WHERE id = 1");
    world.walbridge.sigterm();
    world.walbridge.start_again();
    world.equals("t").await;
}

/// With the rights that docs/configuration.md asks for and no other, an empty database is filled.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documented_rights_are_enough() {
    let (source, target) = (Postgres::start(PgOptions::default()), Postgres::start(PgOptions::default()));
    source.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE SCHEMA more; CREATE TABLE more.u (id int PRIMARY KEY); INSERT INTO t VALUES (1); INSERT INTO more.u VALUES (1)");
    target.psql("GRANT CREATE ON DATABASE postgres TO walbridge; GRANT CREATE ON SCHEMA public TO walbridge");
    let walbridge =
        Walbridge::start(&config(&source, &target.url(), "").replace("\"public.*\"", "[\"public.*\", \"more.*\"]"));
    let world = World { source, target, walbridge };
    world.equals("t").await;
    world
        .source
        .psql("TRUNCATE more.u; INSERT INTO more.u VALUES (2); ALTER TABLE t ADD n int; INSERT INTO t VALUES (3, 3)");
    world.equals("more.u").await;
    world.equals("t").await;
}

/// SIGKILL at random moments, of walbridge and of the target's server, while rows of several tables are changed: nothing is lost, doubled or stale.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_equals_the_source_after_sigkills_at_random_moments() {
    let seed =
        std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(|| u64::from(std::process::id()));
    println!("SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::open(
        "CREATE TABLE t (id int PRIMARY KEY, n int, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
         INSERT INTO t SELECT i, 0, repeat('x', 3000) || i FROM generate_series(1, 2000) i;
         CREATE TABLE sums (id int PRIMARY KEY, n int); INSERT INTO sums VALUES (1, 0)",
        "",
        "batch = { rows = 100 }",
    );
    let client = world.source.client().await;
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let writer = tokio::spawn(async move {
        let mut round = 0;
        while stopped.try_recv().is_err() {
            round += 1;
            let sql = format!(
                "BEGIN; UPDATE t SET n = n + 1 WHERE id % 97 = {round} % 97; UPDATE t SET id = -id WHERE id % 89 = {round} % 89;
                 DELETE FROM t WHERE id = {round}; INSERT INTO t VALUES (10000 + {round}, 0, repeat('y', {round} % 5000)); \
                 UPDATE sums SET n = n + 1; COMMIT"
            );
            client.batch_execute(&sql).await.expect("written");
        }
        round
    });
    for kill in 0..8 {
        // Not a wait for something: the moment is the test.
        tokio::time::sleep(Duration::from_millis(random.random_range(0..700))).await;
        if kill % 4 == 3 {
            world.target.kill9();
            world.target.start_again();
        } else {
            world.walbridge.sigkill();
            world.walbridge.start_again();
        }
    }
    stop.send(()).expect("it writes");
    assert!(writer.await.expect("it wrote") > 10);
    world.equals("t").await;
    world.equals("sums").await;
    assert_eq!(world.wait_for("streaming", "").await["rejected"], 0);
    assert_eq!(world.walbridge.sigterm(), Some(0), "{}", world.walbridge.log());
}

/// A trigger that notes how rows come, and says much: a server that is not listened to while it is sent rows would wait for ever.
const NOTING: &str = "CREATE TABLE seen (n serial, rows bigint, asked text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO public.seen (rows, asked) SELECT count(*), left(current_query(), 90) FROM added; RETURN NULL; END $$;
    CREATE FUNCTION say() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '%', repeat('x', 1000); RETURN new; END $$;
    CREATE TRIGGER note AFTER INSERT ON t REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION note();
    CREATE TRIGGER say BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION say();";

/// So many rows have come by `COPY`.
fn copied(target: &Postgres) -> u64 {
    let told = target.psql("SELECT coalesce(sum(rows), 0) FROM seen WHERE asked LIKE '%COPY%'");
    told.trim().parse().expect("a number")
}

/// A table's first copy goes by `COPY`, with every value as it is; what is there already, or is refused, does not spoil it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_new_are_copied_and_one_that_is_not_does_no_harm() {
    let table = "CREATE TABLE t (id int PRIMARY KEY, a text, n numeric(10,2), tags text[], raw bytea, at timestamptz);";
    let mut world = World::open(
        &format!(
            "{table} INSERT INTO t SELECT i, CASE i % 4 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'tab\\there\\nline\\r\\\\N\\\\.' ELSE 'ä' || i END, i / 3.0,
             ARRAY['a b', NULL, E'\"\\\\\\t', i::text], decode(md5(i::text), 'hex'), '2026-11-27 10:00:00+00'::timestamptz + i * interval '1 ms' FROM generate_series(1, 12000) i"
        ),
        // Row 5 is there, and is none of the few keys that are looked for.
        &format!("{table} {NOTING} INSERT INTO t VALUES (5, 'older'); TRUNCATE seen"),
        "batch = { rows = 1000 }",
    );
    world.equals("t").await;
    let of_copy = copied(&world.target);
    assert!((1000..12000).contains(&of_copy), "{of_copy} rows were copied");
    // What is there is found out without an error for each batch.
    let changes = "UPDATE t SET n = n + 1; UPDATE t SET n = n + 1 WHERE id % 2 = 0";
    world.source.psql(changes);
    world.equals("t").await;
    assert_eq!(copied(&world.target), of_copy);
    // And rows that are new are copied again, whatever came between.
    world.source.psql("INSERT INTO t SELECT i, 'new' FROM generate_series(20001, 60000) i");
    world.equals("t").await;
    assert!(copied(&world.target) > of_copy + 10000, "{} rows were copied", copied(&world.target));
    assert_eq!(world.wait_for("streaming", "").await["rejected"], 0);
    assert_eq!(world.walbridge.sigterm(), Some(0));
}

/// Of a thousand rows that are copied the server refuses two: those are set aside, and all others are there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_row_of_a_first_copy_is_set_aside_alone() {
    let mut world = World::open(
        "CREATE TABLE t (id int PRIMARY KEY, a text); INSERT INTO t SELECT i, 'a' || i FROM generate_series(1, 5000) i; UPDATE t SET a = 'refused' WHERE id IN (1234, 4321)",
        "CREATE TABLE t (id int PRIMARY KEY, a text CHECK (a <> 'refused'))",
        "",
    );
    let sink = world.wait_for("degraded", "sink.rejected").await;
    assert_eq!(sink["rejected"], 2, "{sink}");
    eventually(PATIENCE, || async {
        match world.target.psql("SELECT count(*), count(*) FILTER (WHERE id IN (1234, 4321)) FROM t").trim() {
            "4998|0" => Ok(()),
            found => Err(found.to_owned()),
        }
    })
    .await;
    world.source.psql("UPDATE t SET a = 'mended' WHERE a = 'refused'");
    world.equals("t").await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
}
