//! What only a webhook can meet: signatures that another verifies, receivers that refuse, throttle, redirect or go away, and addresses that are not
//! to be asked.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::shop::PATIENCE;
use crate::support::{PgOptions, Postgres, Proxy, Receiver, Walbridge, eventually};

const SECRET: &str = "a secret of some length";

/// A database, a receiver, and walbridge between them.
struct World {
    postgres: Postgres,
    receiver: Receiver,
    walbridge: Walbridge,
}

fn config(postgres: &Postgres, url: &str, more: &str) -> String {
    format!(
        "[sources.shop]\nurl = \"{}\"\ntables = \"public.*\"\n[log]\npath = \"log\"\n\
         [sinks.hook]\nkind = \"webhook\"\nurl = \"{url}\"\nfrom = \"public.t\"\ncheckpoint = \"hook.checkpoint\"\n{more}\n",
        postgres.url(),
    )
}

impl World {
    fn open(more: &str) -> World {
        let (postgres, receiver) = (Postgres::start(PgOptions::default()), Receiver::start());
        postgres.psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0)");
        let walbridge = Walbridge::start(&config(&postgres, &receiver.url(), &format!("allow_private = true\n{more}")));
        World { postgres, receiver, walbridge }
    }

    /// Waits until the receiver has been told of all these rows, in this order, whatever came twice in between.
    async fn told(&self, ids: &[i64]) {
        eventually(PATIENCE, || async {
            let mut last: Option<(String, Option<u64>)> = None;
            let mut told = Vec::new();
            for event in self.receiver.events().iter().filter(|event| event["after"].is_object()) {
                let position = (event["position"]["commit_lsn"].to_string(), event["position"]["ordinal"].as_u64());
                if last.as_ref().is_none_or(|last| (last.0.len(), last) < (position.0.len(), &position)) {
                    told.push(event["after"]["id"].as_i64().expect("an id"));
                    last = Some(position);
                }
            }
            if told == ids { Ok(()) } else { Err(format!("{told:?}")) }
        })
        .await;
    }

    async fn wait_for(&mut self, state: &str, code: &str) -> Value {
        let wanted = |status: &Value| {
            let sink = &status["sinks"]["hook"];
            sink["state"] == state && (code.is_empty() || sink["code"] == code)
        };
        self.walbridge.wait_for(PATIENCE, wanted).await["sinks"]["hook"].clone()
    }
}

/// Python's own library is the receiver that verifies: what docs/configuration.md says is enough to do it.
fn verifies(signature: &str, body: &[u8]) -> bool {
    let program = "import hashlib, hmac, sys, time\n\
        parts = dict(part.split('=', 1) for part in sys.argv[2].split(','))\n\
        signed = parts['t'].encode() + b'.' + sys.stdin.buffer.read()\n\
        wanted = hmac.new(sys.argv[1].encode(), signed, hashlib.sha256).hexdigest()\n\
        fresh = abs(time.time() - int(parts['t'])) < 300\n\
        sys.exit(0 if fresh and hmac.compare_digest(wanted, parts['v1']) else 1)";
    let mut child = Command::new("python3")
        .args(["-c", program, SECRET, signature])
        .stdin(Stdio::piped())
        .spawn()
        .expect("python3");
    child.stdin.take().expect("its input").write_all(body).expect("written");
    child.wait().expect("it ends").success()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_posted_signed_in_order_and_together_or_one_by_one() {
    let mut world = World::open(&format!("secret = \"{SECRET}\"\ntoken = \"who-we-are\""));
    world.told(&[1]).await;
    world.postgres.psql("INSERT INTO t SELECT i, 0 FROM generate_series(2, 250) i");
    world.told(&(1..=250).collect::<Vec<_>>()).await;
    let requests = world.receiver.requests();
    assert!(requests.len() < 20, "{} requests", requests.len());
    for request in &requests {
        let header = |name: &str| request.headers.get(name).and_then(|value| value.to_str().ok()).expect("a header");
        assert!(verifies(header("walbridge-signature"), &request.body));
        assert_eq!(header("authorization"), "Bearer who-we-are");
        assert_eq!(header("content-type"), "application/json");
        assert!(header("idempotency-key").starts_with("1:"), "{request:?}");
    }
    let tampered = [&requests[0].body[..], b" "].concat();
    let signature = requests[0].headers["walbridge-signature"].to_str().expect("text");
    assert!(!verifies(signature, &tampered), "another body");
    world.walbridge.sigterm();
    world.walbridge.configure(&config(&world.postgres, &world.receiver.url(), "allow_private = true\nevents_max = 1"));
    world.walbridge.start_again();
    world.postgres.psql("INSERT INTO t SELECT i, 0 FROM generate_series(251, 260) i");
    world.told(&(1..=260).collect::<Vec<_>>()).await;
    let one_by_one = &world.receiver.requests()[requests.len()..];
    let keys: std::collections::BTreeSet<_> = one_by_one
        .iter()
        .map(|request| request.headers["idempotency-key"].to_str().expect("text").to_owned())
        .collect();
    assert_eq!((one_by_one.len(), keys.len()), (10, 10), "each with a key of its own");
    assert_eq!(world.walbridge.sigterm(), Some(0));
}

/// An event that is refused is set aside alone, whatever else is in its request; what is not about events stops the sink.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_event_is_set_aside_and_a_wrong_place_stops_the_sink() {
    let mut world = World::open("on_reject = \"dead_letter\"");
    world.told(&[1]).await;
    world.receiver.refuse(|event| event["after"]["id"] == 7);
    world.postgres.psql("INSERT INTO t SELECT i, 0 FROM generate_series(2, 12) i");
    let sink = world.wait_for("degraded", "sink.rejected").await;
    assert_eq!(sink["rejected"], 1, "{sink}");
    world.told(&[1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12]).await;
    for (status, state, code, says) in [
        (500, "paused", "sink.unavailable", "500"),
        (401, "halted", "security.auth", "credentials"),
        (404, "halted", "sink.rejected", "Mend the url"),
        (302, "halted", "sink.rejected", "follows nobody"),
    ] {
        world.receiver.answer_always(Some(status));
        world.postgres.psql("INSERT INTO t SELECT max(id) + 1, 0 FROM t");
        let sink = world.wait_for(state, code).await;
        assert!(sink["message"].as_str().is_some_and(|message| message.contains(says)), "{sink}");
        world.receiver.answer_always(None);
        world.walbridge.sigterm();
        world.walbridge.start_again();
    }
    world.told(&[1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16]).await;
}

