//! What all records of one transaction or snapshot chunk have in common, written once.

use std::sync::Arc;

use super::cloudevents::Attributes;
use super::{Records, Settings, base64, number};
use crate::decode::json;
use crate::event::{Lsn, Op, TableName, Timestamp, Transaction};

/// What logical messages count as, beside tables.
pub(super) const MESSAGES: &str = "message";

/// The open transaction, as records tell of it.
#[derive(Debug)]
pub struct Unit {
    /// `,"source":{"version":…,"connector":"postgresql","name":"shop",`
    head: Vec<u8>,
    database: Vec<u8>,
    /// What all records of the source have in common.
    pub(super) settings: Settings,
    /// Whether this transaction is told of: a chunk and a lone message are none.
    tells: bool,
    /// `"ts_ms":` of `source`.
    time: Vec<u8>,
    /// From `"db":` to the first half of `sequence`.
    begin: Vec<u8>,
    /// From the second half of `sequence` to the table.
    middle: Vec<u8>,
    /// From behind the table to the end of `source`.
    end: Vec<u8>,
    /// The clock, at the end of the record.
    now: Vec<u8>,
    /// The transaction's id in records that tell of it.
    id: Vec<u8>,
    /// Events so far, of each table.
    counts: Vec<(String, u64)>,
    /// The table that was counted last.
    current: u64,
    total: u64,
    /// The bridge's clock when it began.
    pub(super) clock: Timestamp,
    pub(super) commit_lsn: Lsn,
    pub(super) origin: Option<Arc<str>>,
    /// `1:0/16B3748#`, to be followed by an ordinal.
    pub(super) position: String,
    /// When it committed; its text is made when it is first wanted.
    pub(super) committed: Timestamp,
    committed_text: std::sync::OnceLock<String>,
    pub(super) xid: u32,
    attributes: Attributes,
}

