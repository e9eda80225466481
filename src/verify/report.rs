//! What a verification says of itself, while it runs and in the end.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::Offset;
use crate::sink::Image;

/// More findings than this are counted and not told one by one.
const FINDINGS_MAX: usize = 1000;
/// A longer value is told by its beginning.
const VALUE_BYTES_MAX: usize = 4096;

/// How far a verification is, and what it has found.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// The sink.
    pub sink: String,
    /// Counts the verifications of this sink since the process began: which one this is.
    pub number: u64,
    /// What has become of it.
    pub state: Progress,
    /// Why it failed, or what it is waiting for, with what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// 0 to 100.
    pub percent: f64,
    /// Differences are repaired.
    pub repair: bool,
    /// So many percent of the tables' rows are looked at; all, if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<f64>,
    /// The first and the last place in the log as of which something was compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Offset>,
    /// See there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Offset>,
    /// By table.
    pub tables: Vec<TableReport>,
    /// The first thousand of what was found.
    pub findings: Vec<Finding>,
}

/// What has become of a verification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// It goes on.
    #[default]
    Running,
    /// All that was to be compared has been.
    Done,
    /// It could not be gone on with; what was found until then holds.
    Failed,
}

/// What was found of a table.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct TableReport {
    /// Its name.
    pub table: String,
    /// Rows compared; one that changes meanwhile may be counted more than once.
    pub rows: u64,
    /// Keys of the sink that were held against the rows; one that the sink tells twice counts twice.
    #[serde(default)]
    pub keys: u64,
    /// In so many turns, each over a range of the keys' hashes: one, where they fit into memory.
    #[serde(default)]
    pub turns: u64,
    /// Keys whose document is not there.
    pub missing: u64,
    /// Keys whose document says something else.
    pub different: u64,
    /// Keys with a document and no row.
    pub extra: u64,
    /// How many of all these have been repaired.
    pub repaired: u64,
    /// Documents that are not there and have a limited life, so they may have ended theirs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub expired: u64,
    /// Rows that no document can be made of, for they have no key.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub without_key: u64,
    /// Extra keys were looked for, too, among all keys of the sink.
    pub whole: bool,
    /// Why not, if they should have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_whole: Option<String>,
    /// Why the table was not verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
}

/// What is wrong with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The source has the row, and the sink no document.
    Missing,
    /// Both have it, and not the same.
    Different,
    /// The sink has a document, and the source no row.
    Extra,
}

/// A key that is not as it should be.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Finding {
    /// The table.
    pub table: String,
    /// The key in the sink.
    pub key: String,
    /// What is wrong with it.
    pub what: What,
    /// What should be there, as the sink would have it.
    pub source: Option<Box<RawValue>>,
    /// What is there.
    pub sink: Option<Box<RawValue>>,
    /// The place in the log as of which that is so.
    pub at: Offset,
    /// It has been repaired.
    pub repaired: bool,
    /// Why not, if it was to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Report {
    /// How many keys were found not to be as they should.
    #[must_use]
    pub fn differences(&self) -> u64 {
        self.tables.iter().map(TableReport::differences).sum()
    }

    /// How many of them still are not.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.tables.iter().map(|table| table.differences().saturating_sub(table.repaired)).sum()
    }

    /// Something was compared as of this place.
    pub(super) fn compared_at(&mut self, place: Offset) {
        self.from.get_or_insert(place);
        self.until = self.until.max(Some(place));
    }

    /// Takes note of a finding.
    pub(super) fn found(&mut self, finding: Finding) {
        if let Some(table) = self.tables.iter_mut().find(|table| table.table == finding.table) {
            match finding.what {
                What::Missing => table.missing += 1,
                What::Different => table.different += 1,
                What::Extra => table.extra += 1,
            }
            table.repaired += u64::from(finding.repaired);
        }
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }

    /// Takes back what was found of a table, for it is to be looked at anew, or not at all.
    pub(super) fn forget(&mut self, table: &str) {
        self.findings.retain(|finding| finding.table != table);
        for report in self.tables.iter_mut().filter(|report| report.table == table) {
            *report = TableReport { table: table.to_owned(), ..TableReport::default() };
        }
    }
}

impl TableReport {
    /// How many keys were found not to be as they should.
    #[must_use]
    pub fn differences(&self) -> u64 {
        self.missing.saturating_add(self.different).saturating_add(self.extra)
    }
}

/// A value to be told: as JSON, or as a text where it is none, or is too long to be told whole.
pub(super) fn told(image: &Image) -> Option<Box<RawValue>> {
    let text = image.text();
    let whole = (text.len() <= VALUE_BYTES_MAX).then(|| serde_json::from_str::<Box<RawValue>>(text).ok()).flatten();
    whole.or_else(|| {
        let end = text.floor_char_boundary(VALUE_BYTES_MAX);
        let mut beginning = text.get(..end).unwrap_or_default().to_owned();
        if end < text.len() {
            beginning.push('…');
        }
        serde_json::value::to_raw_value(&beginning).ok()
    })
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_whole_or_by_their_beginning() {
        let told = |text: &str| told(&Image::of_json(text.to_owned())).expect("a value").get().to_owned();
        assert_eq!(told(r#"{"a": 1e400}"#), r#"{"a": 1e400}"#);
        assert_eq!(told("no JSON"), r#""no JSON""#);
        let long = format!("\"{}\"", "ö".repeat(VALUE_BYTES_MAX));
        assert!(told(&long).len() < VALUE_BYTES_MAX + 20 && told(&long).ends_with("ö…\""));
    }
}
