//! What is handed to the sender at once: records, encoded, with what their headers say.
//!
//! A group is filled on the ingest loop's thread and emptied on the sender's; then it is filled again, so that nothing is
//! allocated for a record but by the client itself.

use std::ops::Range;

use super::control::ControlRecord;
use crate::kafka::format::Records;

/// Places in `text`: a group is far smaller than 4 GiB.
type Text = Range<u32>;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Keys, values, and the format's own headers.
    pub(super) records: Records,
    /// What else there is to know of each of them.
    pub(super) metas: Vec<Meta>,
    /// For the control topic: new versions of tables. They stay if a unit is taken back.
    pub(super) versions: Vec<ControlRecord>,
    /// For the control topic: all else.
    pub(super) control: Vec<ControlRecord>,
    /// The values of our own headers.
    pub(super) text: Vec<u8>,
}

/// Where a record goes, and its headers.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    /// As the writer and the sender number topics.
    pub(super) topic: u32,
    /// As they number schemas, if there are any.
    pub(super) schemas: Option<u32>,
    /// Not by the key, but the first.
    pub(super) first_partition: bool,
    /// Its unit was taken back.
    pub(super) dropped: bool,
    pub(super) timestamp_ms: i64,
    /// The headers, all empty of what is no event.
    pub(super) offset: Text,
    pub(super) position: Text,
    pub(super) unit: Text,
}

/// A place to which a group can be taken back.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    metas: usize,
    control: usize,
}

impl Group {
    pub(super) fn mark(&self) -> Mark {
        Mark { metas: self.metas.len(), control: self.control.len() }
    }

    /// Takes back what was added since. The bytes stay until the group is sent; they are not.
    pub(super) fn cut(&mut self, mark: Mark) {
        self.metas.iter_mut().skip(mark.metas).for_each(|meta| meta.dropped = true);
        self.control.truncate(mark.control);
    }

    pub(super) fn bytes(&self) -> usize {
        let control: usize =
            self.control.iter().chain(&self.versions).map(|record| record.key.len() + record.value.len()).sum();
        self.records.bytes().saturating_add(self.text.len()).saturating_add(control)
    }

    /// Adds to the headers' text.
    pub(super) fn put_text(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Text {
        let start = self.text_len();
        write(&mut self.text);
        start..self.text_len()
    }

    fn text_len(&self) -> u32 {
        u32::try_from(self.text.len()).unwrap_or(u32::MAX)
    }

    /// A piece of the headers' text.
    pub(super) fn text_at(&self, range: &Text) -> &[u8] {
        self.text.get(range.start as usize..range.end as usize).unwrap_or_default()
    }

    /// Empties it for the next use, unless a rare large record has blown it up.
    pub(super) fn clear(&mut self, bytes_max: usize) {
        if self.bytes() > bytes_max {
            *self = Group::default();
            return;
        }
        self.records.clear();
        self.metas.clear();
        self.versions.clear();
        self.control.clear();
        self.text.clear();
    }
}
