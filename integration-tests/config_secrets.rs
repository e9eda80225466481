//! Secrets in a configuration file that is wrong: whatever is said about it, they are not.

use std::path::Path;

use walbridge::config::{self, Config, ConfigErrors};

fn read(source: &str) -> Result<Config, ConfigErrors> {
    config::parse(source, Path::new("walbridge.toml"), &|_| None)
}

/// Scenario 163. The password has a character of each kind that ends some part of a URL.
#[test]
fn no_report_holds_a_secret_however_the_url_is_broken() {
    let secret = "cAnArY";
    for url in [
        "postgres://u:cAnArY@db/x?sslmode=nonsense",
        "postgres://u:a/cAnArY@db/x",
        "postgres://u:a?cAnArY@db/x",
        "postgres://u:a?cAnArY=cAnArY@db/x",
        "postgres://u:a#cAnArY@db/x",
        "postgres://u:a@cAnArY@db:port/x",
        "postgres://u:%ZZcAnArY@db/x",
        "postgres://u@db/x?password=cAnArY&nonsense=1",
        "postgres://u@db/x?pasword=cAnArY",
        "postgres://u:cAnArY%2F@db:99999/x",
        "mysql://u:cAnArY@db/x",
        "u:cAnArY@db",
    ] {
        for quote in ["\"", "'", "\"\"\"", ""] {
            let text = format!(
                "[sources.a]\nurl = {quote}{url}{quote}\ntables = 1\n[log]\npath = 'x'\n[sinks.r]\nkind = 'redis'\nurl = {quote}{url}{quote}\nfrom = 'a.b'\n"
            );
            let errors = read(&text).expect_err("tables is not a number");
            let all = format!("{} {:?} {} {}", errors.render(true), errors, errors, errors.to_json());
            // Without a colon-slash-slash nothing says that this is a login.
            let hidden = !all.contains(secret) || url == "u:cAnArY@db";
            assert!(hidden, "{url}:\n{all}");
        }
    }
    for line in ["password = 'cAnArY'", "token = 5 # cAnArY", "pass_word = cAnArY", "secret = { a = 'cAnArY' }"] {
        let errors = read(&format!("[sinks.a]\n{line}\n")).expect_err("unknown key");
        assert!(!errors.render(false).contains(secret), "{}", errors.render(false));
    }
}

#[test]
fn values_from_the_environment_are_never_repeated() {
    let environment = |_: &str| Some("cAnArY".to_owned());
    let text = "[sources.a]\nurl = '${A}'\ntables = '${A}'\nslot='${A}'\nsnapshot='${A}'\npublication=\"${A}\\n\"\n[log]\npath='/x'\nretain={age='${A}', size='${A}'}\n\
                [sinks.b]\nkind='redis'\nurl='${A}'\nfrom='${A}'\nkey='${A}'\nvalue='${A}'\nttl='${A}'\nsource='${A}'\n[admin]\nlisten='${A}'\ntoken='${A}'\n";
    let errors = config::parse(text, Path::new("w.toml"), &environment).expect_err("all wrong");
    assert!(errors.mistakes().len() > 10, "{}", errors.render(false));
    assert!(!format!("{errors:?} {}", errors.to_json()).contains("cAnArY"), "{}", errors.render(false));
}
