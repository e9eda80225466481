//! `walbridge status`.

use std::io::IsTerminal as _;

use comfy_table::Table;
use comfy_table::presets::NOTHING;

use super::client;
use super::output::{self, print, print_json, runtime};
use super::{ConfigFile, Outcome};
use crate::admin::{ReplayView, SinkView, SourceView, StatusView, TableView, VerifiedView};
use crate::event::Span;
use crate::status::{ExitCode, State, bytes};

/// What is a running walbridge doing, and how far behind is it?
#[derive(clap::Args)]
#[command(after_help = "\
Asks the admin port that the configuration names. Exit code 3 if anything is halted, or if there is nobody to ask.

Examples:
  walbridge status --config walbridge.toml
  walbridge status --config walbridge.toml --json | jq '.sinks[].lag_events'")]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Print what /api/status says, as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let admin = arguments.config.load()?.admin;
    let status: StatusView = runtime()?.block_on(client::ask(&admin, "/api/status", None))?;
    if arguments.json {
        print_json(&status)?;
    } else {
        print(&describe(&status, std::io::stdout().is_terminal()))?;
    }
    let halted = State::Halted.as_str();
    let mut states = status.sources.values().map(|s| &s.state).chain(status.sinks.values().map(|s| &s.state));
    Ok(if states.any(|state| state == halted) { ExitCode::Halted } else { ExitCode::Clean })
}

/// States first; then how far behind; then the rest. `bars`: draw how far copies have come.
fn describe(status: &StatusView, bars: bool) -> String {
    let mut out = format!("{}\n\n", status.summary);
    let mut sources =
        table(["STATE", "SOURCE", "LAG", "WAL KEPT", "RECEIVED", "DURABLE", "CONFIRMED", "EXISTING ROWS"]);
    for (name, source) in &status.sources {
        sources.add_row([
            state(&source.state, source.code.as_ref()),
            name.clone(),
            bytes(source.lag_bytes),
            bytes(source.retained_bytes),
            source.received_lsn.to_string(),
            source.durable_lsn.to_string(),
            source.confirmed_flush_lsn.to_string(),
            copied(source),
        ]);
    }
    let mut sinks = table(["STATE", "SINK", "LAG", "CHECKPOINT", "APPLIED", "REFUSED"]);
    for (name, sink) in &status.sinks {
        sinks.add_row([
            state(&sink.state, sink.code.as_ref()),
            format!("{name} ({} of {})", sink.kind, sink.source),
            lag(sink),
            sink.checkpoint.map_or_else(|| "none".to_owned(), |checkpoint| checkpoint.to_string()),
            sink.applied.to_string(),
            sink.rejected.to_string(),
        ]);
    }
    for table in [sources, sinks] {
        let text = table.to_string();
        out.extend(text.lines().flat_map(|line| [line.trim_end(), "\n"]));
        out.push('\n');
    }
    for (name, source) in &status.sources {
        let copying = source.tables.iter().filter(|(_, table)| !table.done);
        copying.for_each(|(table, view)| out.push_str(&progress(name, table, view, bars)));
    }
    for (name, sink) in &status.sinks {
        if let Some(ReplayView { events: Span { from, until }, percent }) = sink.replay {
            let bar = bar(percent, bars);
            out.push_str(&format!("{name}: applies again events {from} up to {until} {bar}{percent:.1} %\n"));
        }
        if let Some(rebuild) = &sink.rebuild {
            let (state, percent) = (&rebuild.state, rebuild.percent);
            let why = rebuild.message.as_ref().map_or_else(String::new, |why| format!(": {why}"));
            out.push_str(&format!("{name}: is built anew beside {}{percent:.1} %, {state}{why}\n", bar(percent, bars)));
        }
    }
    out.extend(status.sinks.iter().filter_map(|(name, sink)| Some(verified(name, sink.verified.as_ref()?))));
    let messages = status.sources.iter().map(|(name, s)| (name, &s.message));
    for (name, message) in messages.chain(status.sinks.iter().map(|(name, s)| (name, &s.message))) {
        if let Some(message) = message {
            out.push_str(&format!("{name}: {message}\n"));
        }
    }
    for (name, source) in &status.sources {
        // The first alarm is the message already.
        let findings = source.findings.iter().filter(|finding| Some(&finding.message) != source.message.as_ref());
        for finding in findings {
            let code = finding.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default();
            out.push_str(&format!("{name}: since {}{code}: {}\n", finding.since, finding.message));
        }
    }
    out
}

