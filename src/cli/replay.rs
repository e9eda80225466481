//! `walbridge replay`.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client;
use super::output::{Failure, print, print_json, runtime, show_bar};
use super::place::{self, Place};
use super::{ConfigFile, Outcome, require_sink};
use crate::admin::SinkView;
use crate::event::Span;
use crate::status::{ExitCode, State};

/// Have a sink apply again what it has applied since some place in the log
#[derive(clap::Args)]
#[command(after_help = "\
For documents that were lost or damaged in a Redis or search target. Tells the running walbridge through its admin port; the sink's checkpoint, kept in the
target, is moved back, so the replay goes on over a restart or a crash. Until it is through, readers may see rows as they were. What the log has forgotten cannot be
replayed: `walbridge resnapshot` copies the tables, and removes what is in none of them. docs/operating.md has more.

Examples:
  walbridge replay user-cache --from start --config walbridge.toml
  walbridge replay user-cache --from 2026-11-24T10:00:00Z --wait
  walbridge replay user-cache --from 2h
  walbridge replay user-cache --from 16/B374D848      the first transaction committed there or after")]
pub(super) struct Arguments {
    /// The sink
    sink: String,
    #[command(flatten)]
    config: ConfigFile,
    #[arg(long, value_name = "PLACE", help = place::HELP)]
    from: Place,
    /// Wait until all of it has been applied, and show how far it is
    #[arg(long)]
    wait: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize, Serialize)]
struct Answer {
    sink: String,
    /// What is applied again.
    #[serde(flatten)]
    events: Span,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let config = arguments.config.load()?;
    let sink = &arguments.sink;
    require_sink(&config, sink)?;
    let from = arguments.from.before_the_end();
    let from = from.ok_or_else(|| Failure::Usage("there is nothing to apply again behind the end".to_owned()))?;
    let order = json!({ "from": from.to_string() });
    let runtime = runtime()?;
    let answer: Answer =
        runtime.block_on(client::ask(&config.admin, &format!("/api/sinks/{sink}/replay"), Some(&order)))?;
    let Span { from, until } = answer.events;
    if !arguments.json {
        print(&format!("sink {sink}: applies events {from} up to {until} again\n"))?;
    }
    if arguments.wait {
        let through = |sink: &SinkView| is_through(sink, &answer);
        runtime.block_on(client::wait_for_sink(&config.admin, sink, through))?;
    }
    match (arguments.json, arguments.wait) {
        (true, _) => print_json(&answer)?,
        (false, true) => print(&format!("sink {sink}: all of them are applied\n"))?,
        (false, false) => {}
    }
    Ok(ExitCode::Clean)
}

fn is_through(sink: &SinkView, answer: &Answer) -> Result<bool, Failure> {
    if sink.state == State::Halted.as_str() {
        let why = sink.message.as_deref().unwrap_or("see its status");
        return Err(Failure::Unreachable(format!("sink {} has halted: {why}", answer.sink)));
    }
    let through = sink.replay.is_none() && sink.checkpoint.is_some_and(|checkpoint| checkpoint >= answer.events.until);
    let percent = if through { 100.0 } else { sink.replay.as_ref().map_or(0.0, |replay| replay.percent) };
    show_bar(percent, &sink.state, through);
    Ok(through)
}
