//! The command line as a user meets it: help, exit codes, what goes to stdout and what to stderr.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use expect_test::{Expect, expect};
use serde_json::Value;

fn walbridge(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_walbridge"));
    command.args(arguments).stdin(Stdio::null()).env_remove("WALBRIDGE_CONFIG").env_remove("WALBRIDGE_LOG");
    command.env("COLUMNS", "100").output().expect("walbridge runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

/// A folder with a configuration in it.
fn folder(config: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("walbridge.toml"), config).expect("written");
    folder
}

fn config_of(folder: &Path) -> String {
    folder.join("walbridge.toml").to_string_lossy().into_owned()
}

const LEAST: &str =
    "[sources.shop]\nurl = 'postgres://walbridge@localhost:1/shop'\ntables = 'public.*'\n[log]\npath = 'log'\n";

#[test]
fn help_says_where_to_begin() {
    let help = walbridge(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let text = stdout(&help);
    for word in
        ["check", "run", "status", "tail", "log", "schema", "setup", "Exit codes: 0 clean", "2 wrong", "NO_COLOR"]
    {
        assert!(text.contains(word), "{word} is not in:\n{text}");
    }
}

#[test]
fn every_command_teaches_by_example() {
    for command in [
        &["run"][..],
        &["check"],
        &["doctor"],
        &["status"],
        &["tail"],
        &["log", "dump"],
        &["log", "verify"],
        &["schema"],
        &["setup"],
    ] {
        let help = walbridge(&[command, &["--help"]].concat());
        let text = stdout(&help);
        assert_eq!(help.status.code(), Some(0), "{command:?}");
        assert!(text.contains("Example"), "{command:?}:\n{text}");
        assert!(text.contains(&format!("walbridge {}", command.join(" "))), "{command:?}:\n{text}");
        if command != ["run"] {
            assert!(text.contains("--json"), "{command:?}:\n{text}");
        }
    }
}

fn usage(arguments: &[&str], report: &Expect) {
    let output = walbridge(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert_eq!(stdout(&output), "");
    report.assert_eq(&stderr(&output));
}

#[test]
fn a_wrong_command_line_ends_with_2_and_a_hint() {
    usage(
        &["chek"],
        &expect![[r#"
        error: unrecognized subcommand 'chek'

          tip: some similar subcommands exist: 'schema', 'check'

        Usage: walbridge [OPTIONS] <COMMAND>

        For more information, try '--help'.
    "#]],
    );
    usage(
        &["tail", "--from", "yesterday"],
        &expect![[r#"
        error: invalid value 'yesterday' for '--from <PLACE>': write start, end, 42, 16/B374D848, 2026-11-24T10:00:00Z or 10m

        For more information, try '--help'.
    "#]],
    );
}

#[test]
fn a_missing_configuration_file_is_named() {
    let output = walbridge(&["check", "--config", "no/such/file.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).starts_with("no/such/file.toml: error: cannot read the configuration: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn check_prints_mistakes_to_stderr_and_as_json_to_stdout() {
    let folder = folder(&LEAST.replace("tables", "tabels"));
    let config = config_of(folder.path());
    let text = walbridge(&["check", "--offline", "--config", &config]);
    assert_eq!(text.status.code(), Some(2));
    assert_eq!(stdout(&text), "");
    assert!(stderr(&text).contains("walbridge.toml:3:1: error: unknown key `tabels`"), "{}", stderr(&text));
    assert!(!stderr(&text).contains('\u{1b}'), "no colours without a terminal");

    let json = walbridge(&["check", "--offline", "--json", "--config", &config]);
    assert_eq!(json.status.code(), Some(2));
    let report: Value = serde_json::from_str(&stdout(&json)).expect("JSON");
    assert_eq!(report["ok"], false);
    assert_eq!(report["mistakes"][0]["line"], 3);
    assert_eq!(report["mistakes"][0]["help"], "did you mean `tables`?");
}

#[test]
fn check_tells_what_a_good_configuration_means() {
    let folder = folder(LEAST);
    let config = config_of(folder.path());
    let output = walbridge(&["check", "--offline", "--config", &config]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for words in ["source shop: public.* from localhost:1/shop", "slot walbridge_shop", "http://127.0.0.1:7431"] {
        assert!(text.contains(words), "{words} is not in:\n{text}");
    }
    let json = walbridge(&["check", "--offline", "--json", "--config", &config]);
    assert_eq!(serde_json::from_str::<Value>(&stdout(&json)).expect("JSON")["ok"], true);
}

#[test]
fn check_says_when_a_server_is_not_there() {
    let folder = folder(LEAST);
    let output = walbridge(&["check", "--json", "--config", &config_of(folder.path())]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let report: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(report["findings"][0]["subject"], "source shop");
    assert_eq!(report["findings"][0]["code"], "source.unreachable");
}

#[test]
fn the_configuration_comes_from_the_environment_too() {
    let folder = folder(LEAST);
    let mut command = Command::new(env!("CARGO_BIN_EXE_walbridge"));
    let output = command.args(["check", "--offline"]).env("WALBRIDGE_CONFIG", config_of(folder.path())).output();
    assert_eq!(output.expect("walbridge runs").status.code(), Some(0));
}

#[test]
fn schema_prints_a_schema() {
    let output = walbridge(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let schema: Value = serde_json::from_str(&stdout(&output)).expect("JSON");
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let embedded = &schema["properties"]["log"]["oneOf"][0];
    assert_eq!(embedded["properties"]["retain"]["properties"]["age"]["default"], "7d");
    assert_eq!(
        schema["properties"]["sinks"]["additionalProperties"]["oneOf"][0]["properties"]["kind"]["const"],
        "redis"
    );
}

#[test]
fn status_says_when_nobody_answers() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let folder = folder(&format!("{LEAST}[admin]\nlisten = '127.0.0.1:{port}'\n"));
    let output = walbridge(&["status", "--config", &config_of(folder.path())]);
    assert_eq!(output.status.code(), Some(3));
    assert!(stderr(&output).contains("does not answer: is `walbridge run` running"), "{}", stderr(&output));
}

/// Scenario 152.
#[test]
fn a_port_in_use_ends_the_start_before_anything_else_has_begun() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let folder = folder(&format!("{LEAST}[admin]\nlisten = '127.0.0.1:{port}'\n"));
    let output = walbridge(&["run", "--config", &config_of(folder.path())]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(
        stderr(&output).contains(&format!("the admin port 127.0.0.1:{port} cannot be opened")),
        "{}",
        stderr(&output)
    );
    assert!(!folder.path().join("log").exists(), "nothing half begun");
}

#[test]
fn a_log_that_is_not_there_yet_is_said_so() {
    let folder = folder(LEAST);
    let config = config_of(folder.path());
    for command in [&["log", "dump", "--json"][..], &["tail"]] {
        let output = walbridge(&[command, &["--config", &config]].concat());
        assert_eq!(output.status.code(), Some(3), "{command:?}");
        assert!(stderr(&output).contains("source shop has not been started yet"), "{command:?}: {}", stderr(&output));
    }
    let wrong = walbridge(&["tail", "--source", "shp", "--config", &config]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("the configuration has shop"), "{}", stderr(&wrong));
}

/// Scenario 163: whatever is asked for, at the finest log level, no password is in it, plain or percent-encoded.
#[test]
fn no_command_prints_a_secret() {
    let config = "[sources.shop]\nurl = 'postgres://u:c%40nary-p%2Fw@localhost:1/shop'\ntables = 'public.*'\n[log]\npath = 'log'\n\
                  [sinks.r]\nkind = 'redis'\nurl = 'redis://:c%40nary-p%2Fw@localhost:1'\nfrom = 'public.*'\n\
                  [admin]\ntoken = 'c@nary-p/w-c@nary-p/w'\n";
    let folder = folder(config);
    for arguments in [&["check"][..], &["check", "--json"], &["check", "--offline"], &["status"], &["tail"]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_walbridge"));
        command.args(arguments).args(["--config", &config_of(folder.path())]).env("WALBRIDGE_LOG", "trace");
        let output = command.output().expect("walbridge runs");
        let all = stdout(&output) + &stderr(&output);
        for secret in ["c@nary", "c%40nary", "nary-p", "p%2Fw", "Y0BuYXJ5"] {
            assert!(!all.contains(secret), "{arguments:?}: {secret} is in\n{all}");
        }
    }
}