/// What a sink's last verification came to.
fn verified(name: &str, last: &VerifiedView) -> String {
    let VerifiedView { age_seconds, events: Span { from, until }, differences, remaining, is_whole } = last;
    let found = match (differences, remaining) {
        (0, _) => "no difference".to_owned(),
        (_, 0) => format!("{differences} differences, all repaired"),
        _ => format!("{differences} differences, of which {remaining} are left"),
    };
    let part = if *is_whole { "" } else { " in part" };
    format!("{name}: verified{part} {:.0} minutes ago, as of events {from} to {until}: {found}\n", age_seconds / 60.0)
}

fn table<const N: usize>(header: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}

fn state(state: &str, code: Option<&String>) -> String {
    code.map_or_else(|| state.to_owned(), |code| format!("{state} ({code})"))
}

fn copied(source: &SourceView) -> String {
    let snapshot = &source.snapshot;
    match snapshot.tables {
        0 => "not copied".to_owned(),
        tables if snapshot.tables_done == tables => format!("{tables} tables copied"),
        tables => {
            format!("{}/{tables} tables, {} rows of ~{}", snapshot.tables_done, snapshot.rows, snapshot.rows_estimate)
        }
    }
}

/// How far a table's copy has come, on one line.
fn progress(source: &str, name: &str, table: &TableView, bars: bool) -> String {
    let bar = bar(table.percent, bars);
    let of = table.rows_estimate.map_or_else(String::new, |rows| format!(" of ~{rows}"));
    let left = table.remaining_seconds.map_or_else(String::new, |left| format!(", about {} left", duration(left)));
    let again = match table.generation {
        0 | 1 => String::new(),
        generation => format!(" (copy {generation}: {})", table.reason),
    };
    let trouble = table.message.as_ref().map_or_else(String::new, |message| format!("; held up: {message}"));
    format!(
        "{source}: {name} {bar}{:.1} %, {} rows{of}, {}{left}{again}{trouble}\n",
        table.percent,
        table.rows,
        bytes(table.bytes)
    )
}

/// A bar and a space; nothing where bars are not wanted.
fn bar(percent: f64, bars: bool) -> String {
    if bars { format!("{} ", output::bar(percent)) } else { String::new() }
}

/// `90 s`, `12 min`, `3.4 h`.
fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

fn lag(sink: &SinkView) -> String {
    if sink.lag_events == 0 {
        return "none".to_owned();
    }
    format!("{} events, {}, {:.1} s", sink.lag_events, bytes(sink.lag_bytes), sink.lag_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_told_on_one_line_with_a_bar_only_for_a_terminal() {
        let mut table = TableView { rows: 5, bytes: 2048, percent: 50.0, generation: 1, ..TableView::default() };
        assert_eq!(progress("shop", "public.t", &table, false), "shop: public.t 50.0 %, 5 rows, 2.0 KiB\n");
        table.rows_estimate = Some(10);
        table.remaining_seconds = Some(600.0);
        (table.generation, table.reason) = (2, "rewritten".into());
        assert_eq!(
            progress("shop", "public.t", &table, true),
            "shop: public.t [##########----------] 50.0 %, 5 rows of ~10, 2.0 KiB, about 10 min left (copy 2: rewritten)\n"
        );
    }

    #[test]
    fn who_listens_everywhere_is_asked_here() {
        for (listen, asked) in [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")] {
            assert_eq!(client::reachable(listen.parse().expect("valid")).to_string(), asked);
        }
    }
}
