//! Changes as entries of streams.
//!
//! An entry's id is made of the change's [`Position`]: ids rise as Positions do, and one change always has the same. So a stream itself tells up to
//! where it has been written, and what comes again, after its checkpoint was lost for instance, is passed over.
//!
//! 64 bits before the dash: the epoch's lowest 16, the LSN's highest 48. 64 behind it: the LSN's lowest 16, 40 of the ordinal, and 8 for changes that
//! are delivered after their time, which follow the entry that is the last then. The first epoch is 1, so that any id of ours is behind those that
//! Redis makes of its clock.

use std::collections::HashMap;

use bytes::Bytes;
use redis::Pipeline;

use super::reply::Reply;
use crate::event::{Event, Position};
use crate::project::line::write_event;

/// An entry's id.
pub(super) type Id = (u64, u64);

/// The number of entries that can follow one out of their time.
const LATE_MASK: u64 = 0xff;

/// The id of a change.
pub(super) fn id(position: Position) -> Id {
    let lsn = position.commit_lsn.get();
    let epoch = u64::from(position.epoch) << 48;
    (epoch | lsn >> 16, lsn << 48 | (position.ordinal & 0xff_ffff_ffff) << 8)
}

/// The id of a change that is delivered after its time, behind this one; `None` if too many are.
pub(super) fn late(last: Id) -> Option<Id> {
    let next = last.1.checked_add(1)?;
    (next & LATE_MASK != 0).then_some((last.0, next))
}

/// The stream of an event, by its name in the configuration; `None`: it has none, for it is of no table.
pub(super) fn name(pattern: &str, event: &Event) -> Option<String> {
    if !pattern.contains("{table}") {
        return Some(pattern.to_owned());
    }
    let table = event.change.relation()?.name.to_string();
    Some(pattern.replace("{table}", &table))
}

/// An entry's text.
pub(super) fn line(source: &str, event: &Event) -> Vec<u8> {
    let mut line = Vec::new();
    write_event(source, event, &mut line);
    line
}

/// The last ids of the streams that have been met, with what is staged.
pub(super) type Tails = HashMap<Bytes, Id>;

/// Asks for the last id of a stream that is there.
pub(super) fn ask(key: &[u8], pipeline: &mut Pipeline) {
    pipeline.cmd("XINFO").arg("STREAM").arg(key);
}

/// It.
pub(super) fn tail(reply: Reply) -> Option<Id> {
    let Reply::Array(fields) = reply else { return None };
    let mut fields = fields.into_iter();
    fields.find(|field| *field == Reply::Bytes(b"last-generated-id".to_vec()))?;
    let Reply::Bytes(id) = fields.next()? else { return None };
    let (milliseconds, sequence) = str::from_utf8(&id).ok()?.split_once('-')?;
    Some((milliseconds.parse().ok()?, sequence.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Lsn;

    fn at(epoch: u32, lsn: u64, ordinal: u64) -> Position {
        Position { epoch, commit_lsn: Lsn::new(lsn), ordinal }
    }

    #[test]
    fn ids_rise_with_positions_and_leave_room_for_late_ones() {
        let rising = [
            at(1, 0, 0),
            at(1, 0, 1),
            at(1, 1, 0),
            at(1, 0xffff, 7),
            at(1, 0x1_0000, 0),
            at(1, u64::MAX, 0xff_ffff_ffff),
            at(2, 0, 0),
            at(65_535, 5, 5),
        ];
        for pair in rising.windows(2) {
            assert!(id(pair[0]) < id(pair[1]), "{pair:?}");
            let late = late(id(pair[0])).expect("room");
            assert!(id(pair[0]) < late && late < id(pair[1]), "{pair:?}");
        }
        // A Redis of the year 2200 makes this one.
        assert!(id(at(1, 0, 0)) > (7_258_118_400_000, u64::MAX));
        assert_eq!(late((1, 0x1ff)), None);
    }
}
