//! A source: the server, the role, the tables, the slot.

use super::{Report, Verdict};
use crate::bridge::check::look_at_source;
use crate::bridge::resolve;
use crate::bridge::slots::{SlotReport, slots};
use crate::capture::facts::{self, Facts};
use crate::capture::{CaptureError, publication, schema};
use crate::config;
use crate::event::TableName;
use crate::postgres::connection::{Connection, Purpose};
use crate::status::bytes;

/// Looks at it. Gives the names of the tables that can be captured.
pub(super) async fn look(source: &config::Source) -> (Report, Vec<TableName>) {
    let mut report = Report::of(format!("source {}", source.name));
    let tables = match ask(&mut report, source).await {
        Ok(tables) => tables,
        Err(error) => {
            report.error("server", error.code(), &error);
            Vec::new()
        }
    };
    (report, tables)
}

async fn ask(report: &mut Report, source: &config::Source) -> Result<Vec<TableName>, CaptureError> {
    let resolved = resolve(source);
    let mut connection = Connection::open(&resolved.address, Purpose::Query).await?;
    let facts = facts::look(&mut connection).await?;
    report.ok("server", format!("PostgreSQL {} at {}", facts.version, source.address));
    settings(report, &facts);
    let tables = match look_at_source(source).await {
        Ok(tables) => {
            report.ok("tables", format!("{} can be captured: {}", tables.len(), shown(&tables)));
            published(report, &facts, source, &mut connection, &tables).await?;
            tables
        }
        Err(error) => {
            report.error("tables", error.code(), &error);
            Vec::new()
        }
    };
    connection.close().await;
    match slots(source).await {
        Ok(found) => slot(report, &facts, source, &found),
        Err(error) => report.error("slot", error.code(), &error),
    }
    keep_size(report, &facts, source);
    Ok(tables)
}

fn settings(report: &mut Report, facts: &Facts) {
    if facts.wal_level == "logical" {
        report.ok("wal_level", "logical");
    } else {
        let remedy = "ALTER SYSTEM SET wal_level = 'logical'; then restart the server";
        report.fail("wal_level", format!("it is {}", facts.wal_level), remedy);
    }
    if facts.may_replicate {
        report.ok("role", "it may replicate");
    } else {
        report.fail("role", "it may not replicate", "ALTER ROLE … REPLICATION for the role in the url");
    }
    let Facts { senders, senders_max, .. } = facts;
    // One streams; beside it another answers questions on a replication connection now and then.
    if senders_max.saturating_sub(*senders) < 2 {
        let message = format!("{senders} of {senders_max} senders are taken, and two must be free");
        report.warn("max_wal_senders", message, "Raise max_wal_senders; the server must be restarted");
    } else {
        report.ok("max_wal_senders", format!("{senders} of {senders_max} are taken"));
    }
}

async fn published(
    report: &mut Report,
    facts: &Facts,
    source: &config::Source,
    connection: &mut Connection,
    tables: &[TableName],
) -> Result<(), CaptureError> {
    const CHECK: &str = "publication";
    let name = &source.publication;
    let setup = "Run what `walbridge setup --print-sql` prints, as the tables' owner";
    let Some(found) = schema::publication(connection, name).await? else {
        let others = facts::not_owned(connection, tables).await?;
        if !facts.may_publish {
            report.fail(CHECK, format!("there is no \"{name}\", and this role may not make it"), setup);
        } else if !others.is_empty() {
            let message = format!("there is no \"{name}\", and this role does not own {}", shown(&others));
            report.fail(CHECK, message, setup);
        } else {
            report.ok(CHECK, format!("there is no \"{name}\"; it is made at the first start"));
        }
        return Ok(());
    };
    let missing = publication::missing_tables(connection, name, tables).await?;
    let others = facts::not_owned(connection, &missing).await?;
    if !found.complete {
        let name = publication::quoted_name(name);
        let remedy = format!("ALTER PUBLICATION {name} SET (publish = 'insert, update, delete, truncate')");
        report.fail(CHECK, format!("{name} leaves out some kinds of changes"), remedy);
    } else if !others.is_empty() {
        report.fail(CHECK, format!("\"{name}\" lacks {}, which this role does not own", shown(&others)), setup);
    } else if !missing.is_empty() {
        report.ok(CHECK, format!("\"{name}\" lacks {}; they are added at the next start", shown(&missing)));
    } else {
        report.ok(CHECK, format!("\"{name}\" sends all of them"));
    }
    Ok(())
}

fn slot(report: &mut Report, facts: &Facts, source: &config::Source, found: &SlotReport) {
    let Some(slot) = &found.slot else {
        let Facts { slots, slots_max, .. } = facts;
        if slots >= slots_max {
            let message = format!("there is no \"{}\", and all {slots_max} slots are taken", source.slot);
            report.fail("slot", message, "Raise max_replication_slots and restart the server, or drop a slot");
        } else {
            let message = format!("there is no \"{}\"; it is made at the first start", source.slot);
            report.ok("slot", format!("{message} ({slots} of {slots_max} are taken)"));
        }
        return;
    };
    match &found.problem {
        Some(problem) => report.fail("slot", problem.clone(), ""),
        None => {
            let reader = slot.active_pid.map_or("nobody".to_owned(), |pid| format!("process {pid}"));
            report.ok("slot", format!("\"{}\" is whole, and read by {reader}", source.slot));
        }
    }
    let retained = found.retained_bytes;
    let left = slot.safe_wal_size.and_then(|left| u64::try_from(left).ok());
    let limit = source.wal_budget.into_iter().chain(left.map(|left| retained.saturating_add(left))).min();
    let (verdict, remedy) = match limit {
        Some(limit) if retained > limit => (Verdict::Failure, "See that walbridge runs and keeps up"),
        Some(limit) if retained > limit / 2 => (Verdict::Warning, "See that walbridge runs and keeps up"),
        _ => (Verdict::Ok, ""),
    };
    let of = limit.map_or_else(|| "without a limit".to_owned(), |limit| format!("of {}", bytes(limit)));
    report.add("retained WAL", verdict, format!("{} {of}", bytes(retained)), remedy.to_owned(), None);
}

/// The server's own limit must not come before ours: it breaks the history without asking.
fn keep_size(report: &mut Report, facts: &Facts, source: &config::Source) {
    const CHECK: &str = "max_slot_wal_keep_size";
    match (facts.slot_wal_keep_bytes, source.wal_budget) {
        (None, None) => report.warn(
            CHECK,
            "neither the server nor `wal_budget` limits the WAL that is kept: while walbridge is away, the server's disk may fill",
            "Set wal_budget, or max_slot_wal_keep_size",
        ),
        (Some(servers), Some(ours)) if servers < ours => report.warn(
            CHECK,
            format!(
                "the server gives the slot up beyond {}, before `wal_budget` ({}) is reached",
                bytes(servers),
                bytes(ours)
            ),
            "Raise it above wal_budget, or lower wal_budget",
        ),
        (None, Some(ours)) => report.ok(CHECK, format!("no limit but `wal_budget`, {}", bytes(ours))),
        (Some(servers), _) => report.ok(CHECK, bytes(servers)),
    }
}

/// The first few.
fn shown(tables: &[TableName]) -> String {
    const SHOWN: usize = 5;
    let names: Vec<String> = tables.iter().take(SHOWN).map(ToString::to_string).collect();
    let more = tables.len().saturating_sub(SHOWN);
    if more == 0 { names.join(", ") } else { format!("{} and {more} more", names.join(", ")) }
}
