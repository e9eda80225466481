//! `walbridge verify`.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::json;
use serde_json::value::RawValue;

use super::client;
use super::output::{Failure, bar, print, print_json, runtime};
use super::{ConfigFile, Outcome, require_sink};
use crate::bridge::why_not_verified;
use crate::config::{Admin, Config, parse_size};
use crate::status::ExitCode;
use crate::verify::{Finding, MEMORY_BYTES_MIN, Progress, Report, TableReport, What};

/// Compare a sink with its source, while both are written, and put right what differs
#[derive(clap::Args)]
#[command(after_help = "\
Names each key whose document is missing, different or too much, with what it should be and what it is. Nothing needs to stand still for it: each key is
compared as of one place in the log. The running walbridge does it, told through its admin port; docs/verify.md has more.

With --repair the keys that differ, and no others, are written as they should be, and compared again.

Exit code 0: the sink equals its source, or does so now; 1: it differs; 3: something could not be verified.

Examples:
  walbridge verify --config walbridge.toml            all sinks that hold documents
  walbridge verify user-cache
  walbridge verify user-cache --repair
  walbridge verify user-cache --sample 5%             for a look in between: a part of the rows, no extra keys
  walbridge verify user-cache --json | jq '.[].findings'")]
pub(super) struct Arguments {
    /// The sink; all that can be verified, if left out
    sink: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
    /// Put right what differs
    #[arg(long)]
    repair: bool,
    /// Look at a part of each table's rows only
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    sample: Option<f64>,
    /// Memory for the keys of a table, 64MiB if left out. Those of a larger table are kept on disk, and compared in several turns
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    memory: Option<usize>,
    /// Print the reports as JSON
    #[arg(long)]
    json: bool,
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let config = arguments.config.load()?;
    let sinks = sinks(&config, arguments.sink.as_deref())?;
    let order = json!({ "repair": arguments.repair, "sample": arguments.sample, "memory": arguments.memory });
    let runtime = runtime()?;
    let mut reports = Vec::new();
    for sink in sinks {
        let report = runtime.block_on(verify(&config.admin, sink, &order))?;
        if !arguments.json {
            print(&told(&report)?)?;
        }
        reports.push(report);
    }
    if arguments.json {
        print_json(&reports)?;
    }
    Ok(exit_code(&reports))
}

fn sinks<'c>(config: &'c Config, wanted: Option<&'c str>) -> Result<Vec<&'c str>, Failure> {
    match wanted {
        Some(sink) => require_sink(config, sink).map(|()| vec![sink]),
        None => {
            let can_be = config.sinks.iter().filter(|sink| why_not_verified(&sink.target).is_none());
            let sinks: Vec<&str> = can_be.map(|sink| sink.name.as_str()).collect();
            if sinks.is_empty() {
                return Err(Failure::Usage(
                    "no sink holds documents: there is nothing to compare with the source".to_owned(),
                ));
            }
            Ok(sinks)
        }
    }
}

/// Begins a verification and waits for its end.
async fn verify(admin: &Admin, sink: &str, order: &serde_json::Value) -> Result<Report, Failure> {
    let path = format!("/api/sinks/{sink}/verify");
    let begun: Report = client::ask(admin, &path, Some(order)).await?;
    loop {
        tokio::time::sleep(PAUSE).await;
        let report: Report = client::ask(admin, &path, None).await?;
        if report.number != begun.number {
            return Err(Failure::Unreachable("walbridge was restarted meanwhile: verify again".to_owned()));
        }
        show(&report);
        if report.state != Progress::Running {
            return Ok(report);
        }
    }
}

/// Only for the eye.
fn show(report: &Report) {
    let mut err = std::io::stderr();
    if err.is_terminal() {
        let rows: u64 = report.tables.iter().map(|table| table.rows).sum();
        let keys: u64 = report.tables.iter().map(|table| table.keys).sum();
        let end = if report.state == Progress::Running { "" } else { "\n" };
        let (sink, percent, found) = (&report.sink, report.percent, report.differences());
        let line =
            format!("\r{sink} {} {percent:.1} %, {rows} rows, {keys} keys, {found} differences {end}", bar(percent));
        let _ = err.write_all(line.as_bytes()).and_then(|()| err.flush());
    }
}

fn told(report: &Report) -> Result<String, Failure> {
    let mut out = String::new();
    write_report(report, &mut out).map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(out)
}