impl Unit {
    /// Before any transaction.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let mut head =
            format!(",\"source\":{{\"version\":\"{version}\",\"connector\":\"postgresql\",\"name\":").into_bytes();
        json::write_string(settings.name.as_bytes(), &mut head);
        head.push(b',');
        let mut database = Vec::new();
        json::write_string(settings.database.as_bytes(), &mut database);
        Unit {
            head,
            database,
            settings: settings.clone(),
            tells: false,
            time: Vec::new(),
            begin: Vec::new(),
            middle: Vec::new(),
            end: Vec::new(),
            now: Vec::new(),
            id: Vec::new(),
            counts: Vec::new(),
            current: 0,
            total: 0,
            clock: Timestamp::default(),
            commit_lsn: Lsn::default(),
            origin: None,
            position: String::new(),
            committed: Timestamp::default(),
            committed_text: std::sync::OnceLock::new(),
            xid: 0,
            attributes: Attributes::new(settings.cloudevents, &settings.name, settings.format.content_type()),
        }
    }

    /// A transaction, a chunk or a lone message begins. `now` is the bridge's clock, for the records' own time.
    pub fn begin(&mut self, transaction: &Transaction, now: Timestamp) {
        let micros = transaction.commit_time.unix_micros();
        let lsn = transaction.commit_lsn.get();
        self.time.clear();
        self.time.extend_from_slice(b"\"ts_ms\":");
        number::push_integer(micros.div_euclid(1000), &mut self.time);
        self.begin.clear();
        self.begin.extend_from_slice(b",\"db\":");
        self.begin.extend_from_slice(&self.database);
        self.begin.extend_from_slice(b",\"sequence\":\"[\\\"");
        number::push_unsigned(lsn, &mut self.begin);
        self.begin.extend_from_slice(b"\\\",\\\"");

        self.middle.clear();
        self.middle.extend_from_slice(b"\\\"]\",");
        let times = |micros: i64, out: &mut Vec<u8>| {
            out.extend_from_slice(b"\"ts_us\":");
            number::push_integer(micros, out);
            out.extend_from_slice(b",\"ts_ns\":");
            number::push_integer(micros.saturating_mul(1000), out);
        };
        times(micros, &mut self.middle);
        self.middle.push(b',');

        self.end.clear();
        self.end.extend_from_slice(b",\"txId\":");
        // A chunk and a lone message have no transaction's id.
        if transaction.xid == 0 {
            self.end.extend_from_slice(b"null");
        } else {
            number::push_unsigned(u64::from(transaction.xid), &mut self.end);
        }
        self.end.extend_from_slice(b",\"lsn\":");
        number::push_unsigned(lsn, &mut self.end);
        self.end.extend_from_slice(b",\"xmin\":null,\"origin\":");
        match &transaction.origin {
            Some(origin) => drop(json::write_string(origin.as_bytes(), &mut self.end)),
            None => self.end.extend_from_slice(b"null"),
        }
        self.end.extend_from_slice(b",\"origin_lsn\":null}");

        self.now.clear();
        self.now.extend_from_slice(b"\"ts_ms\":");
        number::push_integer(now.unix_micros().div_euclid(1000), &mut self.now);
        self.now.push(b',');
        times(now.unix_micros(), &mut self.now);

        self.id.clear();
        self.id.extend_from_slice(format!("{}:{lsn}", transaction.xid).as_bytes());
        self.counts.clear();
        (self.current, self.total) = (0, 0);
        self.tells = self.settings.transactions && transaction.xid != 0;
        (self.clock, self.commit_lsn, self.origin) = (now, transaction.commit_lsn, transaction.origin.clone());
        self.position = format!("{}:{}#", transaction.epoch, transaction.commit_lsn);
        self.committed_text = std::sync::OnceLock::new();
        (self.committed, self.xid) = (transaction.commit_time, transaction.xid);
        self.attributes.begin(&self.position, transaction.commit_time);
    }

    /// When it committed, as RFC 3339 has it.
    pub(super) fn committed_text(&self) -> &[u8] {
        self.committed_text.get_or_init(|| self.committed.to_string()).as_bytes()
    }

    /// Adds the headers of CloudEvents to the records from `first` on, where they are asked for.
    pub(super) fn tell(&self, ordinal: u64, op: Op, subject: &str, first: usize, out: &mut Records) {
        self.attributes.tell(ordinal, op, subject, first, out);
    }

    /// Whether its records, and those of the transactions' topic, tell of the transaction.
    #[must_use]
    pub const fn tells(&self) -> bool {
        self.tells
    }

    /// Counts an event of a table (`public.t`), where records tell of that.
    #[inline]
    pub(super) fn count(&mut self, collection: &str) {
        if self.tells {
            self.count_in(collection);
        }
    }

    /// The transaction's id, how many events it had with this one, and how many of this one's table, where records tell of that.
    pub(super) fn place(&self) -> Option<(&[u8], u64, u64)> {
        self.tells.then_some((self.id.as_slice(), self.total, self.current))
    }

    /// `["24023128","3"]`: where an event stands in the order of all.
    pub(super) fn put_sequence(&self, ordinal: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"[\"");
        number::push_unsigned(self.commit_lsn.get(), out);
        out.extend_from_slice(b"\",\"");
        number::push_unsigned(ordinal, out);
        out.extend_from_slice(b"\"]");
    }

    fn count_in(&mut self, collection: &str) {
        self.total += 1;
        if let Some((_, count)) = self.counts.iter_mut().find(|(name, _)| name == collection) {
            *count += 1;
            self.current = *count;
        } else {
            self.counts.push((collection.to_owned(), 1));
            self.current = 1;
        }
    }

    /// Takes back the count of an event, of a table or else a message, whose records are not sent after all.
    pub fn uncount(&mut self, table: Option<&TableName>, records: &Records) {
        let collection = table.map_or_else(|| MESSAGES.to_owned(), ToString::to_string);
        let events = records.iter().filter(|record| record.value.is_some()).count() as u64;
        if let Some((_, count)) = self.counts.iter_mut().find(|(name, _)| *name == collection) {
            *count = count.saturating_sub(events);
            self.total = self.total.saturating_sub(events);
        }
        self.counts.retain(|(_, count)| *count > 0);
    }

    /// Counts what was written since as events of a table: each record but the tombstones.
    pub(super) fn count_since(&mut self, first: usize, collection: &str, out: &Records) {
        (first..out.len()).filter(|&record| out.has_value(record)).for_each(|_| self.count(collection));
    }

    /// Writes the rest of a record whose rows have just been written.
    pub(super) fn finish(&self, ordinal: u64, op: u8, table: &[u8], out: &mut Records) {
        self.source(ordinal, op, table, &mut out.bytes);
        self.close(op, &mut out.bytes);
    }

    /// Chunks come between transactions, with the stream running: what the connector calls an incremental snapshot.
    fn source(&self, ordinal: u64, op: u8, table: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        out.extend_from_slice(&self.time);
        let snapshot: &[u8] = if op == b'r' { b",\"snapshot\":\"incremental\"" } else { b",\"snapshot\":\"false\"" };
        out.extend_from_slice(snapshot);
        out.extend_from_slice(&self.begin);
        number::push_unsigned(ordinal, out);
        out.extend_from_slice(&self.middle);
        out.extend_from_slice(table);
        out.extend_from_slice(&self.end);
    }

    fn close(&self, op: u8, out: &mut Vec<u8>) {
        self.transaction(out);
        out.extend_from_slice(b",\"op\":\"");
        out.push(op);
        out.extend_from_slice(b"\",");
        out.extend_from_slice(&self.now);
        out.push(b'}');
    }

    fn transaction(&self, out: &mut Vec<u8>) {
        if !self.tells {
            return out.extend_from_slice(b",\"transaction\":null");
        }
        out.extend_from_slice(b",\"transaction\":{\"id\":\"");
        out.extend_from_slice(&self.id);
        out.extend_from_slice(b"\",\"total_order\":");
        number::push_unsigned(self.total, out);
        out.extend_from_slice(b",\"data_collection_order\":");
        number::push_unsigned(self.current, out);
        out.push(b'}');
    }

    /// Adds the record of a logical message, whose key is its prefix.
    pub fn message(&mut self, ordinal: u64, prefix: &str, content: &[u8], out: &mut Records) {
        self.count(MESSAGES);
        let (value, first) = (out.mark(), out.len());
        out.bytes.extend_from_slice(b"{\"op\":\"m\",");
        let ms = self.now.iter().position(|&byte| byte == b',').unwrap_or(0);
        out.bytes.extend_from_slice(self.now.get(..ms).unwrap_or_default());
        self.source(ordinal, b'm', b"\"schema\":\"\",\"table\":\"\"", &mut out.bytes);
        self.transaction(&mut out.bytes);
        out.bytes.extend_from_slice(b",\"message\":{\"prefix\":");
        json::write_string(prefix.as_bytes(), &mut out.bytes);
        out.bytes.extend_from_slice(b",\"content\":\"");
        base64::encode(content, &mut out.bytes);
        out.bytes.extend_from_slice(b"\"}}");
        let value = out.since(value);
        let key = out.mark();
        out.bytes.extend_from_slice(b"{\"prefix\":");
        json::write_string(prefix.as_bytes(), &mut out.bytes);
        out.bytes.push(b'}');
        let key = out.since(key);
        out.push(Some(key), Some(value), []);
        self.tell(ordinal, Op::Message, prefix, first, out);
    }

    /// Adds the record for the transactions' topic that says that it begins.
    pub fn begun(&self, out: &mut Records) {
        self.boundary("BEGIN", None, out);
    }

    /// Adds the record for the transactions' topic that says that it has ended, and what it held.
    pub fn ended(&self, out: &mut Records) {
        self.boundary("END", Some(self.total), out);
    }

    fn boundary(&self, status: &str, events: Option<u64>, out: &mut Records) {
        let key = out.mark();
        out.bytes.extend_from_slice(b"{\"id\":\"");
        out.bytes.extend_from_slice(&self.id);
        out.bytes.extend_from_slice(b"\"}");
        let (key, value) = (out.since(key), out.mark());
        out.bytes.extend_from_slice(format!("{{\"status\":\"{status}\",\"id\":\"").as_bytes());
        out.bytes.extend_from_slice(&self.id);
        out.bytes.extend_from_slice(b"\",\"event_count\":");
        match events {
            None => out.bytes.extend_from_slice(b"null,\"data_collections\":null"),
            Some(events) => {
                number::push_unsigned(events, &mut out.bytes);
                out.bytes.extend_from_slice(b",\"data_collections\":");
                let mut before = b'[';
                for (name, count) in &self.counts {
                    out.bytes.push(before);
                    out.bytes.extend_from_slice(b"{\"data_collection\":");
                    json::write_string(name.as_bytes(), &mut out.bytes);
                    out.bytes.extend_from_slice(format!(",\"event_count\":{count}}}").as_bytes());
                    before = b',';
                }
                out.bytes.extend_from_slice(if self.counts.is_empty() { b"[]" } else { b"]" });
            }
        }
        out.bytes.extend_from_slice(b",\"ts_ms\":");
        number::push_integer(self.committed.unix_micros().div_euclid(1000), &mut out.bytes);
        out.bytes.push(b'}');
        let value = out.since(value);
        out.push(Some(key), Some(value), []);
    }
}
