//! `walbridge doctor`.

use std::fmt::Write as _;

use serde_json::json;

use super::output::{print, print_json, runtime};
use super::{ConfigFile, Outcome};
use crate::bridge::{self, Diagnosis, Verdict};
use crate::status::ExitCode;

/// Everything that the configuration needs of servers, brokers, targets and disks: what is well, what is not, what to do
#[derive(clap::Args)]
#[command(after_help = "\
`check` answers whether walbridge can start. `doctor` goes through all that surrounds it, item by item, while it runs or before: settings and
limits of the servers, rights, the slot and what it retains, topics and their replicas, room on disks, what the targets would lose. Each
item is ok, a warning or a failure, with a remedy. Nothing is changed anywhere. Exit code 0 without a failure, else 3.

Examples:
  walbridge doctor --config walbridge.toml
  walbridge doctor --quiet                        only what is not ok
  walbridge doctor --json | jq '.[] | select(.verdict != \"ok\")'")]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Leave out what is ok
    #[arg(long)]
    quiet: bool,
    /// Print the items as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let config = arguments.config.load()?;
    let mut found = runtime()?.block_on(bridge::doctor(&config));
    let worst = found.iter().map(|item| item.verdict).max().unwrap_or(Verdict::Ok);
    found.retain(|item| !arguments.quiet || item.verdict != Verdict::Ok);
    if arguments.json {
        print_json(&found.iter().map(as_json).collect::<Vec<_>>())?;
    } else {
        print(&describe(&found, worst))?;
    }
    Ok(if worst == Verdict::Failure { ExitCode::Halted } else { ExitCode::Clean })
}

fn as_json(item: &Diagnosis) -> serde_json::Value {
    json!({
        "subject": item.subject,
        "check": item.check,
        "verdict": item.verdict.as_str(),
        "code": item.code.map(|code| code.as_str()),
        "message": item.message,
        "remedy": item.remedy,
    })
}

fn describe(found: &[Diagnosis], worst: Verdict) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    for of_one in found.chunk_by(|one, other| one.subject == other.subject) {
        let _ = writeln!(out, "{}", of_one.first().map_or("", |item| item.subject.as_str()));
        for Diagnosis { check, verdict, message, remedy, .. } in of_one {
            let word = match verdict {
                Verdict::Ok => "ok     ",
                Verdict::Warning => "WARNING",
                Verdict::Failure => "FAILURE",
            };
            let _ = writeln!(out, "  {word}  {check}: {message}");
            if !remedy.is_empty() {
                let _ = writeln!(out, "           {remedy}");
            }
        }
    }
    out.push_str(match worst {
        Verdict::Ok => "all is well\n",
        Verdict::Warning => "it works; see the warnings\n",
        Verdict::Failure => "it cannot work so; see the failures\n",
    });
    out
}
