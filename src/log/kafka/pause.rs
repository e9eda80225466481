//! How long a producer rests between two transactions, so that the cluster does not put the next one off. Pure.
//!
//! A commit is answered before every partition has been told of it. A transaction that begins meanwhile is refused its first
//! partition (CONCURRENT_TRANSACTIONS), and librdkafka asks again only 20 ms later, which is several times what the telling takes
//! (`rd_kafka_txn_handle_AddPartitionsToTxn`). How long that is differs from cluster to cluster, and the client says nothing of a refusal: it
//! is guessed from how long writing took.

use std::time::Duration;

/// What a refusal costs.
const PUT_OFF: Duration = Duration::from_millis(20);
const STEP: Duration = Duration::from_micros(500);
const WAIT_MAX: Duration = Duration::from_millis(10);
/// The wait shrinks by this part with each transaction that was not put off: about one in a hundred tries less than is needed.
const SHRINK: u32 = 512;
/// What counts as quick grows by this part, so that a cluster that has become slow is not taken for one that refuses.
const FORGET: u32 = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pause {
    wait: Duration,
    /// Writing takes this long where it is not put off.
    quick: Option<Duration>,
}

impl Pause {
    /// To write a small transaction took so long.
    pub(super) fn wrote_in(&mut self, took: Duration) {
        let quick = self.quick.map_or(took, |quick| took.min(quick + quick / FORGET));
        self.quick = Some(quick);
        self.wait =
            if took >= quick + PUT_OFF { (self.wait + STEP).min(WAIT_MAX) } else { self.wait - self.wait / SHRINK };
    }

    /// How long to rest.
    pub(super) const fn wait(&self) -> Duration {
        self.wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A cluster that needs `settles` after a commit.
    fn put_off(pause: &mut Pause, settles: Duration, transactions: u32) -> u32 {
        let mut count = 0;
        for _ in 0..transactions {
            let refused = pause.wait() < settles;
            count += u32::from(refused);
            pause.wrote_in(if refused { MS * 23 } else { MS * 2 });
        }
        count
    }

    #[test]
    fn few_are_put_off_once_it_is_known_how_long_the_cluster_needs() {
        let mut pause = Pause::default();
        pause.wrote_in(MS * 2);
        assert!(put_off(&mut pause, MS * 3, 10) >= 6, "nothing is known yet");
        let late = put_off(&mut pause, MS * 3, 1000);
        assert!((1..20).contains(&late), "{late}");
        assert!(pause.wait() < MS * 4);
        assert_eq!(put_off(&mut pause, Duration::ZERO, 5000), 0);
        assert!(pause.wait() < MS / 2, "a cluster that has become quick is not waited for");
    }

    #[test]
    fn a_slow_cluster_is_not_one_that_refuses() {
        let mut pause = Pause::default();
        for _ in 0..1000 {
            pause.wrote_in(MS * 80);
        }
        assert_eq!(pause.wait(), Duration::ZERO);
        for _ in 0..200 {
            pause.wrote_in(MS * 160);
        }
        assert!(pause.wait() <= WAIT_MAX);
        for _ in 0..10_000 {
            pause.wrote_in(MS * 160);
        }
        assert!(pause.wait() < MS, "what was quick once is forgotten");
    }
}