/// The receiver asks for time, in seconds. It is not asked before, and nothing is lost or set aside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_that_asks_for_time_is_given_it() {
    let mut world = World::open("");
    world.told(&[1]).await;
    let before = world.receiver.requests().len();
    world.receiver.answer([(429, Some(("retry-after", "3".to_owned())))]);
    let began = std::time::Instant::now();
    world.postgres.psql("INSERT INTO t VALUES (2, 0)");
    let sink = world.wait_for("paused", "sink.throttled").await;
    assert_eq!(sink["rejected"], 0);
    world.told(&[1, 2]).await;
    assert!(began.elapsed().as_secs() >= 3, "it came back after {:?}", began.elapsed());
    assert_eq!(world.receiver.requests().len(), before + 2, "once too early, and once when it was time");
}

/// Answers get lost and connections break: events may come twice, in their order, and none is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_and_kills_lose_nothing() {
    let (postgres, receiver) = (Postgres::start(PgOptions::default()), Receiver::start());
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0)");
    let proxy = Proxy::start(receiver.port);
    let url = format!("http://127.0.0.1:{}/hook", proxy.port);
    let walbridge = Walbridge::start(&config(&postgres, &url, "allow_private = true"));
    let mut world = World { postgres, receiver, walbridge };
    world.told(&[1]).await;
    for round in 2..8 {
        proxy.lose_answer(PATIENCE, || drop(world.postgres.psql(&format!("INSERT INTO t VALUES ({round}, 0)")))).await;
        if round % 3 == 0 {
            world.walbridge.sigkill();
        }
        proxy.heal();
        proxy.reset();
        if round % 3 == 0 {
            world.walbridge.start_again();
        }
    }
    world.told(&[1, 2, 3, 4, 5, 6, 7]).await;
}

/// A name that stands for this machine, or a private address, is not asked, whoever wrote it; `check` says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_not_public_is_refused() {
    let (postgres, receiver) = (Postgres::start(PgOptions::default()), Receiver::start());
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 0)");
    let mut world = {
        let url = format!("http://localhost:{}/hook", receiver.port);
        let walbridge = Walbridge::start(&config(&postgres, &url, ""));
        World { postgres, receiver, walbridge }
    };
    let sink = world.wait_for("paused", "sink.unavailable").await;
    assert!(sink["message"].as_str().is_some_and(|message| message.contains("no public address")), "{sink}");
    let checked = world.walbridge.run(&["check"]);
    let told = String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat()).into_owned();
    assert!(!checked.status.success() && told.contains("allow_private"), "{told}");
    assert!(world.receiver.requests().is_empty());
}
