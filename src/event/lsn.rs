//! A place in PostgreSQL's write-ahead log.

use std::fmt;
use std::str::FromStr;

/// A byte address in the write-ahead log, written `16/B374D848` as PostgreSQL does (manual: `pg_lsn`).
///
/// Ordered as a number. As text it is not: `9/0` sorts after `10/0`, which is why this is a type and never a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(u64);

impl Lsn {
    /// `0/0`, which PostgreSQL never uses for a record (`InvalidXLogRecPtr`).
    pub const ZERO: Lsn = Lsn(0);

    /// The LSN at this byte address.
    #[must_use]
    pub const fn new(address: u64) -> Self {
        Lsn(address)
    }

    /// The byte address.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// How many bytes of WAL lie between `earlier` and here; 0 if `earlier` is not earlier.
    #[must_use]
    pub const fn bytes_since(self, earlier: Lsn) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// Text that is not an LSN.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an LSN; one looks like 16/B374D848")]
pub struct ParseLsnError(String);

impl FromStr for Lsn {
    type Err = ParseLsnError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = || ParseLsnError(text.to_owned());
        let (high, low) = text.split_once('/').ok_or_else(refuse)?;
        let half = |digits: &str| {
            let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
            u32::from_str_radix(digits, 16).ok().filter(|_| plain).ok_or_else(refuse)
        };
        Ok(Lsn(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

impl serde::Serialize for Lsn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Lsn {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_and_order_is_numeric_across_the_high_word() {
        let nine: Lsn = "F/FFFFFFFF".parse().expect("an LSN");
        let ten: Lsn = "10/0".parse().expect("an LSN");
        assert!(nine < ten, "as text F/… would sort after 10/0");
        assert_eq!(nine.to_string(), "F/FFFFFFFF");
        assert_eq!(ten.bytes_since(nine), 1);
        assert_eq!(nine.bytes_since(ten), 0);
    }

    #[test]
    fn text_that_is_no_lsn_is_refused() {
        for text in ["", "/", "1", "1/", "1/+2", "1/123456789", "g/0", "1/2/3", " 1/2"] {
            assert!(text.parse::<Lsn>().is_err(), "{text:?}");
        }
    }
}
