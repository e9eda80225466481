//! `walbridge rebuild`.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client;
use super::output::{Failure, print, print_json, runtime, show_bar};
use super::{ConfigFile, Outcome, require_sink};
use crate::admin::{SinkView, StatusView};
use crate::event::Span;
use crate::status::{ExitCode, State};

/// Build a sink's index anew beside the one that is searched, and put it in its place
#[derive(clap::Args)]
#[command(after_help = "\
For an index that is damaged, or that needs other mappings or fields. Tells the running walbridge through its admin port. The index that is there goes on being
delivered and searched until the new one has all that it has; then the new one takes its place in one step. It goes on over a restart or a crash.
docs/operating.md has more.

Examples:
  walbridge rebuild products --config walbridge.toml
  walbridge rebuild products --keep-old --wait
  walbridge rebuild products --copy      where the log no longer reaches back to its beginning
  walbridge rebuild products --cancel    leave off, and remove what is built")]
pub(super) struct Arguments {
    /// The sink
    sink: String,
    #[command(flatten)]
    config: ConfigFile,
    /// Keep the old index, under another name, instead of removing it
    #[arg(long, conflicts_with = "cancel")]
    keep_old: bool,
    /// Begin with new copies of the sink's tables, and not with the log's beginning
    #[arg(long, conflicts_with = "cancel")]
    copy: bool,
    /// Leave off, and remove what is built
    #[arg(long)]
    cancel: bool,
    /// Wait until the new index has taken the place, and show how far it is
    #[arg(long, conflicts_with = "cancel")]
    wait: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize, Serialize)]
struct Answer {
    sink: String,
    /// What is applied, as of now; `null` if it leaves off.
    events: Option<Span>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let config = arguments.config.load()?;
    let sink = &arguments.sink;
    require_sink(&config, sink)?;
    let order = match arguments.cancel {
        true => json!({ "action": "cancel" }),
        false => json!({ "action": "begin", "keep_old": arguments.keep_old, "copy": arguments.copy }),
    };
    let runtime = runtime()?;
    let before = match arguments.wait {
        true => runtime.block_on(client::ask::<StatusView>(&config.admin, "/api/status", None))?.sinks.remove(sink),
        false => None,
    };
    let before = before.and_then(|view| view.rebuilt);
    let answer: Answer =
        runtime.block_on(client::ask(&config.admin, &format!("/api/sinks/{sink}/rebuild"), Some(&order)))?;
    if !arguments.json {
        print(&match answer.events {
            Some(Span { from, until }) => {
                format!("sink {sink}: builds another from events {from} up to {until}, and on\n")
            }
            None => format!("sink {sink}: what was being built is removed\n"),
        })?;
    }
    if arguments.wait {
        runtime.block_on(client::wait_for_sink(&config.admin, sink, |view| is_through(view, before.as_deref())))?;
    }
    match (arguments.json, arguments.wait) {
        (true, _) => print_json(&answer)?,
        (false, true) => print(&format!("sink {sink}: the new one has taken the place of the old one\n"))?,
        (false, false) => {}
    }
    Ok(ExitCode::Clean)
}

/// `before`: when it was rebuilt last, before this time.
fn is_through(sink: &SinkView, before: Option<&str>) -> Result<bool, Failure> {
    match &sink.rebuild {
        Some(rebuild) if rebuild.state == State::Halted.as_str() => {
            let why = rebuild.message.as_deref().unwrap_or("see its status");
            Err(Failure::Unreachable(format!("it does not go on: {why}")))
        }
        Some(rebuild) => {
            show_bar(rebuild.percent, &rebuild.state, false);
            Ok(false)
        }
        None if sink.rebuilt.is_none() || sink.rebuilt.as_deref() == before => Err(Failure::Unreachable(
            "it is not being rebuilt any more: somebody has canceled that, or it was done just before walbridge was started again".to_owned(),
        )),
        None => {
            show_bar(100.0, "", true);
            Ok(true)
        }
    }
}
