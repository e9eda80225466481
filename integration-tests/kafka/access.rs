//! Who walbridge says it is, to brokers that ask.

use super::{PATIENCE, Stage};
use crate::support::{Kafka, eventually};

/// Prints a token that nobody signed, good for four seconds, and notes that it did. Such a broker takes it at its word.
const TOKEN: &str = "echo >> tokens; now=$(date +%s); claims=$(printf '{\"sub\":\"walbridge\",\"iat\":%s,\"exp\":%s}' $now $((now + 4)) \
                     | base64 -w0 | tr '+/' '-_' | tr -d =); printf 'eyJhbGciOiJub25lIn0.%s.' $claims";

/// By password (PLAIN) and by token (OAUTHBEARER), each allowed what the documentation says and no more. Tokens are renewed in time: the
/// brokers end a connection whose token has expired.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_and_a_token_open_what_was_allowed_to_their_name() {
    let (kafka, port) = Kafka::guarded();
    let mut stage = Stage::prepare(&kafka, "");
    kafka.allow_all("walbridge", &stage.source);
    let plain = std::fs::read_to_string(stage.walbridge.config_path()).expect("the configuration");
    let config = |sasl: &str| {
        let guarded = plain.replace(&kafka.brokers(), &format!("127.0.0.1:{port}"));
        guarded.replace("[admin]", &format!("sasl = {{ {sasl} }}\n[admin]"))
    };
    let password =
        |name: &str, word: &str| format!("mechanism = \"PLAIN\", username = \"{name}\", password = \"{word}\"");
    stage.walbridge.configure(&config(&password("walbridge", "wrong")));
    stage.walbridge.start_again();
    let status = stage.await_code("paused", "security.auth").await;
    assert!(!status.to_string().contains("wrong"), "{status}");
    stage.walbridge.sigkill();
    // What was never allowed is wrong set-up: the process ends and says so.
    stage.walbridge.configure(&config(&password("stranger", "right")));
    stage.walbridge.start_again();
    assert_eq!(stage.walbridge.exit_code(PATIENCE), Some(2), "{}", stage.walbridge.log());
    assert!(stage.walbridge.log().contains("kafka.denied"), "{}", stage.walbridge.log());
    stage.walbridge.configure(&config(&password("walbridge", "right")));
    stage.walbridge.start_again();
    stage.caught_up().await;
    stage.walbridge.sigkill();

    let token = format!("mechanism = \"OAUTHBEARER\", token_command = [\"sh\", \"-c\", '''{TOKEN}''']");
    let sink = "[sinks.history]\nkind = \"file\"\npath = \"history.jsonl\"\nfrom = \"public.*\"\n[admin]";
    stage.walbridge.configure(&config(&token).replace("[admin]", sink));
    stage.walbridge.start_again();
    stage.caught_up().await;
    let printed = || {
        let text = std::fs::read_to_string(stage.walbridge.directory().join("tokens"));
        text.unwrap_or_default().lines().count()
    };
    let before = printed();
    // Enough for each of the clients to have got another one.
    eventually(PATIENCE, || async {
        stage.postgres.psql("UPDATE t SET n = n + 1 WHERE id = 1");
        let more = printed() - before;
        if more >= 20 { Ok(()) } else { Err(format!("{more} tokens more")) }
    })
    .await;
    stage.postgres.psql("UPDATE t SET n = n + 1");
    stage.caught_up().await;
    stage.proven(&kafka);
    let history = std::fs::read_to_string(stage.walbridge.directory().join("history.jsonl")).unwrap_or_default();
    assert!(history.lines().count() > 20, "the sink reads too");
    assert!(!stage.walbridge.log().contains("eyJ"), "no token is told");

    // What is no token is said to be that, and goes on once it is mended.
    stage.walbridge.sigkill();
    let file = stage.walbridge.directory().join("token");
    std::fs::write(&file, "two words").expect("written");
    let token = format!("mechanism = \"OAUTHBEARER\", token_file = \"{}\"", file.display());
    stage.walbridge.configure(&config(&token));
    stage.walbridge.start_again();
    let status = stage.await_code("paused", "security.auth").await;
    assert!(status["message"].as_str().is_some_and(|message| message.contains("holds no token")), "{status}");
    // {"sub":"walbridge","iat":1000000000,"exp":4102444800}
    let forever = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ3YWxicmlkZ2UiLCJpYXQiOjEwMDAwMDAwMDAsImV4cCI6NDEwMjQ0NDgwMH0.";
    std::fs::write(&file, forever).expect("written");
    stage.postgres.psql("UPDATE t SET n = n + 1");
    stage.caught_up().await;
    stage.proven(&kafka);
}
