//! What only a program can do to its sink: die, hang, talk nonsense, refuse.

use std::path::PathBuf;

use serde_json::Value;

use crate::shop::PATIENCE;
use crate::support::{PgOptions, Postgres, Walbridge, eventually};

/// A database, a program, and walbridge between them.
struct World {
    postgres: Postgres,
    walbridge: Walbridge,
    home: tempfile::TempDir,
}

/// A program in Python that keeps a list of the ids it was told in a file, with a twist.
fn program(twist: &str) -> String {
    format!(
        "import json, os, sys, time\n\
         def say(**line): print(json.dumps(line), flush=True)\n\
         told, home = [], sys.argv[1]\n\
         for line in sys.stdin:\n    \
             said = json.loads(line)\n    \
             kind = said['type']\n    \
             once = os.path.join(home, 'once')\n    \
             first = not os.path.exists(once)\n\
         {twist}\n    \
             if kind == 'hello': say(type='ready')\n    \
             elif kind == 'event' and said['event']['after']: told.append(said['event'])\n    \
             elif kind == 'flush': say(type='flushed')\n    \
             elif kind == 'commit':\n        \
                 open(os.path.join(home, 'ids'), 'a').writelines(f\"{{event['after']['id']}}\\n\" for event in told)\n        \
                 told = []\n        \
                 say(type='ack')\n"
    )
}

impl World {
    fn open(program: &str, more: &str) -> World {
        let (postgres, home) = (Postgres::start(PgOptions::default()), tempfile::tempdir().expect("a directory"));
        postgres.psql("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
        std::fs::write(home.path().join("program.py"), program).expect("written");
        let path = home.path().display();
        let config = format!(
            "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\n[log]\npath = \"log\"\n\
             [sinks.rows]\nkind = \"exec\"\nfrom = \"public.t\"\ncheckpoint = \"rows.checkpoint\"\n\
             command = [\"python3\", \"{path}/program.py\", \"{path}\"]\n{more}\n",
            postgres.url(),
        );
        let walbridge = Walbridge::start(&config);
        World { postgres, walbridge, home }
    }

    fn ids(&self) -> PathBuf {
        self.home.path().join("ids")
    }

    /// Waits until the program has been told of these, whatever came twice.
    async fn told(&self, ids: &[i64]) {
        eventually(PATIENCE, || async {
            let text = std::fs::read_to_string(self.ids()).unwrap_or_default();
            let mut told: Vec<i64> = text.lines().map(|line| line.parse().expect("an id")).collect();
            told.dedup();
            if told == ids { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    }

    async fn wait_for(&mut self, state: &str, code: &str) -> Value {
        let wanted = |status: &Value| {
            let sink = &status["sinks"]["rows"];
            sink["state"] == state && (code.is_empty() || sink["code"] == code)
        };
        self.walbridge.wait_for(PATIENCE, wanted).await["sinks"]["rows"].clone()
    }
}

/// It dies in the middle, answers nonsense, or hangs, once each: it is started again, with the reason on the board, and everything is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_dies_hangs_or_talks_nonsense_is_started_again() {
    for (twist, says) in [
        (
            "    if kind == 'commit' and first:\n        open(once, 'w'); print('it is over', file=sys.stderr, flush=True); os._exit(7)",
            "exit status: 7",
        ),
        ("    if kind == 'flush' and first:\n        open(once, 'w'); say(type='ack'); time.sleep(60)", "docs/exec.md"),
        ("    if kind == 'commit' and first:\n        open(once, 'w'); time.sleep(60)", "said nothing for 2s"),
    ] {
        let world = World::open(&program(twist), "timeout = \"2s\"");
        world.told(&[1]).await;
        world.postgres.psql("INSERT INTO t SELECT generate_series(2, 300)");
        world.told(&(1..=300).collect::<Vec<_>>()).await;
        let log = world.walbridge.log();
        assert!(log.contains(says), "{says}: {log}");
        assert!(!says.contains("status") || log.contains("it is over"), "its last words are told: {log}");
    }
}

/// An event that it refuses is set aside; those beside it are not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_the_program_refuses_is_set_aside() {
    let twist = "    if kind == 'flush':\n        for event in [event for event in told if event['after']['id'] == 7]:\n            \
        told.remove(event); say(type='reject', position=event['position'], reason='not this one')";
    let mut world = World::open(&program(twist), "on_reject = \"dead_letter\"");
    world.told(&[1]).await;
    world.postgres.psql("INSERT INTO t SELECT generate_series(2, 12)");
    let sink = world.wait_for("degraded", "sink.rejected").await;
    assert_eq!(sink["rejected"], 1, "{sink}");
    world.told(&[1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]).await;
    assert_eq!(world.walbridge.sigterm(), Some(0));
}

/// It ignores that its input has ended: it is killed, with what it has started, and walbridge ends in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_does_not_end_is_killed_with_its_children() {
    let program = program("    if kind == 'hello': open(os.path.join(home, 'pid'), 'w').write(str(os.getpid()))")
        + "while True: time.sleep(1)\n";
    let mut world = World::open(&program, "");
    world.told(&[1]).await;
    let pid = std::fs::read_to_string(world.home.path().join("pid")).expect("its id");
    assert_eq!(world.walbridge.sigterm(), Some(0));
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists(), "it is gone");
}

/// A program that is not there is told by `check`, and stops the sink.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_is_not_there_is_told() {
    let mut world = World::open("", "");
    let text = std::fs::read_to_string(world.walbridge.config_path()).expect("its configuration");
    world.walbridge.sigterm();
    world.walbridge.configure(&text.replace("\"python3\"", "\"no-such-program\""));
    let checked = world.walbridge.run(&["check"]);
    let told = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert!(!checked.status.success() && told.contains("no such program"), "{told}");
    world.walbridge.start_again();
    world.wait_for("halted", "sink.rejected").await;
}
