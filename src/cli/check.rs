//! `walbridge check`.

use std::fmt::Write as _;

use serde_json::json;

use super::output::{print, print_json, runtime};
use super::{ConfigFile, Outcome};
use crate::bridge::{self, Finding};
use crate::config::{self, Config};
use crate::status::ExitCode;

/// Is the configuration right, and is everything it names ready?
#[derive(clap::Args)]
#[command(after_help = "\
Shows every mistake at once, with file, line and column, and what to do about it. Then looks at each server and target,
without changing anything there.

Examples:
  walbridge check --config walbridge.toml             the file, the servers, the targets
  walbridge check --config walbridge.toml --offline   the file alone: in an editor, in CI
  walbridge check --config walbridge.toml --json      for programs")]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Check the file alone; connect to nothing
    #[arg(long)]
    offline: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let file = &arguments.config.config;
    let config = match config::load(file) {
        Ok(config) => config,
        Err(errors) if arguments.json => {
            print_json(&errors.to_json())?;
            return Ok(ExitCode::Configuration);
        }
        Err(errors) => return Err(errors.into()),
    };
    let findings = if arguments.offline { Vec::new() } else { runtime()?.block_on(bridge::check(&config)) };
    let sound = findings.iter().all(|finding| finding.problem.is_none());
    if arguments.json {
        let findings: Vec<_> = findings.iter().map(finding_json).collect();
        print_json(&json!({ "ok": sound, "file": file.to_string_lossy(), "mistakes": [], "findings": findings }))?;
    } else {
        print(&describe(&config, &findings, sound))?;
    }
    Ok(if sound { ExitCode::Clean } else { ExitCode::Configuration })
}

fn finding_json(finding: &Finding) -> serde_json::Value {
    let (code, message) = finding.problem.as_ref().map(|(code, message)| (code.as_str(), message)).unzip();
    json!({ "subject": finding.subject, "ok": finding.problem.is_none(), "code": code, "message": message })
}

/// What is going to happen, in words, so that a mistake that is no error is seen.
fn describe(config: &Config, findings: &[Finding], sound: bool) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    for source in &config.sources {
        let _ = writeln!(out, "source {}: {} from {}", source.name, source.tables, source.address);
        let _ = writeln!(out, "  slot {}, publication {}", source.slot, source.publication);
        let path = config.log.path_of(&source.name);
        let _ = match &config.log.kafka {
            None => writeln!(out, "  log  {}", path.display()),
            Some(kafka) => {
                writeln!(out, "  log  {} in Kafka at {}, with {}", kafka.topic, kafka.brokers, path.display())
            }
        };
    }
    for sink in &config.sinks {
        let _ = writeln!(out, "sink   {}: {} into {}", sink.name, sink.tables, sink.target.kind());
    }
    let _ = writeln!(out, "admin  http://{}", config.admin.listen);
    for finding in findings {
        match &finding.problem {
            None => drop(writeln!(out, "ok     {}", finding.subject)),
            Some((code, message)) => drop(writeln!(out, "WRONG  {}: {code}: {message}", finding.subject)),
        }
    }
    out.push_str(if sound { "all is well\n" } else { "not ready\n" });
    out
}
