//! Records in one reused buffer: the output of every encoder.

use std::ops::Range;

use super::SchemaIds;

/// A header's name and value.
pub type Header<'a> = (&'static str, &'a [u8]);

/// What encoders write into. Cleared and used again, it allocates nothing once it has grown.
#[derive(Debug, Default)]
pub struct Records {
    /// Keys, values and headers' values, one behind the other.
    pub(super) bytes: Vec<u8>,
    list: Vec<Parts>,
    headers: Vec<(&'static str, Range<usize>)>,
    /// What the record being written cannot carry exactly.
    pub(super) exact: Vec<u8>,
    /// A value's text on its way from binary form.
    pub(super) scratch: Vec<u8>,
    /// Where the key's columns stand in the row that was written last.
    pub(super) key: Vec<Range<usize>>,
}

#[derive(Clone, Debug)]
struct Parts {
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: Range<usize>,
    /// Added later, on request: not on the usual path.
    more: Vec<(&'static str, Range<usize>)>,
}

/// One record, as the producer wants it. No value: a tombstone.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The key; `None` for a table without one, and for a truncation.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    headers: &'a [(&'static str, Range<usize>)],
    more: &'a [(&'static str, Range<usize>)],
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// The format's own headers. Whoever produces adds others.
    pub fn headers(&self) -> impl Iterator<Item = Header<'a>> + use<'a> {
        let bytes = self.bytes;
        self.headers
            .iter()
            .chain(self.more)
            .map(move |(name, range)| (*name, bytes.get(range.clone()).unwrap_or_default()))
    }
}

impl Records {
    /// Forgets the records and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.list.clear();
        self.headers.clear();
        self.exact.clear();
    }

    /// The records, in the order in which they must be sent.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Record<'_>> {
        self.list.iter().map(|parts| {
            let slice = |range: &Range<usize>| self.bytes.get(range.clone()).unwrap_or_default();
            Record {
                key: parts.key.as_ref().map(slice),
                value: parts.value.as_ref().map(slice),
                headers: self.headers.get(parts.headers.clone()).unwrap_or_default(),
                more: &parts.more,
                bytes: &self.bytes,
            }
        })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The bytes of all keys, values and headers.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Where the next byte will stand.
    pub(super) fn mark(&self) -> usize {
        self.bytes.len()
    }

    /// What was written since.
    pub(super) fn since(&self, mark: usize) -> Range<usize> {
        mark..self.bytes.len()
    }

    /// Adds a record with these headers, and the one for what it cannot carry exactly, if there is such.
    pub(super) fn push(
        &mut self,
        key: Option<Range<usize>>,
        value: Option<Range<usize>>,
        headers: impl IntoIterator<Item = (&'static str, Range<usize>)>,
    ) {
        let start = self.headers.len();
        self.headers.extend(headers);
        if !self.exact.is_empty() {
            let mark = self.mark();
            self.bytes.append(&mut self.exact);
            let range = self.since(mark);
            self.headers.push((super::exact::HEADER, range));
        }
        self.list.push(Parts { key, value, headers: start..self.headers.len(), more: Vec::new() });
    }

    /// Says of a record of which schemas its key and value are: in the places that the encoder left for that.
    pub fn stamp(&mut self, record: usize, ids: SchemaIds) {
        let Some(parts) = self.list.get(record) else { return };
        for (part, id) in [(&parts.key, ids.key), (&parts.value, ids.value)] {
            let Some(start) = part.as_ref().map(|range| range.start.saturating_add(1)) else { continue };
            if let Some(place) = self.bytes.get_mut(start..start.saturating_add(4)) {
                place.copy_from_slice(&id.to_be_bytes());
            }
        }
    }

    /// Adds a header to a record that has been added.
    pub(super) fn add_header(&mut self, record: usize, name: &'static str, value: &[u8]) {
        let mark = self.mark();
        self.bytes.extend_from_slice(value);
        let range = self.since(mark);
        if let Some(parts) = self.list.get_mut(record) {
            parts.more.push((name, range));
        }
    }

    /// Whether a record has a value.
    pub(super) fn has_value(&self, record: usize) -> bool {
        self.list.get(record).is_some_and(|parts| parts.value.is_some())
    }
}
