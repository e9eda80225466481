//! The proof that the stream goes on exactly where the log ends, or the refusal to go on. Pure.
//!
//! PostgreSQL starts at the greater of the requested and the slot's position without an error (manual: "Streaming
//! Replication Protocol", `START_REPLICATION … LOGICAL`), so a gap is silent unless the client looks for it. Nothing here
//! ever "heals": a slot made anew knows nothing of what was committed before it.

use super::error::CaptureError;
use super::slot::Slot;
use crate::event::Lsn;
use crate::status::Code;

/// Who answers at the address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `IDENTIFY_SYSTEM`: unique per cluster.
    pub system_identifier: u64,
    /// `IDENTIFY_SYSTEM`: rises with each promotion or point-in-time recovery.
    pub timeline: u32,
    /// The end of its WAL.
    pub end_lsn: Lsn,
    /// It follows another.
    pub standby: bool,
    /// The timelines that its own comes from, and where each was left.
    pub left: Vec<(u32, Lsn)>,
}

/// What the log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Of the cluster the log was filled from.
    pub system_identifier: u64,
    /// At that time.
    pub timeline: u32,
    /// Everything committed before is in the log.
    pub end_lsn: Lsn,
}

/// How to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Nothing is there on either side: make the slot.
    CreateSlot,
    /// A slot and an empty log: begin where the slot stands.
    Adopt(Lsn),
    /// Go on behind the last event.
    Resume(Lsn),
    /// The same on a timeline that is proved to hold all that the log holds: a standby that was promoted in time.
    Follow(Lsn),
}

/// Judges from the evidence.
///
/// # Errors
/// Any proof of lost or changed history, with both positions named.
pub fn judge(
    server: &Server,
    history: Option<&History>,
    slot_name: &str,
    slot: Option<&Slot>,
) -> Result<Start, CaptureError> {
    if let Some(history) = history {
        same_history(server, history)?;
    }
    let Some(slot) = slot else {
        return match history {
            None => Ok(Start::CreateSlot),
            Some(history) => Err(slot_missing(slot_name, history, server)),
        };
    };
    is_usable(server, slot_name, slot)?;
    let confirmed = slot_position(slot_name, slot, history, server)?;
    let Some(history) = history else { return Ok(Start::Adopt(confirmed)) };
    if confirmed > history.end_lsn {
        return Err(CaptureError::halt(
            Code::SourceGap,
            format!(
                "slot \"{slot_name}\" has been advanced to {confirmed}, but the log ends at {}: what was committed in between is not in \
                 the log and the server no longer sends it",
                history.end_lsn
            ),
            AFTER_A_GAP,
        ));
    }
    let promoted = server.timeline != history.timeline;
    if promoted && slot.two_phase && !slot.failover {
        // A copy that the server did not keep itself does not know what has been sent as prepared.
        return Err(CaptureError::halt(
            Code::SourceHistoryChanged,
            format!(
                "the server was promoted (timeline {} after {}), and slot \"{slot_name}\" hands out prepared transactions",
                server.timeline, history.timeline
            ),
            format!("What was prepared before may be missing: {COPY_AGAIN}"),
        ));
    }
    Ok(if promoted { Start::Follow(history.end_lsn) } else { Start::Resume(history.end_lsn) })
}

/// Whether an error says that history was lost or changed, so that only copying the tables again can mend it.
#[must_use]
pub fn is_break(code: Code) -> bool {
    matches!(
        code,
        Code::SourceSlotMissing
            | Code::SourceSlotLost
            | Code::SourceGap
            | Code::SourceHistoryChanged
            | Code::SourcePositionAhead
    )
}

const AFTER_A_GAP: &str = "Find out who used the slot or restored the log's directory; if it can be put back, do that and \
     restart. Else `walbridge resnapshot` copies the tables again, and removes from the sinks what was deleted in between";
const COPY_AGAIN: &str =
    "`walbridge resnapshot` copies the tables again from this server, and removes from the sinks what it does not have";

fn same_history(server: &Server, history: &History) -> Result<(), CaptureError> {
    if server.system_identifier != history.system_identifier {
        return Err(CaptureError::halt(
            Code::SourceHistoryChanged,
            format!(
                "the server is cluster {}, at {}; the log holds the history of cluster {}, up to {}",
                server.system_identifier, server.end_lsn, history.system_identifier, history.end_lsn
            ),
            format!(
                "If the address is wrong, mend the url. If this is a new cluster in the old one's place (pg_upgrade, dump and restore), {COPY_AGAIN}"
            ),
        ));
    }
    if server.timeline != history.timeline {
        let left = server.left.iter().find(|(timeline, _)| *timeline == history.timeline).map(|(_, lsn)| *lsn);
        if left.is_none_or(|left| left < history.end_lsn) {
            let left = left.map_or_else(|| "never was on it".to_owned(), |lsn| format!("left it at {lsn}"));
            return Err(CaptureError::halt(
                Code::SourceHistoryChanged,
                format!(
                    "the server is on timeline {}, at {}; the log was filled from timeline {}, up to {}, and the server {left}: \
                     it was promoted or restored, and lacks what the log has",
                    server.timeline, server.end_lsn, history.timeline, history.end_lsn
                ),
                format!("Point the url at the old server if it is still the right one. Else {COPY_AGAIN}"),
            ));
        }
    }
    if server.end_lsn < history.end_lsn && server.standby {
        return Err(CaptureError::wait(
            Code::SourcePositionAhead,
            format!("the standby has replayed up to {}; the log ends at {}", server.end_lsn, history.end_lsn),
            "It goes on when the standby has caught up",
        ));
    }
    if server.end_lsn < history.end_lsn {
        return Err(CaptureError::halt(
            Code::SourcePositionAhead,
            format!(
                "the server's WAL ends at {}, before the log's end at {}: it was restored to an earlier time",
                server.end_lsn, history.end_lsn
            ),
            format!("The log and the sinks hold changes that the server has forgotten: {COPY_AGAIN}"),
        ));
    }
    Ok(())
}

