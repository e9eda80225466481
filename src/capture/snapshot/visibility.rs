//! What a snapshot sees: PostgreSQL's own rule, applied to transactions of the stream.

use super::super::CaptureError;

/// `pg_current_snapshot()`: `xmin:xmax:xip_list`, with 64-bit transaction ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visibility {
    xmin: u64,
    xmax: u64,
    in_progress: Vec<u64>,
}

impl Visibility {
    /// Reads the text form.
    ///
    /// # Errors
    /// It is not one.
    pub fn parse(text: &str) -> Result<Self, CaptureError> {
        let read = || {
            let mut parts = text.split(':');
            let (xmin, xmax) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            let list = parts.next()?.split(',').filter(|xid| !xid.is_empty());
            Some(Visibility { xmin, xmax, in_progress: list.map(|xid| xid.parse().ok()).collect::<Option<_>>()? })
        };
        read().ok_or_else(|| CaptureError::Protocol(format!("`{text}` is not a snapshot")))
    }

    /// Whether the effects of a committed top-level transaction are in the snapshot.
    ///
    /// The stream gives ids of 32 bits, which wrap around; the one meant is the nearest to this snapshot (PostgreSQL
    /// itself never lets live ids lie further apart than 2³¹).
    #[must_use]
    pub fn sees(&self, xid: u32) -> bool {
        let xid = self.widen(xid);
        xid < self.xmax && (xid < self.xmin || !self.in_progress.contains(&xid))
    }

    /// Whether every later snapshot sees this committed transaction too: it is older than all that were running.
    #[must_use]
    pub fn always_seen(&self, xid: u32) -> bool {
        self.widen(xid) < self.xmin
    }

    fn widen(&self, xid: u32) -> u64 {
        let low = u32::try_from(self.xmax & u64::from(u32::MAX)).unwrap_or(0);
        let distance = xid.wrapping_sub(low).cast_signed();
        self.xmax.saturating_add_signed(i64::from(distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_before_the_snapshot_is_seen_running_or_later_is_not() {
        let snapshot = Visibility::parse("10:20:12,15").expect("a snapshot");
        for (xid, seen) in
            [(9, true), (10, true), (12, false), (13, true), (15, false), (19, true), (20, false), (99, false)]
        {
            assert_eq!(snapshot.sees(xid), seen, "{xid}");
        }
        assert!(snapshot.always_seen(9) && !snapshot.always_seen(10));
        assert_eq!(Visibility::parse("7:7:").expect("none running").in_progress, Vec::<u64>::new());
    }

    #[test]
    fn ids_are_compared_across_the_wrap_around() {
        // One epoch on: 2^32 + 5 running, so 4294967295 is just before and 6 just after.
        let snapshot = Visibility::parse("4294967299:4294967301:4294967299").expect("a snapshot");
        assert!(snapshot.sees(u32::MAX), "the last id before the wrap");
        assert!(!snapshot.sees(3), "running");
        assert!(snapshot.sees(4));
        assert!(!snapshot.sees(5) && !snapshot.sees(1000), "not begun yet");
    }

    #[test]
    fn other_text_is_refused() {
        for text in ["", "1", "1:2", "a:b:", "1:2:x"] {
            assert!(Visibility::parse(text).is_err(), "{text}");
        }
    }
}
