//! docs/search.md, run: its tables, its configuration, and each request with the answer that stands behind it.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::support::{PgOptions, Postgres, Walbridge};

/// The blocks of a language, in order.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let opening = format!("```{language}\n");
    text.split(opening.as_str()).skip(1).filter_map(|rest| rest.split("```").next()).collect()
}

/// A path, and what `--data-urlencode` adds to it.
fn request(command: &str) -> (String, Vec<(String, String)>) {
    let path = command.strip_prefix("curl -G localhost:7431").and_then(|rest| rest.split_whitespace().next());
    let path = path.unwrap_or_else(|| panic!("cannot be read: {command}"));
    let pairs = command.split("--data-urlencode '").skip(1).map(|rest| {
        let (name, value) = rest.split('\'').next().and_then(|pair| pair.split_once('=')).expect("a pair");
        (name.to_owned(), value.to_owned())
    });
    (path.to_owned(), pairs.collect())
}

/// Without what is another each time: how long it took, and how well a hit matches.
fn stable(mut answer: Value) -> Value {
    if let Some(answer) = answer.as_object_mut() {
        answer.remove("took_ms");
    }
    for hit in answer.get_mut("hits").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(score) = hit.as_object_mut().and_then(|hit| hit.get_mut("score")) {
            assert!(score.as_f64().is_some_and(|score| score > 0.0), "{score}");
            *score = Value::Bool(true);
        }
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_of_the_documentation_is_answered_as_it_says() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/search.md")).expect("docs/search.md");
    let postgres = Postgres::start(PgOptions::default());
    blocks(&text, "sql").into_iter().for_each(|sql| drop(postgres.psql(sql)));
    let directory = tempfile::tempdir().expect("a directory");
    let [config] = blocks(&text, "toml").try_into().expect("one configuration");
    let config = config.replace("/var/lib/walbridge", &directory.path().display().to_string());
    let mut walbridge = Walbridge::start_with(&config, &[("DATABASE_URL", &postgres.url())]);
    caught_up(&mut walbridge, &postgres).await;

    let (commands, answers) = (blocks(&text, "sh"), blocks(&text, "json"));
    assert_eq!(commands.len(), answers.len(), "each request has its answer");
    assert!(commands.len() >= 9, "only {} examples", commands.len());
    for (command, answer) in commands.into_iter().zip(answers) {
        let (path, pairs) = request(command);
        let expected: Value = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer}"));
        let mut url = reqwest::Url::parse(&walbridge.admin_url(&path)).expect("a URL");
        url.query_pairs_mut().extend_pairs(pairs);
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let found = client.get(url).send().await.expect("an answer");
        let is_refused = found.status() == reqwest::StatusCode::BAD_REQUEST;
        let found: Value = serde_json::from_str(&found.text().await.expect("text")).expect("JSON");
        assert_eq!(is_refused, expected.get("error").is_some(), "{command}\n{found}");
        assert_eq!(stable(found.clone()), stable(expected), "{command}\n{found:#}");
    }
    assert_eq!(walbridge.sigterm(), Some(0), "a clean stop: {}", walbridge.log());
}
