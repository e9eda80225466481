//! `walbridge dead-letters`.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};

use super::client;
use super::output::{Failure, print, print_json, runtime};
use super::{ConfigFile, Outcome};
use crate::config::Config;
use crate::dead_letter::{self, Action, Letter, Request};
use crate::status::ExitCode;

/// The changes that a sink set aside: look at them, deliver them now, or throw them away
#[derive(clap::Args)]
#[command(after_help = "\
list and show read the files of the log's directory, whether walbridge runs or not. retry and discard tell the running walbridge through its admin
port. A retry delivers the letters of a row in the order of its changes; one that a later change has made obsolete is refused. After a discard
later changes of the row that wait go on waiting: retry or discard those too. Exit code 3 if a retry is refused.

Examples:
  walbridge dead-letters list --config walbridge.toml
  walbridge dead-letters show cache 17
  walbridge dead-letters retry events --key public.users:42
  walbridge dead-letters retry events --all
  walbridge dead-letters discard events 17 18")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// What is set aside
    List(List),
    /// One of them, with its row
    Show(Show),
    /// Deliver them now
    Retry(Chosen),
    /// Throw them away
    Discard(Chosen),
}

#[derive(clap::Args)]
struct List {
    /// Of this sink; of all, if left out
    sink: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
    /// Those that are settled, too: superseded by a later change, or delivered
    #[arg(long)]
    all: bool,
    /// Print them as JSON, with their rows
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Show {
    /// The sink
    sink: String,
    /// The letter's number
    id: u64,
    #[command(flatten)]
    config: ConfigFile,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Chosen {
    /// The sink
    sink: String,
    /// The letters' numbers
    ids: Vec<u64>,
    #[command(flatten)]
    config: ConfigFile,
    /// Those of this key, as `list` shows it
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// All of them
    #[arg(long)]
    all: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    match &arguments.command {
        Command::List(list) => run_list(list),
        Command::Show(show) => run_show(show),
        Command::Retry(chosen) => order(chosen, Action::Retry),
        Command::Discard(chosen) => order(chosen, Action::Discard),
    }
}

fn run_list(list: &List) -> Outcome {
    let config = list.config.load()?;
    let names: Vec<&str> = match &list.sink {
        Some(name) => vec![sink(&config, name)?],
        None => config.sinks.iter().map(|sink| sink.name.as_str()).collect(),
    };
    let mut shown = Vec::new();
    for name in names {
        let letters = letters(&config, name)?.into_iter();
        let wanted = letters.filter(|letter| list.all || matches!(letter.state, "refused" | "waits"));
        shown.extend(wanted.map(|letter| (name, letter)));
    }
    if list.json {
        print_json(&shown.into_iter().map(|(_, letter)| letter.fields).collect::<Vec<_>>())?;
    } else if shown.is_empty() {
        print("nothing is set aside\n")?;
    } else {
        print(&table(&shown))?;
    }
    Ok(ExitCode::Clean)
}

fn run_show(show: &Show) -> Outcome {
    let config = show.config.load()?;
    let found = letters(&config, sink(&config, &show.sink)?)?.into_iter().find(|letter| letter.id == show.id);
    let Some(letter) = found else {
        return Err(Failure::Usage(format!("sink {} has no letter {}", show.sink, show.id)));
    };
    if show.json {
        print_json(&letter.fields)?;
    } else {
        print(&describe(&letter))?;
    }
    Ok(ExitCode::Clean)
}

fn order(chosen: &Chosen, action: Action) -> Outcome {
    let config = chosen.config.load()?;
    let path = format!("/api/sinks/{}/dead-letters", sink(&config, &chosen.sink)?);
    if [!chosen.ids.is_empty(), chosen.key.is_some(), chosen.all].iter().filter(|chosen| **chosen).count() != 1 {
        return Err(Failure::Usage("say which letters: their numbers, --key KEY or --all".to_owned()));
    }
    let request = Request { action, ids: chosen.ids.clone(), key: chosen.key.clone(), all: chosen.all };
    let outcome: dead_letter::Outcome =
        runtime()?.block_on(client::ask(&config.admin, &path, Some(&json!(request))))?;
    if chosen.json {
        print_json(&outcome)?;
    } else {
        print(&tell(&outcome))?;
    }
    let done = outcome.refused.is_empty() && outcome.left.is_empty();
    Ok(if done { ExitCode::Clean } else { ExitCode::Halted })
}

fn sink<'a>(config: &'a Config, name: &str) -> Result<&'a str, Failure> {
    let names = || config.sinks.iter().map(|sink| sink.name.as_str());
    names()
        .find(|known| *known == name)
        .ok_or_else(|| Failure::Usage(format!("no sink {name}; there is: {}", names().collect::<Vec<_>>().join(", "))))
}

fn letters(config: &Config, sink: &str) -> Result<Vec<Letter>, Failure> {
    let directory = config.log.dead_letters();
    dead_letter::list(&directory, sink)
        .map_err(|error| Failure::Usage(format!("the dead letters in {} cannot be read: {error}", directory.display())))
}

fn table(shown: &[(&str, Letter)]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(["ID", "SINK", "STATE", "SINCE", "KEY", "CHANGE", "REASON"]);
    for (sink, letter) in shown {
        let text = |name: &str| shorten(&plain(letter.fields.get(name)), 80);
        table.add_row([
            letter.id.to_string(),
            (*sink).to_owned(),
            letter.state.to_owned(),
            text("time"),
            text("key"),
            text("op"),
            text("reason"),
        ]);
    }
    let lines = table.to_string();
    lines.lines().flat_map(|line| [line.trim_end(), "\n"]).collect()
}

/// Its fields line by line, the row last.
fn describe(letter: &Letter) -> String {
    let fields = letter.fields.iter().filter(|(name, value)| *name != "row" && !value.is_null());
    let mut out: String = fields.map(|(name, value)| format!("{name}: {}\n", plain(Some(value)))).collect();
    let row = letter.fields.get("row").filter(|row| !row.is_null());
    out.extend(row.and_then(|row| serde_json::to_string_pretty(row).ok()).map(|row| format!("row: {row}\n")));
    out
}

fn tell(outcome: &dead_letter::Outcome) -> String {
    let mut out = String::new();
    for (ids, what) in [(&outcome.delivered, "delivered"), (&outcome.discarded, "discarded")] {
        if !ids.is_empty() {
            let ids = ids.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            out.push_str(&format!("{what}: {ids}\n"));
        }
    }
    for (letters, what) in [(&outcome.refused, "refused again"), (&outcome.left, "left")] {
        out.extend(letters.iter().map(|told| format!("{what}: {}: {}\n", told.id, told.reason)));
    }
    out.push_str(&format!("{} changes are set aside\n", outcome.open));
    out
}

/// Text as it is, everything else as JSON.
fn plain(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

fn shorten(text: &str, characters: usize) -> String {
    let line = text.replace(['\n', '\r'], " ");
    match line.char_indices().nth(characters) {
        Some((at, _)) => format!("{}…", line.get(..at).unwrap_or_default()),
        None => line,
    }
}
