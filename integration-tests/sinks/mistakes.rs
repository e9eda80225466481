//! Scenario 156, the targets' side: a wrong target for each sink of one walbridge. Each is told by its own code, in the right state,
//! with its remedy, while the sink without a mistake follows; and what ends the program at its start does so with its exit code.

use serde_json::Value;

use crate::shop::PATIENCE;
use crate::support::{PgOptions, Postgres, Redis, Walbridge, ports};

/// A sink: its name, its keys, the state and the code that it must come to, and what its message says or names.
type Mistake = (&'static str, String, &'static str, &'static str, &'static str);

fn missed((name, _, state, code, remedy): &Mistake, status: &Value) -> Option<String> {
    let sink = &status["sinks"][*name];
    let told = sink["message"].as_str().is_some_and(|text| text.contains(remedy));
    let right = sink["state"] == *state && sink["code"] == *code && told;
    (!right).then(|| format!("{name}: wanted {state} {code} \"{remedy}\", found {sink:#}"))
}

fn redis(redis: &Redis, rest: &str) -> String {
    format!("kind = \"redis\"\nurl = \"{}\"\n{rest}", redis.url())
}

/// The servers that wrong targets need.
struct Targets {
    sound: Redis,
    locked: Redis,
    full: Redis,
    replica: Redis,
    other: Redis,
    directory: tempfile::TempDir,
}

impl Targets {
    async fn made() -> Targets {
        let targets = Targets {
            sound: Redis::start(&[]),
            locked: Redis::start(&["--requirepass", "right"]),
            full: Redis::start(&["--maxmemory", "2mb"]),
            replica: Redis::start(&[]),
            other: Redis::start(&[]),
            directory: tempfile::tempdir().expect("a directory"),
        };
        let mut connection = targets.replica.connection().await;
        let master = redis::cmd("REPLICAOF").arg("127.0.0.1").arg(targets.sound.port).to_owned();
        master.query_async::<()>(&mut connection).await.expect("a replica");
        let mut connection = targets.other.connection().await;
        let foreign = redis::cmd("SET").arg("walbridge:foreign:checkpoint").arg("mine").to_owned();
        foreign.query_async::<()>(&mut connection).await.expect("set");
        std::fs::create_dir(targets.directory.path().join("a-directory")).expect("made");
        std::fs::write(targets.directory.path().join("a-file"), "not an index").expect("written");
        targets
    }

    fn mistakes(&self, postgres: &Postgres) -> Vec<Mistake> {
        let at = |port: u16| format!("kind = \"redis\"\nurl = \"redis://127.0.0.1:{port}\"");
        let kept = |kind: &str, name: &str| {
            format!("kind = \"{kind}\"\npath = \"{}/{name}\"", self.directory.path().display())
        };
        vec![
            ("away", at(ports::free()), "paused", "sink.unavailable", "see that the target runs"),
            ("postgres", at(postgres.port), "paused", "sink.unavailable", "see that the target runs"),
            ("locked", redis(&self.locked, ""), "halted", "security.auth", "Mend them in the configuration"),
            ("full", redis(&self.full, ""), "paused", "sink.throttled", "give the target room"),
            ("replica", redis(&self.replica, ""), "paused", "sink.throttled", "make it writable"),
            ("foreign", redis(&self.other, ""), "halted", "sink.rejected", "Give the sink another name"),
            ("column", redis(&self.other, "key = \"{nope}\""), "halted", "config.invalid", "nope"),
            ("directory", kept("file", "a-directory"), "halted", "sink.rejected", "a-directory"),
            ("notindex", kept("tantivy", "a-file"), "halted", "sink.rejected", "a-file"),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_wrong_target_has_its_code_and_its_remedy_and_holds_up_no_other() {
    let (postgres, targets) = (Postgres::start(PgOptions::default()), Targets::made().await);
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, s text); INSERT INTO t SELECT i, repeat('s', 1000) FROM generate_series(1, 3000) i");
    let mistakes = targets.mistakes(&postgres);
    let sinks: String = mistakes
        .iter()
        .map(|(name, keys, ..)| format!("[sinks.{name}]\nfrom = \"public.t\"\n{keys}\n"))
        .chain([format!("[sinks.sound]\nfrom = \"public.t\"\n{}\n", redis(&targets.sound, ""))])
        .collect();
    let url = postgres.url();
    let mut walbridge = Walbridge::start(&format!(
        "[sources.shop]\nurl = \"{url}\"\ntables = \"public.*\"\n[log]\npath = \"log\"\n{sinks}"
    ));
    let started = tokio::time::Instant::now();
    loop {
        let status = walbridge.status().await;
        let missed: Vec<String> = mistakes.iter().filter_map(|mistake| missed(mistake, &status)).collect();
        let sound = &status["sinks"]["sound"];
        if missed.is_empty() && sound["state"] == "streaming" && sound["checkpoint"] == 3000 {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "{}\n{sound:#}", missed.join("\n"));
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(walbridge.status().await["sources"]["shop"]["state"], "streaming");
    // Nor does it seem well between two attempts.
    for _ in 0..40 {
        let ready = walbridge.get("/readyz").await.expect("an answer");
        let held_up = |name: &str| ready.contains(&format!("sink {name} is "));
        assert!(mistakes.iter().all(|(name, ..)| held_up(name)) && !held_up("sound"), "{ready}");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(walbridge.get("/healthz").await.as_deref(), Ok("ok\n"));
    assert_eq!(walbridge.sigterm(), Some(3), "{}", walbridge.log());
}

/// What keeps the program from starting at all: one line, and the exit code.
#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_that_ends_the_program_at_its_start_has_its_exit_code_and_its_remedy() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY)");
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().display();
    std::fs::write(directory.path().join("a-file"), "").expect("written");
    let url = postgres.url();
    let text = |url: &str, log: &str, more: &str| {
        format!("[sources.shop]\nurl = \"{url}\"\ntables = \"public.*\"\n[log]\npath = \"{log}\"\n{more}")
    };
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let admin = format!("[admin]\nlisten = \"{}\"", taken.local_addr().expect("its address"));
    let log = format!("{place}/log");
    let mut first = Walbridge::start(&text(&url, &log, ""));
    first.wait_for(PATIENCE, |status| status["sources"]["shop"]["state"] == "streaming").await;
    for (what, text, exit, told) in [
        ("not TOML", "[sources.shop\n".to_owned(), 2, "error"),
        ("a misspelt key", text(&url, "log", "retian = 1"), 2, "retain"),
        ("an unset variable", text("${NOT_SET_ANYWHERE}", "log", ""), 2, "NOT_SET_ANYWHERE"),
        ("a server without TLS", text(&format!("{url}?sslmode=require"), "log", ""), 2, "ssl = on"),
        ("the log of a running one", text(&url, &log, ""), 3, "stop that one first"),
        ("a file in the log's place", text(&url, &format!("{place}/a-file"), ""), 3, "a-file"),
        ("a taken port", text(&url, "log", &admin), 2, "listen"),
    ] {
        let mut walbridge = Walbridge::configured(&text);
        walbridge.go_on();
        assert_eq!(walbridge.exit_code(PATIENCE), Some(exit), "{what}: {}", walbridge.log());
        assert!(walbridge.log().contains(told), "{what}: {}", walbridge.log());
    }
    assert_eq!(first.sigterm(), Some(0), "the running one was not disturbed: {}", first.log());
}
