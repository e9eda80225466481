//! The headers of an event: their names, and what they say. `unit` writes them.

use std::str::FromStr;
use std::sync::Arc;

use crate::event::{self, Lsn, Offset, Timestamp, Transaction};

/// Counts the events of the log.
pub const OFFSET_HEADER: &str = "walbridge.offset";
/// `epoch/commit LSN/ordinal`: the change's Position.
pub const POSITION_HEADER: &str = "walbridge.position";
/// `xid/commit time/first ordinal/version`: the transaction (time in microseconds since 1970), and the version of the table. Then, if
/// the source got the transaction from elsewhere, `/` and the replication origin.
pub const UNIT_HEADER: &str = "walbridge.unit";

/// What they say.
#[derive(Clone, Debug)]
pub struct EventHeads {
    /// The event's number.
    pub offset: Offset,
    /// Its place in its transaction.
    pub ordinal: u64,
    /// Its transaction.
    pub transaction: Transaction,
    /// The number of the table's version; 0 for none.
    pub version: u32,
}

impl EventHeads {
    /// The event's place in its source's history.
    #[must_use]
    pub fn position(&self) -> event::Position {
        let Transaction { epoch, commit_lsn, .. } = self.transaction;
        event::Position { epoch, commit_lsn, ordinal: self.ordinal }
    }

    /// Reads them.
    ///
    /// # Errors
    /// Which one is not there, or cannot be read.
    pub fn read<'h>(header: impl Fn(&str) -> Option<&'h [u8]>) -> Result<Self, String> {
        let text = |name: &str| {
            let text = header(name).and_then(|value| std::str::from_utf8(value).ok());
            text.ok_or_else(|| {
                format!("a record has no header {name}: it was written by something else than walbridge")
            })
        };
        let refuse = |name: &str| format!("a record's header {name} cannot be read");
        let position = Position::read(text(POSITION_HEADER)?).ok_or_else(|| refuse(POSITION_HEADER))?;
        let unit = Unit::read(text(UNIT_HEADER)?).ok_or_else(|| refuse(UNIT_HEADER))?;
        Ok(EventHeads {
            offset: offset(text(OFFSET_HEADER)?).ok_or_else(|| refuse(OFFSET_HEADER))?,
            ordinal: position.ordinal,
            transaction: Transaction {
                epoch: position.epoch,
                xid: unit.xid,
                commit_lsn: position.commit_lsn,
                commit_time: unit.commit_time,
                first_ordinal: unit.first_ordinal,
                origin: unit.origin,
            },
            version: unit.version,
        })
    }
}

/// The number of an event.
#[must_use]
pub fn offset(text: &str) -> Option<Offset> {
    text.parse().ok().map(Offset)
}

struct Position {
    epoch: u32,
    commit_lsn: Lsn,
    ordinal: u64,
}

impl Position {
    /// `epoch/LSN/ordinal`, and an LSN has a slash of its own.
    fn read(text: &str) -> Option<Self> {
        let (epoch, rest) = text.split_once('/')?;
        let (lsn, ordinal) = rest.rsplit_once('/')?;
        Some(Position {
            epoch: epoch.parse().ok()?,
            commit_lsn: Lsn::from_str(lsn).ok()?,
            ordinal: ordinal.parse().ok()?,
        })
    }
}

struct Unit {
    xid: u32,
    commit_time: Timestamp,
    first_ordinal: u64,
    version: u32,
    origin: Option<Arc<str>>,
}

impl Unit {
    /// `xid/time/first ordinal/version`, then perhaps `/origin`.
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, '/');
        let mut next = || parts.next();
        Some(Unit {
            xid: next()?.parse().ok()?,
            commit_time: Timestamp::from_unix_micros(next()?.parse().ok()?),
            first_ordinal: next()?.parse().ok()?,
            version: next()?.parse().ok()?,
            origin: next().map(Arc::from),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_writer_says_is_read_back() {
        let read = |position: &'static str, unit: &'static str| {
            EventHeads::read(|name| match name {
                OFFSET_HEADER => Some(b"42".as_slice()),
                POSITION_HEADER => Some(position.as_bytes()),
                UNIT_HEADER => Some(unit.as_bytes()),
                _ => None,
            })
        };
        let heads = read("2/1A/FF/7", "9/-5/3/11/a/b").expect("whole");
        assert_eq!((heads.offset, heads.ordinal, heads.version), (Offset(42), 7, 11));
        assert_eq!(heads.transaction.commit_lsn, Lsn::new(0x1A_0000_00FF));
        assert_eq!((heads.transaction.xid, heads.transaction.first_ordinal), (9, 3));
        assert_eq!(heads.transaction.origin.as_deref(), Some("a/b"));
        assert_eq!(read("2/1A/FF/7", "9/-5/3/11").expect("whole").transaction.origin, None);
        assert!(read("2/7", "9/-5/3/11").is_err() && read("2/1A/FF/7", "9/-5/3").is_err());
        assert!(EventHeads::read(|_| None).is_err_and(|why| why.contains("walbridge.position")));
    }
}
