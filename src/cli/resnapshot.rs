//! `walbridge resnapshot`.

use serde::Deserialize;
use serde_json::json;

use super::client;
use super::output::{Failure, print, print_json, runtime};
use super::{ConfigFile, Outcome};
use crate::status::ExitCode;

/// Copy tables again, and remove from the sinks what is no longer there
#[derive(clap::Args)]
#[command(after_help = "\
Tells the running walbridge through its admin port. The stream goes on meanwhile; readers of a target never see it emptied. It also
mends a source that is halted because its history was broken (source.slot_lost, source.slot_missing, source.gap,
source.history_changed, source.position_ahead): then all tables are copied, which finds what was deleted in the gap.

Examples:
  walbridge resnapshot shop --config walbridge.toml
  walbridge resnapshot shop --table public.users --table public.orders
  walbridge resnapshot --json                    where there is one source")]
pub(super) struct Arguments {
    /// The source; may be left out where there is only one
    source: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
    /// Only this table; may be given several times
    #[arg(long, value_name = "SCHEMA.TABLE")]
    table: Vec<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Deserialize, serde::Serialize)]
struct Answer {
    source: String,
    tables: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let config = arguments.config.load()?;
    let name = match (&arguments.source, config.sources.as_slice()) {
        (Some(name), sources) if sources.iter().any(|source| source.name == *name) => name.clone(),
        (None, [only]) => only.name.clone(),
        (_, sources) => {
            let names = sources.iter().map(|source| source.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(Failure::Usage(format!("say which source: {names}")));
        }
    };
    let path = format!("/api/sources/{name}/resnapshot");
    let order = json!({ "tables": arguments.table });
    let answer: Answer = runtime()?.block_on(client::ask(&config.admin, &path, Some(&order)))?;
    if arguments.json {
        print_json(&answer)?;
    } else if answer.tables.is_empty() {
        print(&format!("source {name}: history begins anew; all tables are copied again\n"))?;
    } else {
        print(&format!("source {name}: copied again: {}\n", answer.tables.join(", ")))?;
    }
    Ok(ExitCode::Clean)
}
