//! Several sources in one daemon: one's trouble is its own.

use crate::shop::PATIENCE;
use crate::support::{PgOptions, Postgres, Walbridge, eventually, ports};

fn source(name: &str, url: &str) -> String {
    format!(
        "[sources.{name}]\nurl = \"{url}\"\ntables = \"public.*\"\n\
         [sinks.{name}-events]\nkind = \"file\"\nsource = \"{name}\"\npath = \"{name}.jsonl\"\nfrom = \"public.*\"\n"
    )
}

fn lines(walbridge: &Walbridge, name: &str) -> usize {
    std::fs::read_to_string(walbridge.directory().join(format!("{name}.jsonl"))).unwrap_or_default().lines().count()
}

/// Scenario 158, from the start on and with every kind of trouble at once: a slot that is lost, a server that is down, a database that is
/// not there.
#[tokio::test(flavor = "multi_thread")]
async fn one_source_streams_beside_others_that_are_halted_unreachable_or_never_right() {
    let (sound, losing) = (Postgres::start(PgOptions::default()), Postgres::start(PgOptions::default()));
    for postgres in [&sound, &losing] {
        postgres.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 100)");
    }
    let nowhere = sound.superuser_url().replace("/postgres", "/nowhere").replace("//nowhere", "//postgres");
    let text = [
        source("sound", &sound.url()),
        source("losing", &losing.url()),
        source("down", &format!("postgres://walbridge@127.0.0.1:{}/postgres", ports::free())),
        source("wrong", &nowhere),
        "[log]\npath = \"log\"\n".to_owned(),
    ]
    .concat();
    let mut walbridge = Walbridge::start(&text);
    walbridge
        .wait_for(PATIENCE, |status| {
            let is = |name: &str, state: &str| status["sources"][name]["state"] == state;
            is("sound", "streaming") && is("losing", "streaming") && is("down", "paused") && is("wrong", "halted")
        })
        .await;
    losing.psql(
        "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots;
         DO $$ BEGIN LOOP BEGIN PERFORM pg_drop_replication_slot('walbridge_losing'); EXIT;
         EXCEPTION WHEN object_in_use THEN PERFORM pg_terminate_backend(active_pid) FROM pg_replication_slots; END; END LOOP; END $$",
    );
    let status = walbridge.wait_for(PATIENCE, |status| status["sources"]["losing"]["state"] == "halted").await;
    assert_eq!(status["sources"]["losing"]["code"], "source.slot_missing");
    assert_eq!(status["sources"]["down"]["code"], "source.unreachable");
    let ready = walbridge.get("/readyz").await.expect("an answer");
    assert!(
        ["losing", "down", "wrong"].iter().all(|name| ready.contains(name)) && !ready.contains("source sound"),
        "{ready}"
    );
    assert_eq!(walbridge.get("/healthz").await.as_deref(), Ok("ok\n"));

    sound.psql("INSERT INTO t SELECT generate_series(101, 5000)");
    eventually(PATIENCE, || async {
        let lines = lines(&walbridge, "sound");
        if lines == 5000 { Ok(()) } else { Err(lines) }
    })
    .await;
    // The one that is halted is mended without a restart of the others.
    losing.psql("INSERT INTO t VALUES (1000)");
    let order = walbridge.run(&["resnapshot", "losing"]);
    assert!(order.status.success(), "{order:?}");
    walbridge.wait_for(PATIENCE, |status| status["sources"]["losing"]["state"] == "streaming").await;
    let order = walbridge.run(&["resnapshot", "wrong"]);
    assert_eq!(order.status.code(), Some(3), "its loop has ended: {order:?}");
    assert_eq!(walbridge.sigterm(), Some(3), "one is halted: {}", walbridge.log());
}
