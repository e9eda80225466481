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
    let confirmed = slot_position(slot_name, slot)?;
    let Some(history) = history else { return Ok(Start::Adopt(confirmed)) };
    if confirmed > history.end_lsn {
        return Err(CaptureError::halt(
            Code::SourceGap,
            format!(
                "slot \"{slot_name}\" has been advanced to {confirmed}, but the log ends at {}: what was committed in \
                 between is not in the log and the server no longer sends it",
                history.end_lsn
            ),
            AFTER_A_GAP,
        ));
    }
    Ok(Start::Resume(history.end_lsn))
}

const AFTER_A_GAP: &str = "Find out who used the slot or restored the log's directory. If the log cannot be put back, move it \
     away and drop the slot: the tables are then copied anew (see docs/operating.md, \"Starting over\")";

fn same_history(server: &Server, history: &History) -> Result<(), CaptureError> {
    if server.system_identifier != history.system_identifier {
        return Err(CaptureError::halt(
            Code::SourceHistoryChanged,
            format!(
                "the server is cluster {}, at {}; the log holds the history of cluster {}, up to {}",
                server.system_identifier, server.end_lsn, history.system_identifier, history.end_lsn
            ),
            "If the address is wrong, mend the url. If this is a new cluster in the old one's place (pg_upgrade, dump and \
             restore), move the log away and start over (docs/operating.md, \"Starting over\")",
        ));
    }
    if server.timeline != history.timeline {
        return Err(CaptureError::halt(
            Code::SourceHistoryChanged,
            format!(
                "the server is on timeline {}, at {}; the log was filled from timeline {}, up to {}: it was promoted or \
                 restored, and may lack what the log has",
                server.timeline, server.end_lsn, history.timeline, history.end_lsn
            ),
            "Start over from this server (docs/operating.md, \"Starting over\"), or point the url at the old one",
        ));
    }
    if server.end_lsn < history.end_lsn {
        return Err(CaptureError::halt(
            Code::SourcePositionAhead,
            format!(
                "the server's WAL ends at {}, before the log's end at {}: it was restored to an earlier time",
                server.end_lsn, history.end_lsn
            ),
            "The log and the sinks hold changes that the server has forgotten. Start over (docs/operating.md, \"Starting over\")",
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

/// The slot's `confirmed_flush_lsn`, if it is a slot we can read from.
fn slot_position(name: &str, slot: &Slot) -> Result<Lsn, CaptureError> {
    if slot.plugin != "pgoutput" {
        return Err(CaptureError::halt(
            Code::SourceSlotMissing,
            format!("slot \"{name}\" belongs to something else: its plugin is \"{}\"", slot.plugin),
            "Choose another name with slot = \"…\"",
        ));
    }
    if slot.database != slot.connected_database {
        return Err(CaptureError::halt(
            Code::SourceSlotMissing,
            format!(
                "slot \"{name}\" belongs to database \"{}\", not to \"{}\"",
                slot.database, slot.connected_database
            ),
            "Choose another name with slot = \"…\", or mend the url",
        ));
    }
    if slot.wal_status.as_deref() == Some("lost") {
        return Err(CaptureError::halt(
            Code::SourceSlotLost,
            format!(
                "slot \"{name}\" was invalidated at {}: the server removed WAL that it still needed (max_slot_wal_keep_size)",
                slot.confirmed_flush_lsn.unwrap_or_default()
            ),
            AFTER_A_GAP,
        ));
    }
    slot.confirmed_flush_lsn.ok_or_else(|| {
        CaptureError::wait(
            Code::SourceSlotActive,
            format!("slot \"{name}\" is still being made: it waits for older transactions to end"),
            "End long-running transactions (pg_stat_activity, oldest xact_start first)",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(end: u64) -> Server {
        Server { system_identifier: 7, timeline: 1, end_lsn: Lsn::new(end) }
    }

    fn history(end: u64) -> History {
        History { system_identifier: 7, timeline: 1, end_lsn: Lsn::new(end) }
    }

    fn slot(confirmed: u64) -> Slot {
        Slot {
            plugin: "pgoutput".into(),
            database: "app".into(),
            connected_database: "app".into(),
            active_pid: None,
            restart_lsn: Some(Lsn::new(1)),
            confirmed_flush_lsn: Some(Lsn::new(confirmed)),
            wal_status: Some("reserved".into()),
            two_phase: false,
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
        assert_eq!(code(judge(&server(200), None, "s", Some(&foreign))), Code::SourceSlotMissing);
    }
}
