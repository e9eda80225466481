//! A document's version, out of the place of its event.

use crate::event::Position;

/// Commit records begin at multiples of this.
const LSN_STEP: u64 = 8;
const LSN_BITS: u32 = 53;
const EPOCH_BITS: u32 = 10;

/// Rises with the place, from one transaction to the next. A server's versions are 63 bits: 64 PiB of write-ahead log in each of 1023 epochs
/// go into that, but no place inside the transaction, so writes of one transaction count as equally old (`external_gte`).
/// `None`: the place is beyond.
pub(super) fn version(position: Position) -> Option<u64> {
    let lsn = position.commit_lsn.get() / LSN_STEP;
    let epoch = u64::from(position.epoch);
    (epoch >> EPOCH_BITS == 0 && lsn >> LSN_BITS == 0).then_some(epoch << LSN_BITS | lsn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Lsn;

    #[test]
    fn a_version_rises_with_the_transactions_and_the_epochs() {
        let at = |epoch, lsn, ordinal| version(Position { epoch, commit_lsn: Lsn::new(lsn), ordinal });
        assert!(at(1, 0x100, 9) < at(1, 0x108, 0));
        assert_eq!(at(1, 0x100, 9), at(1, 0x100, 0));
        assert!(at(1, (1 << 56) - 8, 0) < at(2, 8, 0));
        assert!(at(1023, (1 << 56) - 8, 0).is_some_and(|version| version <= i64::MAX.unsigned_abs()));
        assert_eq!((at(1024, 8, 0), at(1, 1 << 56, 0)), (None, None));
    }
}
