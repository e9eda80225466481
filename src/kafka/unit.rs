//! The open unit, as the headers of its records tell of it.

use super::format::{self, Settings as FormatSettings, push_unsigned};
use crate::event::{Op, Timestamp, Transaction};

/// See the module.
#[derive(Debug)]
pub struct Unit {
    /// As the format tells of it.
    pub format: format::Unit,
    /// The source's name.
    pub source: String,
    /// When it was committed.
    pub timestamp_ms: i64,
    /// `epoch/LSN/`
    position: Vec<u8>,
    /// `xid/time/first ordinal/`
    head: Vec<u8>,
    /// `/origin`
    origin: Vec<u8>,
    digest: u64,
}

impl Unit {
    /// Before any.
    #[must_use]
    pub fn new(settings: &FormatSettings) -> Self {
        Unit {
            format: format::Unit::new(settings),
            source: settings.name.clone(),
            timestamp_ms: 0,
            position: Vec::new(),
            head: Vec::new(),
            origin: Vec::new(),
            digest: 0,
        }
    }

    /// A transaction, a chunk or a lone message begins.
    pub fn begin(&mut self, transaction: &Transaction) {
        self.format.begin(transaction, Timestamp::now());
        self.timestamp_ms = transaction.commit_time.unix_micros().div_euclid(1000);
        self.digest = 0;
        self.position = format!("{}/{}/", transaction.epoch, transaction.commit_lsn).into_bytes();
        let (time, first) = (transaction.commit_time.unix_micros(), transaction.first_ordinal);
        self.head = format!("{}/{time}/{first}/", transaction.xid).into_bytes();
        self.origin = transaction.origin.as_ref().map_or_else(Vec::new, |origin| format!("/{origin}").into_bytes());
    }

    /// An event of it. What kinds of events on which tables: that is what a change of the configuration would make another.
    #[inline]
    pub fn count(&mut self, op: Op, oid: u32) {
        let event = u64::from(oid) << 8 | u64::from(op as u8);
        self.digest = (self.digest.rotate_left(5) ^ event).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    /// Of the events that were counted.
    #[must_use]
    pub const fn digest(&self) -> u64 {
        self.digest
    }

    /// The value of [`super::headers::POSITION_HEADER`].
    pub fn put_position(&self, ordinal: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.position);
        push_unsigned(ordinal, out);
    }

    /// The value of [`super::headers::UNIT_HEADER`].
    pub fn put_unit(&self, version: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        push_unsigned(u64::from(version), out);
        out.extend_from_slice(&self.origin);
    }
}
