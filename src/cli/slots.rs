//! `walbridge slots`.

use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::json;

use super::output::{Failure, print, print_json, runtime};
use super::{ConfigFile, Outcome};
use crate::bridge::{self, SlotReport};
use crate::status::{ExitCode, bytes};

/// The replication slots of the sources, as the servers have them
#[derive(clap::Args)]
#[command(after_help = "\
Asks the servers, not walbridge: what each slot keeps of the server's WAL, whether it can still be read from, and if not, what to do.
Exit code 3 if anything is wrong with one.

Examples:
  walbridge slots --config walbridge.toml
  walbridge slots --json | jq '.[].retained_bytes'")]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let config = arguments.config.load()?;
    let runtime = runtime()?;
    let reports = config.sources.iter().map(|source| match runtime.block_on(bridge::slots(source)) {
        Ok(report) => report,
        Err(error) => SlotReport {
            source: source.name.clone(),
            name: source.slot.clone(),
            slot: None,
            retained_bytes: 0,
            problem: Some(error.to_string()),
        },
    });
    let reports: Vec<SlotReport> = reports.collect();
    if arguments.json {
        print_json(&reports.iter().map(as_json).collect::<Vec<_>>())?;
    } else {
        print(&describe(&reports)).map_err(Failure::from)?;
    }
    let sound = reports.iter().all(|report| report.problem.is_none());
    Ok(if sound { ExitCode::Clean } else { ExitCode::Halted })
}

fn as_json(report: &SlotReport) -> serde_json::Value {
    let slot = report.slot.clone().unwrap_or_default();
    json!({
        "source": report.source,
        "slot": report.name,
        "exists": report.slot.is_some(),
        "active_pid": slot.active_pid,
        "confirmed_flush_lsn": slot.confirmed_flush_lsn,
        "restart_lsn": slot.restart_lsn,
        "retained_bytes": report.retained_bytes,
        "wal_status": slot.wal_status,
        "safe_wal_size": slot.safe_wal_size,
        "invalidation_reason": slot.invalidation,
        "failover": slot.failover,
        "synced": slot.synced,
        "two_phase": slot.two_phase,
        "problem": report.problem,
    })
}

fn describe(reports: &[SlotReport]) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header([
        "SOURCE",
        "SLOT",
        "READ BY",
        "CONFIRMED",
        "WAL KEPT",
        "WAL STATUS",
        "FAILOVER",
    ]);
    for report in reports {
        let slot = report.slot.clone().unwrap_or_default();
        table.add_row([
            report.source.clone(),
            report.name.clone(),
            slot.active_pid.map_or_else(|| "nobody".to_owned(), |pid| format!("process {pid}")),
            slot.confirmed_flush_lsn.unwrap_or_default().to_string(),
            bytes(report.retained_bytes),
            slot.wal_status.unwrap_or_else(|| "-".to_owned()),
            if slot.failover { "yes" } else { "no" }.to_owned(),
        ]);
    }
    let problems = reports
        .iter()
        .filter_map(|report| report.problem.as_ref().map(|problem| format!("\n{}: {problem}\n", report.source)));
    format!("{table}\n{}", problems.collect::<String>())
}
