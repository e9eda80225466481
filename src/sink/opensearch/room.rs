//! How large a request may be, by what the server has taken so far: half as large after one that it had no room for, and larger again little by little.

/// A request is never made smaller than this, unless it is a single document.
const BYTES_MIN: usize = 16 << 10;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    bytes: usize,
    bytes_max: usize,
}

impl Room {
    /// As much as is configured.
    pub(super) fn new(bytes_max: usize) -> Self {
        Room { bytes: bytes_max, bytes_max }
    }

    pub(super) fn bytes(self) -> usize {
        self.bytes
    }

    /// There was none for the last request, or not for all of it.
    pub(super) fn narrow(&mut self) {
        self.bytes = (self.bytes / 2).max(BYTES_MIN.min(self.bytes_max));
    }

    /// There was enough.
    pub(super) fn widen(&mut self) {
        self.bytes = self.bytes.saturating_add(self.bytes / 8).clamp(1, self.bytes_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_shrink_quickly_and_grow_slowly_within_what_is_configured() {
        let mut room = Room::new(1 << 20);
        room.widen();
        assert_eq!(room.bytes(), 1 << 20);
        room.narrow();
        assert_eq!(room.bytes(), 1 << 19);
        room.widen();
        assert!(room.bytes() > 1 << 19 && room.bytes() < 1 << 20);
        (0..100).for_each(|_| room.narrow());
        assert_eq!(room.bytes(), BYTES_MIN);
        (0..100).for_each(|_| room.widen());
        assert_eq!(room.bytes(), 1 << 20);
        let mut small = Room::new(1 << 10);
        small.narrow();
        assert_eq!(small.bytes(), 1 << 10);
    }
}
