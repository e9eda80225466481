//! How much of a table the next chunk takes: learnt from the one before. Pure.

use std::ops::Range;
use std::time::Duration;

use super::Survey;

/// One block's places.
pub const BLOCK: u64 = 1 << 16;
/// No block has more lines than this (32 KiB pages).
const LINES_MAX: u64 = 2048;
/// A chunk reads at most so much of a table in which there is little to be found.
const STEP_MAX: u64 = 8192 * BLOCK;
/// A chunk's transaction is meant to take so long.
const TIME_WANTED: Duration = Duration::from_millis(500);

/// Whole blocks, or lines of one.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    places: u64,
    /// What a chunk is meant to bring.
    bytes_wanted: u64,
}

impl Step {
    /// One block, of a table that has not been looked at.
    #[must_use]
    pub const fn block(bytes_wanted: u64) -> Self {
        Step { places: BLOCK, bytes_wanted }
    }

    /// The first one, from what the survey measured.
    #[must_use]
    pub fn first(survey: &Survey, bytes_wanted: u64) -> Self {
        let blocks = survey.end / BLOCK;
        let block_bytes = (survey.bytes / blocks.max(1)).max(1);
        let places = (bytes_wanted / block_bytes).max(1).saturating_mul(BLOCK).min(STEP_MAX);
        Step { places, bytes_wanted }
    }

    /// Nothing smaller can be asked for.
    #[must_use]
    pub const fn is_least(self) -> bool {
        self.places <= 1
    }

    /// The front of a gap: whole blocks as far as they go, or a run of lines of one block.
    #[must_use]
    pub fn cut(self, gap: &Range<u64>) -> Range<u64> {
        let in_block = gap.start % BLOCK;
        let next_block = gap.start - in_block + BLOCK;
        let end = match self.places {
            step if step < BLOCK && in_block + step < LINES_MAX => gap.start + step,
            step if step < BLOCK || in_block > 0 => next_block,
            step => gap.start + step,
        };
        gap.start..end.min(gap.end)
    }

    /// Makes the next chunk as large, and as slow, as one is meant to be.
    pub fn learn(&mut self, places: &Range<u64>, bytes: u64, took: Duration) {
        let by_bytes = ratio(self.bytes_wanted, bytes.max(1));
        let by_time = TIME_WANTED.as_secs_f64() / took.as_secs_f64().max(1e-6);
        self.scale(places.end - places.start, by_bytes.min(by_time).clamp(0.125, 4.0));
    }

    /// A chunk of these places had too many bytes.
    pub fn shrink(&mut self, places: &Range<u64>, bytes: u64) {
        self.scale(places.end - places.start, ratio(self.bytes_wanted, bytes.max(1)).min(0.5));
    }

    /// The next chunk takes no more than these places, or a block.
    pub fn limit(&mut self, places: u64) {
        self.places = self.places.min((places / BLOCK).max(1) * BLOCK);
    }

    fn scale(&mut self, places: u64, factor: f64) {
        let lines = if places >= BLOCK { places / BLOCK * LINES_MAX } else { places };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded below and above")]
        let lines = ((lines as f64 * factor) as u64).max(1);
        self.places = if lines >= LINES_MAX { (lines / LINES_MAX * BLOCK).min(STEP_MAX) } else { lines };
    }
}

/// Precise enough for sizes.
#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_is_whole_blocks_or_lines_of_one() {
        let cut = |gap: Range<u64>, places| Step { places, bytes_wanted: 1 }.cut(&gap);
        assert_eq!(cut(0..3 * BLOCK, 16), 0..16);
        assert_eq!(cut(LINES_MAX - 5..3 * BLOCK, 16), LINES_MAX - 5..BLOCK);
        assert_eq!(cut(16..3 * BLOCK, 2 * BLOCK), 16..BLOCK);
        assert_eq!(cut(BLOCK..3 * BLOCK, 5 * BLOCK), BLOCK..3 * BLOCK);
    }
}
