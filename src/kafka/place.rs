//! A topic that records go to, and what it takes.

use super::KafkaError;
use super::admin;
use super::format::Record;
use super::producer::Outgoing;
use super::tables::{Content, Topic};

/// See the module.
#[derive(Debug)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// The table whose rows go there; empty for what is no table's.
    table: String,
    compacted: bool,
    record_bytes_max: usize,
}

/// Of a record, besides its key and value (Kafka's documentation, "Record Batch" and "Record").
const OVERHEAD_BYTES: usize = 512;

impl Place {
    /// The topic, as it was found or made.
    ///
    /// # Errors
    /// It is compacted, and the rows have nothing to be compacted by.
    pub fn new(topic: Topic, found: &admin::Topic) -> Result<Self, KafkaError> {
        let Topic { name, content, keyed } = topic;
        if found.is_compacted() && !keyed {
            let detail =
                "it is compacted, and the rows of its table have no key. Give the table a primary key, or the topic \
                          cleanup_policy = \"delete\""
                    .to_owned();
            return Err(KafkaError::Topic { topic: name, detail });
        }
        let table = if let Content::Rows(table) = content { table.to_string() } else { String::new() };
        Ok(Place { name, table, compacted: found.is_compacted(), record_bytes_max: found.record_bytes_max })
    }

    /// The record on its way there; `position` is for people. A truncation goes to the first partition.
    ///
    /// # Errors
    /// It is larger than the topic takes.
    pub fn outgoing<'a>(
        &'a self,
        record: &Record<'a>,
        position: &[u8],
        first_partition: bool,
        timestamp_ms: i64,
    ) -> Result<Outgoing<'a>, KafkaError> {
        let size = |part: Option<&[u8]>| part.map_or(0, <[u8]>::len);
        let bytes = size(record.key).saturating_add(size(record.value)).saturating_add(OVERHEAD_BYTES);
        if bytes > self.record_bytes_max {
            return Err(KafkaError::TooLarge {
                table: self.table.clone(),
                key: shown(record.key.unwrap_or_default()),
                topic: self.name.clone(),
                position: String::from_utf8_lossy(position).into_owned(),
                bytes,
                limit: self.record_bytes_max,
            });
        }
        Ok(Outgoing {
            topic: &self.name,
            partition: first_partition.then_some(0),
            // A compacted topic takes no record without a key.
            key: record.key.or_else(|| self.compacted.then_some(b"".as_slice())),
            value: record.value,
            timestamp_ms,
        })
    }
}

/// A key for people: formats with schemas have bytes in it that are no text.
fn shown(key: &[u8]) -> String {
    const CHARACTERS_MAX: usize = 200;
    let text = String::from_utf8_lossy(key);
    let mut shown: String = text.chars().filter(|character| !character.is_control()).take(CHARACTERS_MAX).collect();
    if text.chars().count() > CHARACTERS_MAX {
        shown.push('…');
    }
    shown
}
