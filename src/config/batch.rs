//! How much a sink applies at once.

use std::time::Duration;

use serde_json::Value as Json;

use super::key::{Describe, Key, Section, Value, table_schema};
use super::reader::Item;
use super::value::{Bytes, Count};

/// A batch is applied as soon as one of these is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Events.
    pub rows: usize,
    /// Bytes of rows.
    pub bytes: u64,
    /// Age of its first event. Zero: nothing waits for more to come.
    pub linger: Duration,
}

static ROWS: Key<Count> = Key::optional(
    "rows",
    "`10000`; for `tantivy` `100000`, because each commit of an index costs",
    "1000",
    "At most so many changes.",
);
static BYTES: Key<Bytes> = Key::default("bytes", "\"8MiB\"", "\"4MiB\"", "At most so many bytes of rows.");
static LINGER: Key<Duration> = Key::optional(
    "linger",
    "`0s`; for `tantivy` `1s`, for `opensearch` `200ms`, because each commit of an index costs",
    "\"50ms\"",
    "How long a batch waits for more changes.",
);
pub(super) static BATCH_KEYS: &[&dyn Describe] = &[&ROWS, &BYTES, &LINGER];

impl BatchLimits {
    /// What holds unless it is set.
    pub const DEFAULT: BatchLimits = BatchLimits { rows: 10_000, bytes: 8 << 20, linger: Duration::ZERO };
    /// The same for `tantivy`.
    pub const OF_TANTIVY: BatchLimits =
        BatchLimits { rows: 100_000, linger: Duration::from_secs(1), ..BatchLimits::DEFAULT };
    /// The same for `opensearch`.
    pub const OF_OPENSEARCH: BatchLimits = BatchLimits { linger: Duration::from_millis(200), ..BatchLimits::DEFAULT };
}

/// [`BatchLimits`] as far as they are set.
pub(super) struct RawBatch {
    pub(super) rows: Option<usize>,
    pub(super) bytes: u64,
    pub(super) linger: Option<Duration>,
}

impl Value for RawBatch {
    fn read(item: &Item<'_>) -> Option<Self> {
        let section = Section::of(item, item.value.span())?;
        section.refuse_others(BATCH_KEYS, |_| None);
        let rows = section.get(&ROWS);
        let bytes = section.get(&BYTES);
        let linger = section.get(&LINGER);
        Some(RawBatch { rows: rows.map(|rows| rows.0), bytes: bytes?.0, linger })
    }

    fn schema() -> Json {
        table_schema(BATCH_KEYS)
    }
}
