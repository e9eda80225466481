//! CloudEvents 1.0 in Kafka's binary mode ("Kafka Protocol Binding", 3.2): a record is as it is, and headers say what happened.
//!
//! | header | |
//! | --- | --- |
//! | `ce_specversion` | `1.0` |
//! | `ce_id` | the event's Position, and, where an event has several records, which of them: unique within the source |
//! | `ce_source` | `/walbridge/` and the source's name, percent-encoded |
//! | `ce_type` | `walbridge.` and what happened: `insert`, `update`, `delete`, `truncate`, `read`, `message` |
//! | `ce_subject` | the table, as `schema.table`; a message's prefix |
//! | `ce_time` | when the transaction committed |
//! | `content-type` | of the value; a tombstone has none |

use super::Records;
use crate::event::{Op, Timestamp};

/// What the next records tell of themselves, rendered into reused buffers.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    on: bool,
    source: Vec<u8>,
    time: Vec<u8>,
    position: Vec<u8>,
    content_type: &'static str,
}

impl Attributes {
    pub(super) fn new(on: bool, source: &str, content_type: &'static str) -> Self {
        let mut path = b"/walbridge/".to_vec();
        for byte in source.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                path.push(byte);
            } else {
                path.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
        }
        Attributes { on, source: path, content_type, ..Attributes::default() }
    }

    /// A unit begins.
    pub(super) fn begin(&mut self, position: &str, time: Timestamp) {
        if self.on {
            self.position = position.as_bytes().to_vec();
            self.time = time.to_string().into_bytes();
        }
    }

    /// Adds the headers to the records that an event has added.
    pub(super) fn tell(&self, ordinal: u64, op: Op, subject: &str, first: usize, out: &mut Records) {
        if !self.on {
            return;
        }
        let kind = format!("walbridge.{}", op.as_str());
        for (part, record) in (first..out.len()).enumerate() {
            let position = String::from_utf8_lossy(&self.position);
            let id = if part == 0 { format!("{position}{ordinal}") } else { format!("{position}{ordinal}-{part}") };
            let headers: [(&'static str, &[u8]); 6] = [
                ("ce_specversion", b"1.0"),
                ("ce_id", id.as_bytes()),
                ("ce_source", &self.source),
                ("ce_type", kind.as_bytes()),
                ("ce_subject", subject.as_bytes()),
                ("ce_time", &self.time),
            ];
            headers.into_iter().for_each(|(name, value)| out.add_header(record, name, value));
            if out.has_value(record) {
                out.add_header(record, "content-type", self.content_type.as_bytes());
            }
        }
    }
}
