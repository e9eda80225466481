//! `walbridge log dump` and `walbridge log verify`.

use serde_json::json;

use super::events::{Feed, Printer, Style, begin, refuse_kafka, sources};
use super::output::{print, print_json};
use super::place::{self, Place};
use super::{ConfigFile, Outcome};
use crate::log::embedded::{self, Report};
use crate::status::{ExitCode, bytes};

/// Look into the log
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Dump(Dump),
    Verify(Verify),
}

/// Print every event that is kept
#[derive(clap::Args)]
#[command(after_help = "\
Prints up to the end that the log has at that moment; it works while walbridge runs. docs/types.md explains the JSON.

Examples:
  walbridge log dump --config walbridge.toml --json > events.jsonl
  walbridge log dump --config walbridge.toml --json --from 2026-11-24T10:00:00Z | jq -c 'select(.op == \"delete\")'")]
struct Dump {
    #[command(flatten)]
    config: ConfigFile,
    /// Only this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only these tables: schema.table, with * and ?; may be given several times
    #[arg(long, value_name = "PATTERN")]
    table: Vec<String>,
    #[arg(long, value_name = "PLACE", help = place::HELP)]
    from: Option<Place>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Check every byte of the log against its checksums
#[derive(clap::Args)]
#[command(after_help = "\
Changes nothing. Exit code 3 if there is damage, with file and byte. A log that is being written can be checked too; only a
stopped one gives certainty about its last moments.

Example:
  walbridge log verify --config walbridge.toml")]
struct Verify {
    #[command(flatten)]
    config: ConfigFile,
    /// Only this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    match &arguments.command {
        Command::Dump(arguments) => dump(arguments),
        Command::Verify(arguments) => verify(arguments),
    }
}

fn dump(arguments: &Dump) -> Outcome {
    let config = arguments.config.load()?;
    let style = if arguments.json { Style::Json } else { Style::Text };
    let mut out = Printer::new(style, &arguments.table)?;
    for source in sources(&config, arguments.source.as_deref())? {
        Feed::open(&config, &source, begin(arguments.from, None))?.print(&mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::Clean)
}

fn verify(arguments: &Verify) -> Outcome {
    let config = arguments.config.load()?;
    refuse_kafka(&config)?;
    let mut reports = Vec::new();
    for source in sources(&config, arguments.source.as_deref())? {
        let report = embedded::verify(&config.log.path_of(&source), |_, _| {})?;
        reports.push((source, report));
    }
    let sound = reports.iter().all(|(_, report)| report.damages.is_empty());
    if arguments.json {
        let sources: serde_json::Map<_, _> =
            reports.iter().map(|(source, report)| (source.clone(), as_json(report))).collect();
        print_json(&json!({ "ok": sound, "sources": sources }))?;
    } else {
        let texts: Vec<String> = reports.iter().map(|(source, report)| as_text(source, report)).collect();
        print(&texts.concat())?;
    }
    Ok(if sound { ExitCode::Clean } else { ExitCode::Halted })
}

fn as_json(report: &Report) -> serde_json::Value {
    let damages = report
        .damages
        .iter()
        .map(|damage| json!({ "file": damage.path.to_string_lossy(), "byte": damage.byte, "detail": damage.detail }));
    json!({
        "ok": report.damages.is_empty(),
        "segments": report.segments,
        "frames": report.frames,
        "events": report.events,
        "bytes": report.bytes,
        "end_offset": report.end,
        "unfinished_bytes": report.unfinished_bytes,
        "damages": damages.collect::<Vec<_>>(),
    })
}

fn as_text(source: &str, report: &Report) -> String {
    let verdict = if report.damages.is_empty() { "sound" } else { "DAMAGED" };
    let Report { events, segments, .. } = report;
    let mut text = format!("{source}: {verdict}; {events} events in {segments} segments, {}\n", bytes(report.bytes));
    if report.unfinished_bytes > 0 {
        text.push_str(&format!(
            "  {} of an unfinished write at the end; the next start cuts them off\n",
            bytes(report.unfinished_bytes)
        ));
    }
    for damage in &report.damages {
        text.push_str(&format!("  {} at byte {}: {}\n", damage.path.display(), damage.byte, damage.detail));
    }
    text
}
