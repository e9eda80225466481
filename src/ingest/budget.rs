//! How much WAL the server may keep for the slot, and what holds it. Pure.

use crate::capture::slot::Slot;
use crate::event::Lsn;

/// What happens when the server keeps more WAL for the slot than the budget allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverBudget {
    /// It is said, and nothing else.
    Warn,
    /// The slot is dropped: the server's disk matters more than an unbroken history.
    ProtectSource,
    /// The slot is kept, and it is said loudly: the history matters more.
    ProtectData,
}

/// What was seen of a slot at one moment.
#[derive(Clone, Debug)]
pub(super) struct Look {
    /// The end of the server's WAL.
    pub(super) server_lsn: Lsn,
    /// The slot.
    pub(super) slot: Slot,
    /// The oldest transaction that is running or prepared, for people.
    pub(super) oldest: Option<String>,
}

/// What it amounts to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All is well.
    Fine,
    /// More than half of the limit is used up; says why.
    Half(String),
    /// More than the configured budget is; says why.
    Over(String),
}

impl Look {
    /// WAL that the server keeps for the slot.
    pub(super) fn retained(&self) -> u64 {
        self.slot.restart_lsn.map_or(0, |restart| self.server_lsn.bytes_since(restart))
    }

    /// The limit that is met first: ours, or the server's own (`max_slot_wal_keep_size`).
    pub(super) fn limit(&self, budget: Option<u64>) -> Option<u64> {
        let left = self.slot.safe_wal_size.map(|left| u64::try_from(left).unwrap_or(0));
        let servers = left.map(|left| self.retained().saturating_add(left));
        budget.into_iter().chain(servers).min()
    }

    pub(super) fn judge(&self, budget: Option<u64>) -> Verdict {
        let retained = self.retained();
        if let Some(budget) = budget.filter(|&budget| retained > budget) {
            return Verdict::Over(format!(
                "the server keeps {retained} bytes of WAL, of a budget of {budget}: {}",
                self.why()
            ));
        }
        match self.limit(budget) {
            Some(limit) if retained > limit / 2 => {
                Verdict::Half(format!("the server keeps {retained} bytes of WAL, of at most {limit}: {}", self.why()))
            }
            _ => Verdict::Fine,
        }
    }

    /// What keeps `restart_lsn` where it is.
    fn why(&self) -> String {
        let confirmed = self.slot.confirmed_flush_lsn.unwrap_or_default();
        let unconfirmed = self.server_lsn.bytes_since(confirmed);
        if unconfirmed > self.retained() / 2 {
            let reader = if self.slot.active_pid.is_some() { "is behind" } else { "is not connected" };
            return format!(
                "walbridge {reader}: {unconfirmed} bytes are not confirmed. Look at its log's disk, and at its state"
            );
        }
        match &self.oldest {
            Some(oldest) => format!("walbridge has confirmed nearly all; {oldest} holds it. End that"),
            None => "walbridge has confirmed nearly all; the server has not let go yet, which it does at the next running-transactions record (a CHECKPOINT writes one)".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn look(restart: u64, confirmed: u64, server: u64) -> Look {
        let at = |mib: u64| Lsn::new(mib * MIB);
        let slot = Slot { restart_lsn: Some(at(restart)), confirmed_flush_lsn: Some(at(confirmed)), ..Slot::default() };
        Look { server_lsn: at(server), slot, oldest: None }
    }

    #[test]
    fn half_of_the_budget_is_a_warning_and_more_than_all_is_over() {
        let budget = Some(10 * MIB);
        assert_eq!(look(100, 105, 105).judge(budget), Verdict::Fine);
        assert!(matches!(look(100, 106, 106).judge(budget), Verdict::Half(_)));
        assert!(matches!(look(100, 110, 110).judge(budget), Verdict::Half(_)));
        assert!(matches!(look(100, 111, 111).judge(budget), Verdict::Over(_)));
        assert_eq!(look(0, 1000, 1000).judge(None), Verdict::Fine, "no limit, no verdict");
    }

    #[test]
    fn the_servers_own_limit_counts_when_it_is_nearer() {
        let mut look = look(100, 106, 106);
        look.slot.safe_wal_size = Some(i64::try_from(5 * MIB).expect("small"));
        assert_eq!(look.limit(Some(100 * MIB)), Some(11 * MIB));
        assert!(matches!(look.judge(Some(100 * MIB)), Verdict::Half(_)));
        look.slot.safe_wal_size = Some(-1);
        assert_eq!(look.limit(None), Some(6 * MIB), "beyond it already");
    }

    #[test]
    fn the_reason_names_who_has_to_act() {
        let reason = |look: &Look| match look.judge(Some(MIB)) {
            Verdict::Over(why) => why,
            other => panic!("{other:?}"),
        };
        assert!(reason(&look(100, 101, 200)).contains("is not connected"));
        let mut pinned = look(100, 199, 200);
        assert!(reason(&pinned).contains("CHECKPOINT"));
        pinned.oldest = Some("the transaction of process 7".to_owned());
        assert!(reason(&pinned).contains("process 7 holds it"));
    }
}