fn slot_missing(slot_name: &str, history: &History, server: &Server) -> CaptureError {
    CaptureError::halt(
        Code::SourceSlotMissing,
        format!(
            "slot \"{slot_name}\" is gone; the log ends at {} and the server is at {}: what was committed in between is lost \
             to the stream",
            history.end_lsn, server.end_lsn
        ),
        AFTER_A_GAP,
    )
}

/// Whether it is a slot that could be read from, were it whole.
fn is_usable(server: &Server, name: &str, slot: &Slot) -> Result<(), CaptureError> {
    let refuse = |detail: String, remedy: &str| Err(CaptureError::halt(Code::SourceSlotUnusable, detail, remedy));
    if slot.plugin != "pgoutput" {
        let detail = format!("slot \"{name}\" belongs to something else: its plugin is \"{}\"", slot.plugin);
        return refuse(detail, "Choose another name with slot = \"…\"");
    }
    if slot.database != slot.connected_database {
        let detail = format!(
            "slot \"{name}\" belongs to database \"{}\", not to \"{}\"",
            slot.database, slot.connected_database
        );
        return refuse(detail, "Choose another name with slot = \"…\", or mend the url");
    }
    if slot.temporary {
        let detail = format!("slot \"{name}\" is temporary: it goes with the connection that made it");
        return refuse(detail, "Choose another name with slot = \"…\"");
    }
    if slot.synced && server.standby {
        return Err(CaptureError::wait(
            Code::SourceNotPrimary,
            format!(
                "slot \"{name}\" is a copy of the primary's, which can be read from only after this standby is promoted"
            ),
            "Capture from the primary, or choose another name with slot = \"…\"",
        ));
    }
    Ok(())
}

