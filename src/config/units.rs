//! Durations (`500ms`, `7d`) and sizes (`50GiB`): a whole number and its unit, with nothing between.

use std::time::Duration;

const DURATION_UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// What people write instead of the unit, in lower case.
const SPELLINGS: [(&str, &[&str]); 10] = [
    ("ms", &["msec", "msecs", "milli", "millis", "millisecond", "milliseconds"]),
    ("s", &["sec", "secs", "second", "seconds"]),
    ("m", &["min", "mins", "minute", "minutes"]),
    ("h", &["hr", "hrs", "hour", "hours"]),
    ("d", &["day", "days"]),
    ("w", &["week", "weeks"]),
    ("KiB", &["k", "ki", "kib", "kb", "kilobyte", "kilobytes", "kibibytes"]),
    ("MiB", &["m", "mi", "mib", "mb", "megabyte", "megabytes", "mebibytes"]),
    ("GiB", &["g", "gi", "gib", "gb", "gigabyte", "gigabytes", "gibibytes"]),
    ("TiB", &["t", "ti", "tib", "tb", "terabyte", "terabytes", "tebibytes"]),
];

/// Reads a duration as the configuration has it: `500ms`, `10s`, `5m`, `12h`, `7d`, `2w`.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    duration(text).ok()
}

/// Reads a size in bytes as the configuration has it: `64MiB`, `1GB`.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    size(text).ok()
}

/// Reads a duration, or says what might have been meant.
pub(super) fn duration(text: &str) -> Result<Duration, Option<String>> {
    quantity(text, &DURATION_UNITS).map(Duration::from_millis).ok_or_else(|| guess(text, &DURATION_UNITS))
}

/// Reads a size in bytes, or says what might have been meant.
pub(super) fn size(text: &str) -> Result<u64, Option<String>> {
    quantity(text, &SIZE_UNITS).ok_or_else(|| guess(text, &SIZE_UNITS))
}

fn quantity(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, unit) = cut(text);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(*factor)
}

fn cut(text: &str) -> (&str, &str) {
    let end = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

/// `7 days` → `7d`.
fn guess(text: &str, units: &[(&str, u64)]) -> Option<String> {
    let (digits, unit) = cut(text.trim());
    let unit = unit.trim().to_lowercase();
    let known = |name: &str| units.iter().any(|(known, _)| *known == name);
    let (name, _) = SPELLINGS
        .iter()
        .filter(|(name, _)| known(name))
        .find(|(name, others)| name.to_lowercase() == unit || others.contains(&unit.as_str()))?;
    let candidate = format!("{digits}{name}");
    (candidate != text && quantity(&candidate, units).is_some()).then_some(candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_its_unit_is_read() {
        for (text, millis) in [("500ms", 500), ("10s", 10_000), ("5m", 300_000), ("7d", 604_800_000), ("0s", 0)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, bytes) in [("1B", 1), ("64KiB", 65_536), ("50GiB", 53_687_091_200), ("1GB", 1_000_000_000)] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_was_meant_is_guessed() {
        for (text, meant) in [("7 days", "7d"), ("7D", "7d"), ("10 sec", "10s"), ("5min", "5m"), (" 5m", "5m")] {
            assert_eq!(duration(text), Err(Some(meant.to_owned())), "{text}");
        }
        for (text, meant) in [("50 GB", "50GiB"), ("50G", "50GiB"), ("50gib", "50GiB"), ("1m", "1MiB")] {
            assert_eq!(size(text), Err(Some(meant.to_owned())), "{text}");
        }
        for text in ["", "d", "7", "-7d", "1.5h", "7 fortnights", "99999999999999999999d", "7d7d", "٧d"] {
            assert_eq!(duration(text), Err(None), "{text}");
        }
    }

    #[test]
    fn a_quantity_beyond_64_bits_is_refused() {
        assert_eq!(size("18446744073709551615TiB"), Err(None));
        assert_eq!(duration("18446744073709551615w"), Err(None));
    }
}
