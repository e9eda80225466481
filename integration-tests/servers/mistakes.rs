//! Scenario 156: what operators do wrong, one mistake for each source of one walbridge. Each is told by its own code, in the right state,
//! with its remedy, while the source without a mistake streams.

use std::fmt::Write as _;

use serde_json::Value;

use crate::shop::PATIENCE;
use crate::support::{PgOptions, Postgres, Walbridge, ports};

/// A source that somebody has set up wrongly, or does something to.
struct Mistake {
    /// The source's, and its table's.
    name: &'static str,
    /// Run by the superuser: `{t}` is the table, `{p}` the publication, `{s}` the slot.
    sql: &'static str,
    /// More of the source's configuration. A `url` in it replaces the usual one.
    config: String,
    state: &'static str,
    code: &'static str,
    /// What the message says to do, or names.
    remedy: &'static str,
}

fn mistake(
    name: &'static str,
    sql: &'static str,
    config: impl Into<String>,
    (state, code, remedy): (&'static str, &'static str, &'static str),
) -> Mistake {
    Mistake { name, sql, config: config.into(), state, code, remedy }
}

impl Mistake {
    fn sql(&self) -> String {
        let name = self.name;
        self.sql
            .replace("{t}", &format!("t_{name}"))
            .replace("{p}", &format!("walbridge_{name}"))
            .replace("{s}", &format!("walbridge_{name}"))
    }

    fn source(&self, postgres: &Postgres) -> String {
        let name = self.name;
        let mut text = format!("[sources.{name}]\n");
        for (key, value) in
            [("url = ", format!("\"{}\"", postgres.url())), ("tables = ", format!("\"public.t_{name}\""))]
        {
            if !self.config.contains(key) {
                let _infallible = writeln!(text, "{key}{value}");
            }
        }
        text + &self.config + "\n"
    }

    /// Why the source does not say so, if it does not.
    fn missed(&self, status: &Value) -> Option<String> {
        let source = &status["sources"][self.name];
        let texts = source["findings"].as_array().into_iter().flatten().chain([source]);
        let told = texts
            .filter(|told| told["code"] == self.code)
            .any(|told| told["message"].as_str().is_some_and(|text| text.contains(self.remedy)));
        let right = source["state"] == self.state && told;
        (!right).then(|| {
            format!("{}: wanted {} {} \"{}\", found {source:#}", self.name, self.state, self.code, self.remedy)
        })
    }
}

/// A walbridge with a sound source and these.
fn configured(postgres: &Postgres, mistakes: &[Mistake], more: &str) -> Walbridge {
    let sound = mistake("sound", "", "", ("streaming", "", ""));
    let mut text = "[log]\npath = \"log\"\n".to_owned() + more;
    for mistake in mistakes.iter().chain([&sound]) {
        let name = mistake.name;
        postgres.psql(&format!(
            "CREATE TABLE t_{name} (id int PRIMARY KEY, n int); GRANT SELECT ON t_{name} TO walbridge, weak, uncertain;
             CREATE PUBLICATION walbridge_{name} FOR TABLE t_{name}"
        ));
        text += &mistake.source(postgres);
    }
    Walbridge::configured(&text)
}

/// A server for many sources, and roles that lack something.
fn server() -> Postgres {
    let hba = ["host all uncertain all scram-sha-256", "host all unwanted all reject"];
    let conf = ["max_wal_senders = 60", "max_replication_slots = 60", "max_connections = 250"];
    let own = |lines: &[&str]| lines.iter().map(|&line| line.to_owned()).collect();
    let postgres = Postgres::start(PgOptions { conf: own(&conf), hba: own(&hba), ..PgOptions::default() });
    postgres.psql(
        "CREATE ROLE weak LOGIN; CREATE ROLE uncertain LOGIN REPLICATION PASSWORD 'right'; CREATE ROLE unwanted LOGIN REPLICATION; CREATE DATABASE other",
    );
    postgres
}

async fn all_told(walbridge: &mut Walbridge, mistakes: &[Mistake]) {
    let told = |status: &Value| {
        status["sources"]["sound"]["state"] == "streaming"
            && mistakes.iter().all(|mistake| mistake.missed(status).is_none())
    };
    let waited = tokio::time::Instant::now();
    loop {
        let status = walbridge.status().await;
        if told(&status) {
            break;
        }
        let missed: Vec<String> = mistakes.iter().filter_map(|mistake| mistake.missed(&status)).collect();
        assert!(waited.elapsed() < PATIENCE, "{}\n{:#}", missed.join("\n"), status["sources"]["sound"]);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let ready = walbridge.get("/readyz").await.expect("an answer");
    assert!(mistakes.iter().all(|mistake| ready.contains(mistake.name)) && !ready.contains("sound"), "{ready}");
    assert_eq!(walbridge.get("/healthz").await.as_deref(), Ok("ok\n"), "it is alive");
}

fn set_up_wrongly(postgres: &Postgres) -> Vec<Mistake> {
    let (port, free) = (postgres.port, ports::free());
    let url = |login: &str, port: u16, rest: &str| format!("url = \"postgres://{login}@127.0.0.1:{port}/{rest}\"");
    vec![
        mistake("password", "", url("uncertain:wrong", port, "postgres"), ("halted", "source.auth", "password")),
        mistake("rejected", "", url("unwanted", port, "postgres"), ("halted", "source.auth", "pg_hba.conf")),
        mistake("database", "", url("walbridge", port, "nowhere"), ("halted", "source.unreachable", "nowhere")),
        mistake("port", "", url("walbridge", free, "postgres"), ("paused", "source.unreachable", "refused")),
        mistake(
            "host",
            "",
            "url = \"postgres://walbridge@no-such-host.invalid/postgres\"",
            ("paused", "source.unreachable", "no-such-host.invalid"),
        ),
        mistake("tls", "", url("walbridge", port, "postgres?sslmode=require"), ("halted", "security.tls", "sslmode")),
        mistake("unreplicating", "", url("weak", port, "postgres"), ("halted", "source.privilege", "REPLICATION")),
        mistake("unread", "REVOKE SELECT ON {t} FROM walbridge", "", ("halted", "source.privilege", "GRANT SELECT")),
        mistake("unpublished", "DROP PUBLICATION {p}", "", ("halted", "source.publication", "CREATE PUBLICATION")),
        mistake("lacking", "ALTER PUBLICATION {p} DROP TABLE {t}", "", ("halted", "source.publication", "ADD TABLE")),
        mistake(
            "inserts",
            "ALTER PUBLICATION {p} SET (publish = 'insert')",
            "",
            ("halted", "source.publication", "publish"),
        ),
        mistake("nothing", "", "tables = \"public.nothing\"", ("halted", "source.publication", "patterns")),
        mistake(
            "keyless",
            "ALTER TABLE {t} DROP CONSTRAINT {t}_pkey",
            "",
            ("halted", "source.identity", "primary key"),
        ),
        mistake(
            "nameless",
            "ALTER TABLE {t} REPLICA IDENTITY NOTHING",
            "",
            ("halted", "source.identity", "Run ALTER TABLE \"public\".\"t_nameless\" REPLICA IDENTITY DEFAULT;"),
        ),
        mistake(
            "unlogged",
            "ALTER PUBLICATION {p} DROP TABLE {t}; ALTER TABLE {t} SET UNLOGGED",
            "",
            ("halted", "source.publication", "LOGGED"),
        ),
        mistake(
            "hidden",
            "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY",
            "",
            ("halted", "snapshot.partial_view", "BYPASSRLS"),
        ),
        mistake(
            "plugin",
            "SELECT pg_create_logical_replication_slot('{s}', 'test_decoding')",
            "",
            ("halted", "source.slot_unusable", "slot"),
        ),
        mistake(
            "physical",
            "SELECT pg_create_physical_replication_slot('{s}')",
            "",
            ("halted", "source.slot_unusable", "slot"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_in_setting_up_has_its_code_and_its_remedy_and_spoils_nothing_else() {
    let postgres = server();
    let mistakes = set_up_wrongly(&postgres);
    let mut walbridge = configured(&postgres, &mistakes, "");
    for mistake in &mistakes {
        postgres.psql(&mistake.sql());
    }
    walbridge.go_on();
    all_told(&mut walbridge, &mistakes).await;
    assert!(!walbridge.log().contains("wrong@") && !walbridge.get("/api/status").await.expect("it").contains(":wrong"));
    assert_eq!(walbridge.sigterm(), Some(3), "{}", walbridge.log());
}

fn done_while_it_streams() -> Vec<Mistake> {
    let drop_slot = "DO $$ BEGIN LOOP BEGIN PERFORM pg_drop_replication_slot('{s}'); EXIT;
         EXCEPTION WHEN object_in_use THEN PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = '{s}'; END; END LOOP; END $$";
    vec![
        mistake("dropped", drop_slot, "", ("halted", "source.slot_missing", "walbridge resnapshot")),
        mistake(
            "unpublished",
            "DROP PUBLICATION {p}; INSERT INTO {t} VALUES (1)",
            "",
            ("halted", "source.publication", "CREATE PUBLICATION"),
        ),
        mistake(
            "taken_out",
            "ALTER PUBLICATION {p} DROP TABLE {t}",
            "",
            ("degraded", "source.publication", "ADD TABLE"),
        ),
        mistake("revoked", "REVOKE SELECT ON {t} FROM walbridge", "", ("degraded", "source.privilege", "GRANT SELECT")),
        mistake(
            "hidden",
            "ALTER TABLE {t} ENABLE ROW LEVEL SECURITY",
            "",
            ("degraded", "snapshot.partial_view", "BYPASSRLS"),
        ),
        mistake(
            "nameless",
            "ALTER TABLE {t} REPLICA IDENTITY NOTHING",
            "",
            ("degraded", "source.identity", "REPLICA IDENTITY"),
        ),
        mistake(
            "altered",
            "ALTER TABLE {t} ADD COLUMN more int DEFAULT 7; INSERT INTO {t} VALUES (1)",
            "on_schema_change = \"halt\"",
            ("halted", "schema.unsupported", "follow"),
        ),
        mistake("truncated", "TRUNCATE {t}", "truncate = \"halt\"", ("halted", "schema.unsupported", "apply")),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mistake_made_while_it_streams_has_its_code_and_its_remedy_and_spoils_nothing_else() {
    let postgres = server();
    let mistakes = done_while_it_streams();
    let fast = |mut mistake: Mistake| {
        mistake.config += "\nwatch_interval = \"200ms\"";
        mistake
    };
    let mistakes: Vec<Mistake> = mistakes.into_iter().map(fast).collect();
    let mut walbridge = configured(&postgres, &mistakes, "");
    walbridge.go_on();
    let streams = |status: &Value| {
        mistakes
            .iter()
            .map(|mistake| mistake.name)
            .chain(["sound"])
            .all(|name| status["sources"][name]["state"] == "streaming")
    };
    walbridge.wait_for(PATIENCE, streams).await;
    for mistake in &mistakes {
        postgres.psql(&mistake.sql());
    }
    all_told(&mut walbridge, &mistakes).await;
    assert_eq!(walbridge.sigterm(), Some(3), "{}", walbridge.log());
}
