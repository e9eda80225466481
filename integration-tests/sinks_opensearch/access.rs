//! Who we are, whom we trust, and whom we ask.
//!
//! OpenSearch out of its jars has neither TLS nor users, so a gate in front of the real node has them: the certificate of an authority of the test's own,
//! and what it asks of each request. Signatures are verified by Python, from the algorithm's description.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use super::World;
use crate::support::gate::Asked;
use crate::support::postgres::certificate;
use crate::support::{Gate, OpenSearch};

const SQL: &str = "CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t VALUES (1, 'one')";

fn header<'a>(asked: &'a Asked, name: &str) -> &'a str {
    asked.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Refuses requests that do not say who they are in these words.
fn wants(gate: &Gate, authorization: &'static str) {
    gate.tell(move |asked| (header(asked, "authorization") != authorization).then(|| (401, None, String::new())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_behind_tls_is_trusted_by_its_authority_and_told_who_we_are() {
    let (node, directory) = (OpenSearch::shared(), tempfile::tempdir().expect("a directory"));
    let certificate = certificate::write(directory.path());
    let gate = Gate::start(node.port, Some(&certificate));
    wants(&gate, "Basic d2FsYnJpZGdlOmNhbmFyeS1wYXNzd29yZA==");
    let ca = directory.path().join(certificate::CA);
    let (url, index) = (format!("\"https://localhost:{}\"", gate.port), OpenSearch::name());
    let basic = "username = \"walbridge\"\npassword = \"canary-password\"\n";
    let mut world = World::at(node.clone(), &url, &index, SQL, &format!("{basic}ca = \"{}\"", ca.display()));
    world.equals("SELECT * FROM t").await;

    let text = std::fs::read_to_string(world.walbridge.config_path()).expect("its configuration");
    let configure = |world: &mut World, from: &str, to: &str| {
        world.walbridge.sigterm();
        world.walbridge.configure(&text.replace(from, to));
        world.walbridge.start_again();
    };
    // An authority that the test did not make, a wrong password, and an API key.
    configure(&mut world, &format!("ca = \"{}\"", ca.display()), "");
    let sink = world.wait_for("paused", "sink.unavailable").await;
    assert!(sink["message"].as_str().is_some_and(|message| message.contains("no TLS")), "{sink}");
    configure(&mut world, "canary-password", "canary-mistaken");
    let sink = world.wait_for("halted", "security.auth").await;
    assert!(!sink.to_string().contains("canary"), "{sink}");
    wants(&gate, "ApiKey a2V5OnNlY3JldA==");
    configure(&mut world, basic, "api_key = \"a2V5OnNlY3JldA==\"\n");
    world.postgres.psql("INSERT INTO t VALUES (2, 'two')");
    world.equals("SELECT * FROM t").await;
}

/// Verifies requests, by the secrets of several keys. Fails with the first that is not signed as it should be.
const VERIFY: &str = "
import hashlib, hmac, json, sys, urllib.parse
def mac(key, text): return hmac.new(key, text.encode(), hashlib.sha256).digest()
def quote(text): return urllib.parse.quote(text, safe='-_.~')
given = json.load(sys.stdin)
for asked in given['asked']:
    headers = asked['headers']
    algorithm, rest = headers['authorization'].split(' ', 1)
    parts = dict(part.strip().split('=', 1) for part in rest.split(','))
    key, day, region, service, end = parts['Credential'].split('/')
    names = parts['SignedHeaders'].split(';')
    assert algorithm == 'AWS4-HMAC-SHA256' and (region, service, end) == ('eu-central-1', 'es', 'aws4_request')
    assert names == ['host', 'x-amz-date', 'x-amz-security-token'], names
    path, _, query = asked['uri'].partition('?')
    pairs = [part.partition('=') for part in query.split('&') if part]
    pairs = sorted((quote(urllib.parse.unquote(name)), quote(urllib.parse.unquote(value))) for name, _, value in pairs)
    body = hashlib.sha256(asked['body'].encode()).hexdigest()
    canonical = '\\n'.join([asked['method'], '/'.join(quote(part) for part in path.split('/')),
        '&'.join('='.join(pair) for pair in pairs), *(name + ':' + headers[name] for name in names), '', ';'.join(names), body])
    text = '\\n'.join([algorithm, headers['x-amz-date'], '/'.join([day, region, service, end]),
        hashlib.sha256(canonical.encode()).hexdigest()])
    signing = ('AWS4' + given['secrets'][key]).encode()
    for part in [day, region, service, end]: signing = mac(signing, part)
    assert mac(signing, text).hex() == parts['Signature'], canonical
";

fn verified(asked: &[Asked], secrets: &serde_json::Value) -> bool {
    let plain = |asked: &Asked| {
        let names = asked.headers.keys().map(|name| (name.to_string(), header(asked, name.as_str()).to_owned()));
        let headers: std::collections::BTreeMap<_, _> = names.collect();
        json!({ "method": asked.method, "uri": asked.uri, "headers": headers, "body": String::from_utf8_lossy(&asked.body) })
    };
    let given = json!({ "asked": asked.iter().map(plain).collect::<Vec<_>>(), "secrets": secrets }).to_string();
    let mut child = Command::new("python3").args(["-c", VERIFY]).stdin(Stdio::piped()).spawn().expect("python3");
    child.stdin.take().expect("its input").write_all(given.as_bytes()).expect("written");
    child.wait().expect("it ends").success()
}

/// Keys of a file are good for a while, and replaced there: no restart, no pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_signed_for_amazon_with_the_keys_that_a_file_has_now() {
    let (node, directory) = (OpenSearch::shared(), tempfile::tempdir().expect("a directory"));
    let gate = Gate::start(node.port, None);
    let file = directory.path().join("credentials");
    let write = |key: &str, secret: &str| {
        let text = format!(
            "[other]\naws_access_key_id = X\n[search]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\naws_session_token = token/of+{key}==\n"
        );
        // As whoever replaces secrets does it.
        std::fs::write(directory.path().join("new"), text).expect("written");
        std::fs::rename(directory.path().join("new"), &file).expect("renamed");
    };
    write("FIRST", "first/secret+1");
    let more = format!(
        "aws = {{ region = \"eu-central-1\", credentials_file = \"{}\", profile = \"search\" }}\nrouting = \"{{id}}\"",
        file.display()
    );
    let url = format!("\"http://127.0.0.1:{}\"", gate.port);
    // Braces, and whatever else must be encoded, are in paths as well.
    let index = format!("{}-{{id}}", OpenSearch::name());
    let world = World::at(node.clone(), &url, &index, SQL, &more);
    super::places::equals(&world, "SELECT * FROM t").await;
    write("SECOND", "second/secret+2");
    world.postgres.psql("INSERT INTO t VALUES (2, 'two ½')");
    super::places::equals(&world, "SELECT * FROM t").await;
    let asked = gate.asked();
    let secrets = json!({ "FIRST": "first/secret+1", "SECOND": "second/secret+2" });
    assert!(verified(&asked, &secrets));
    assert!(asked.iter().any(|asked| header(asked, "authorization").contains("SECOND")), "read again");
    let mistaken = json!({ "FIRST": "first/secret+1", "SECOND": "another" });
    assert!(!verified(&asked, &mistaken), "another secret");
}

/// Scenario 170: what answers names another place. Nobody is asked there, and the sink says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_not_followed() {
    let node = OpenSearch::shared();
    let (gate, elsewhere) = (Gate::start(node.port, None), Gate::start(node.port, None));
    let to = format!("http://127.0.0.1:{}/", elsewhere.port);
    for status in [301, 302, 307, 308] {
        let to = to.clone();
        gate.tell(move |_| Some((status, Some(("location", to.clone())), String::new())));
        let url = format!("\"http://127.0.0.1:{}\"", gate.port);
        let mut world = World::at(node.clone(), &url, &OpenSearch::name(), SQL, "username = \"a\"\npassword = \"b\"");
        let sink = world.wait_for("halted", "sink.rejected").await;
        assert!(sink["message"].as_str().is_some_and(|message| message.contains("follows nobody")), "{sink}");
    }
    assert!(elsewhere.asked().is_empty());
}

/// Of several servers one is not there, one comes and goes. A server of another cluster among them is not written to.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_of_one_cluster_are_asked_in_turn_and_one_that_is_away_is_left_out() {
    let node = OpenSearch::shared();
    let (one, other, nobody) =
        (Gate::start(node.port, None), Gate::start(node.port, None), crate::support::ports::free());
    let url = format!(
        "[\"http://127.0.0.1:{nobody}\", \"http://127.0.0.1:{}\", \"http://127.0.0.1:{}\"]",
        one.port, other.port
    );
    let mut world = World::at(node.clone(), &url, &OpenSearch::name(), SQL, "");
    world.equals("SELECT * FROM t").await;
    let sink = world.wait_for("streaming", "").await;
    assert_eq!(sink["rejected"], 0);
    for id in 2..6 {
        world.postgres.psql(&format!("INSERT INTO t VALUES ({id}, 'x')"));
        world.equals("SELECT * FROM t").await;
    }
    let bulks = |gate: &Gate| gate.asked().iter().filter(|asked| asked.uri.contains("_bulk")).count();
    assert!(bulks(&one) > 0 && bulks(&other) > 0, "{} and {}", bulks(&one), bulks(&other));
    drop(one);
    world.postgres.psql("INSERT INTO t VALUES (6, 'x'); DELETE FROM t WHERE id = 2");
    world.equals("SELECT * FROM t").await;

    other.alter(|asked, answer| {
        if asked.uri == "/" {
            answer["cluster_uuid"] = json!("another");
        }
    });
    world.walbridge.sigterm();
    let before = other.asked().len();
    let again = Gate::start(node.port, None);
    let text = std::fs::read_to_string(world.walbridge.config_path()).expect("its configuration");
    world.walbridge.configure(&text.replace(&nobody.to_string(), &again.port.to_string()));
    world.walbridge.start_again();
    world.postgres.psql("INSERT INTO t VALUES (7, 'x')");
    let sink = world.wait_for("halted", "sink.rejected").await;
    assert!(sink["message"].as_str().is_some_and(|message| message.contains("of another cluster")), "{sink}");
    assert!(other.asked()[before..].iter().all(|asked| asked.uri == "/"), "it was asked for no more than who it is");
}

/// A server that is too old, or something else, is refused by name before anything is made there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_known_is_refused_by_name() {
    let node = OpenSearch::shared();
    let gate = Gate::start(node.port, None);
    let url = format!("\"http://127.0.0.1:{}\"", gate.port);
    for (version, says) in [
        (json!({ "distribution": "opensearch", "number": "1.3.20" }), Some("OpenSearch 1.3.20")),
        (json!({ "number": "7.9.3" }), Some("Elasticsearch 7.9.3")),
        (json!({ "number": "8.15.0", "build_flavor": "default" }), None),
    ] {
        gate.alter(move |asked, answer| {
            if asked.uri == "/" {
                answer["version"] = version.clone();
            }
        });
        let before = gate.asked().len();
        let mut world = World::at(node.clone(), &url, &OpenSearch::name(), SQL, "");
        match says {
            None => world.equals("SELECT * FROM t").await,
            Some(says) => {
                let sink = world.wait_for("halted", "sink.rejected").await;
                assert!(sink["message"].as_str().is_some_and(|message| message.contains(says)), "{sink}");
                let asked = &gate.asked()[before..];
                assert!(asked.iter().all(|asked| asked.method == "GET" && asked.uri == "/"), "{asked:?}");
            }
        }
    }
}