fn write_report(report: &Report, out: &mut String) -> std::fmt::Result {
    let Report { sink, findings, .. } = report;
    let place = match (report.from, report.until) {
        (Some(from), Some(until)) => format!(", as of events {from} to {until} of the log"),
        _ => String::new(),
    };
    let is_skipped = report.tables.iter().any(|table| !table.whole && report.sample.is_none());
    let verdict = match (report.state, report.remaining()) {
        (Progress::Done, 0) if is_skipped => "what was compared equals its source",
        (Progress::Done, 0) if report.sample.is_some() => "the sample equals its source",
        (Progress::Done, 0) => "equals its source",
        (Progress::Done, _) => "DIFFERS from its source",
        _ => "could not be verified",
    };
    writeln!(out, "sink {sink}: {verdict}{place}")?;
    if let Some(message) = &report.message {
        writeln!(out, "  {message}")?;
    }
    for table in &report.tables {
        writeln!(out, "  {}: {}", table.table, summary(table))?;
    }
    for Finding { key, what, source, sink, repaired, message, .. } in findings {
        let what = match what {
            What::Missing => "missing",
            What::Different => "different",
            What::Extra => "extra",
        };
        let fate = match (repaired, message) {
            (true, _) => "  (repaired)".to_owned(),
            (false, Some(why)) => format!("  (NOT repaired: {why})"),
            (false, None) => String::new(),
        };
        writeln!(out, "{what:<10} {key}{fate}")?;
        for (side, value) in [("source", source), ("sink", sink)] {
            writeln!(out, "    {side:<7}{}", value.as_deref().map_or("-", RawValue::get))?;
        }
    }
    let untold = report.differences().saturating_sub(findings.len() as u64);
    if untold > 0 {
        writeln!(out, "and {untold} more")?;
    }
    Ok(())
}

fn summary(table: &TableReport) -> String {
    if let Some(why) = &table.skipped {
        return format!("not verified: {why}");
    }
    let mut parts = vec![format!("{} rows", table.rows)];
    let counts = [
        (table.missing, "missing"),
        (table.different, "different"),
        (table.extra, "extra"),
        (table.repaired, "repaired"),
        (table.expired, "gone, perhaps expired"),
        (table.without_key, "without a key"),
    ];
    parts.extend(counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")));
    if table.differences() == 0 {
        parts.push("no difference".to_owned());
    }
    match &table.not_whole {
        Some(why) => parts.push(format!("extra keys were not looked for, or not all: {why}")),
        None if !table.whole => parts.push("extra keys were not looked for".to_owned()),
        None => {}
    }
    parts.join(", ")
}

fn exit_code(reports: &[Report]) -> ExitCode {
    if reports.iter().any(|report| report.remaining() > 0) {
        return ExitCode::Different;
    }
    let is_verified = |report: &Report| {
        let is_whole = |table: &TableReport| table.whole || (report.sample.is_some() && table.skipped.is_none());
        report.state == Progress::Done && report.tables.iter().all(is_whole)
    };
    if reports.iter().all(is_verified) { ExitCode::Clean } else { ExitCode::Halted }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let percent: Option<f64> = number.parse().ok().filter(|percent| *percent > 0.0 && *percent <= 100.0);
    percent.ok_or_else(|| format!("`{text}` is not a part of the rows; say 5%"))
}

fn memory(text: &str) -> Result<usize, String> {
    let bytes = parse_size(text).and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = bytes.filter(|bytes| *bytes >= MEMORY_BYTES_MIN);
    bytes.ok_or_else(|| format!("`{text}` is no size, or too small; say 64MiB, and 64KiB at least"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_percentage() {
        assert_eq!((percent("5%"), percent(" 0.5 % "), percent("100")), (Ok(5.0), Ok(0.5), Ok(100.0)));
        for text in ["0", "101%", "-1", "half", "", "nan"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_difference_that_is_left_counts_before_what_was_not_verified() {
        let table =
            TableReport { table: "t".to_owned(), missing: 2, repaired: 1, whole: true, ..TableReport::default() };
        let mut report = Report { state: Progress::Done, tables: vec![table], ..Report::default() };
        assert_eq!(exit_code(&[report.clone()]), ExitCode::Different);
        report.tables[0].repaired = 2;
        assert_eq!(exit_code(&[report.clone()]), ExitCode::Clean);
        report.tables[0].whole = false;
        assert_eq!(exit_code(&[report.clone()]), ExitCode::Halted);
        report.state = Progress::Failed;
        assert_eq!(exit_code(&[report]), ExitCode::Halted);
        assert!(percent("nan").is_err());
    }
}