/// The slot's `confirmed_flush_lsn`, if the server still has what comes after it.
fn slot_position(name: &str, slot: &Slot, history: Option<&History>, server: &Server) -> Result<Lsn, CaptureError> {
    if slot.is_lost() {
        let why = slot.invalidation.as_deref().map_or_else(
            || "the server removed WAL that it still needed (max_slot_wal_keep_size)".to_owned(),
            |reason| format!("the server says: {reason}"),
        );
        let confirmed = slot.confirmed_flush_lsn.unwrap_or_default();
        let from = history.map_or(confirmed, |history| history.end_lsn);
        return Err(CaptureError::halt(
            Code::SourceSlotLost,
            format!(
                "slot \"{name}\" was invalidated at {confirmed}: {why}. What was committed from {from} to {} is lost to the stream",
                server.end_lsn
            ),
            AFTER_A_GAP,
        ));
    }
    slot.confirmed_flush_lsn.ok_or_else(|| {
        let by = slot.active_pid.map_or_else(String::new, |pid| format!(" by process {pid}"));
        CaptureError::wait(
            Code::SourceSlotActive,
            format!("slot \"{name}\" is still being made{by}: it waits for older transactions to end"),
            "End long-running transactions (pg_stat_activity, oldest xact_start first)",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Disposition;

    fn server(end: u64) -> Server {
        Server { system_identifier: 7, timeline: 1, end_lsn: Lsn::new(end), standby: false, left: Vec::new() }
    }

    fn history(end: u64) -> History {
        History { system_identifier: 7, timeline: 1, end_lsn: Lsn::new(end) }
    }

    fn slot(confirmed: u64) -> Slot {
        Slot {
            plugin: "pgoutput".into(),
            database: "app".into(),
            connected_database: "app".into(),
            restart_lsn: Some(Lsn::new(1)),
            confirmed_flush_lsn: Some(Lsn::new(confirmed)),
            wal_status: Some("reserved".into()),
            ..Slot::default()
        }
    }

    fn code(verdict: Result<Start, CaptureError>) -> Code {
        verdict.expect_err("refused").code()
    }

    #[test]
    fn a_healthy_pair_goes_on_behind_the_last_event() {
        for confirmed in [50, 99, 100] {
            let verdict = judge(&server(100), Some(&history(100)), "s", Some(&slot(confirmed))).expect("sound");
            assert_eq!(verdict, Start::Resume(Lsn::new(100)));
        }
        assert_eq!(judge(&server(100), None, "s", None).expect("new"), Start::CreateSlot);
        assert_eq!(judge(&server(100), None, "s", Some(&slot(60))).expect("adopted"), Start::Adopt(Lsn::new(60)));
    }

    #[test]
    fn a_slot_ahead_of_the_log_is_a_gap_and_both_positions_are_named() {
        // A log restored from an older backup, or a slot dropped and made anew: PostgreSQL would start without a word.
        let error = judge(&server(200), Some(&history(100)), "s", Some(&slot(101))).expect_err("a gap");
        assert_eq!(error.code(), Code::SourceGap);
        assert!(error.to_string().contains("0/65") && error.to_string().contains("0/64"), "{error}");
    }

    #[test]
    fn every_other_sign_of_lost_history_halts_with_its_own_code() {
        let other = Server { system_identifier: 8, ..server(200) };
        assert_eq!(code(judge(&other, Some(&history(100)), "s", Some(&slot(50)))), Code::SourceHistoryChanged);
        let promoted = Server { timeline: 2, ..server(200) };
        assert_eq!(code(judge(&promoted, Some(&history(100)), "s", Some(&slot(50)))), Code::SourceHistoryChanged);
        assert_eq!(code(judge(&server(99), Some(&history(100)), "s", Some(&slot(50)))), Code::SourcePositionAhead);
        assert_eq!(code(judge(&server(200), Some(&history(100)), "s", None)), Code::SourceSlotMissing);
        let lost = Slot { wal_status: Some("lost".into()), ..slot(50) };
        assert_eq!(code(judge(&server(200), Some(&history(100)), "s", Some(&lost))), Code::SourceSlotLost);
        let foreign = Slot { plugin: "wal2json".into(), ..slot(50) };
        assert_eq!(code(judge(&server(200), None, "s", Some(&foreign))), Code::SourceSlotUnusable);
        let idle = Slot { invalidation: Some("idle_timeout".into()), ..slot(50) };
        let error = judge(&server(200), Some(&history(100)), "s", Some(&idle)).expect_err("lost");
        assert_eq!(error.code(), Code::SourceSlotLost);
        assert!(error.to_string().contains("idle_timeout") && error.to_string().contains("0/64 to 0/C8"), "{error}");
    }

    #[test]
    fn a_slot_that_is_not_ours_to_read_is_never_taken() {
        for wrong in [Slot { temporary: true, ..slot(50) }, Slot { connected_database: "other".into(), ..slot(50) }] {
            assert_eq!(code(judge(&server(200), None, "s", Some(&wrong))), Code::SourceSlotUnusable, "{wrong:?}");
        }
        let copy = Slot { synced: true, ..slot(50) };
        let standby = Server { standby: true, ..server(200) };
        let error = judge(&standby, None, "s", Some(&copy)).expect_err("not here");
        assert_eq!((error.code(), error.disposition()), (Code::SourceNotPrimary, Disposition::Retry));
        assert_eq!(judge(&server(200), None, "s", Some(&copy)).expect("after promotion"), Start::Adopt(Lsn::new(50)));
        let half = Slot { confirmed_flush_lsn: None, active_pid: Some(7), ..slot(0) };
        let error = judge(&server(200), None, "s", Some(&half)).expect_err("not ready");
        assert_eq!((error.code(), error.disposition()), (Code::SourceSlotActive, Disposition::Retry));
    }

    #[test]
    fn a_promoted_standby_is_followed_only_if_it_has_all_that_the_log_has() {
        let promoted = |left: u64| Server { timeline: 2, left: vec![(1, Lsn::new(left))], ..server(200) };
        for left in [100, 150] {
            let verdict = judge(&promoted(left), Some(&history(100)), "s", Some(&slot(90))).expect("proved");
            assert_eq!(verdict, Start::Follow(Lsn::new(100)), "left at {left}");
        }
        let error = judge(&promoted(99), Some(&history(100)), "s", Some(&slot(90))).expect_err("it lacks the end");
        assert_eq!(error.code(), Code::SourceHistoryChanged);
        assert!(error.to_string().contains("0/63") && error.to_string().contains("0/64"), "{error}");
        // Its slot must be there too, and not have run ahead.
        assert_eq!(code(judge(&promoted(150), Some(&history(100)), "s", None)), Code::SourceSlotMissing);
        assert_eq!(code(judge(&promoted(150), Some(&history(100)), "s", Some(&slot(120)))), Code::SourceGap);
        // One that hands out prepared transactions must be the server's own copy.
        let own = |failover| Slot { two_phase: true, failover, ..slot(90) };
        let foreign = judge(&promoted(150), Some(&history(100)), "s", Some(&own(false)));
        assert_eq!(code(foreign), Code::SourceHistoryChanged);
        assert!(judge(&promoted(150), Some(&history(100)), "s", Some(&own(true))).is_ok());
        // A standby that lags behind is waited for.
        let behind = Server { standby: true, ..server(99) };
        let error = judge(&behind, Some(&history(100)), "s", Some(&slot(50))).expect_err("not yet");
        assert_eq!(error.disposition(), Disposition::Retry);
    }
}
