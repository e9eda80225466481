//! PostgreSQL's texts of dates and times as numbers since 1970 (UTC, proleptic Gregorian calendar), as Kafka's formats count.
//!
//! Back to text the numbers go through `decode::binary`, which knows how PostgreSQL writes them.

/// A second in microseconds.
pub(super) const SECOND: i64 = 1_000_000;
/// A day in microseconds.
pub(crate) const DAY: i64 = 86_400 * SECOND;
/// From 1970 to 2000, which PostgreSQL's binary forms count from.
pub(super) const DAYS_TO_2000: i64 = 10_957;

/// What the PostgreSQL driver of Java makes of `infinity` as a date: beyond PostgreSQL's own last and first days.
pub(super) const DATE_FUTURE: i64 = 2_146_033_979;
pub(super) const DATE_PAST: i64 = -2_147_472_691;

/// A point in time, or beyond all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// `infinity`
    Future,
    /// `-infinity`
    Past,
    /// Days since 1970, and microseconds of that day.
    At(i64, i64),
}

/// `2026-11-24`, `0044-03-15 BC`, `infinity`: days since 1970.
pub(crate) fn date(text: &[u8]) -> Option<Moment> {
    Some(match text {
        b"infinity" => Moment::Future,
        b"-infinity" => Moment::Past,
        _ => {
            let (text, before_christ) = era(text);
            let (days, rest) = year_to_day(text, before_christ)?;
            rest.is_empty().then_some(Moment::At(days, 0))?
        }
    })
}

/// `2026-11-24 10:00:00.5`, with ` BC`, or `infinity`; with `zone` behind the time.
pub(crate) fn timestamp(text: &[u8], zone: &[u8]) -> Option<Moment> {
    Some(match text {
        b"infinity" => Moment::Future,
        b"-infinity" => Moment::Past,
        _ => {
            let (text, before_christ) = era(text);
            let (days, rest) = year_to_day(text, before_christ)?;
            let (micros, rest) = time_of_day(rest.strip_prefix(b" ")?)?;
            (rest == zone).then_some(Moment::At(days, micros))?
        }
    })
}

/// `10:00:00.5`: microseconds, and what follows.
pub(crate) fn time_of_day(text: &[u8]) -> Option<(i64, &[u8])> {
    let ([h1, h2, b':', m1, m2, b':', s1, s2], rest) = text.split_first_chunk::<8>()? else { return None };
    let seconds = pair(*h1, *h2)? * 3600 + pair(*m1, *m2)? * 60 + pair(*s1, *s2)?;
    let (fraction, rest) = fraction(rest)?;
    Some((seconds * SECOND + fraction, rest))
}

/// `.5` as microseconds, and what follows.
pub(super) fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some((b'.', digits)) = text.split_first() else { return Some((0, text)) };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=6).contains(&count) {
        return None;
    }
    let (digits, rest) = digits.split_at_checked(count)?;
    let value = digits.iter().chain([b'0'; 6].iter()).take(6);
    Some((value.fold(0, |value, digit| value * 10 + i64::from(digit - b'0')), rest))
}

/// `+02`, `-07:52:58`: seconds east of UTC.
pub(super) fn zone(text: &[u8]) -> Option<i64> {
    let (sign, rest) = text.split_first()?;
    let mut seconds = 0;
    let mut unit = 3600;
    for part in rest.split(|&byte| byte == b':') {
        let [a, b] = part else { return None };
        seconds += pair(*a, *b)? * unit;
        unit /= 60;
    }
    match sign {
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

fn pair(tens: u8, ones: u8) -> Option<i64> {
    (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
}

fn era(text: &[u8]) -> (&[u8], bool) {
    text.strip_suffix(b" BC").map_or((text, false), |text| (text, true))
}

/// The date at the front as days since 1970, and what follows.
fn year_to_day(text: &[u8], before_christ: bool) -> Option<(i64, &[u8])> {
    let (year, rest) = text.split_at_checked(text.iter().position(|&byte| byte == b'-')?)?;
    let ([b'-', m1, m2, b'-', d1, d2], rest) = rest.split_first_chunk::<6>()? else { return None };
    if !(4..=7).contains(&year.len()) || !year.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let year = year.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0'));
    let year = if before_christ { 1 - year } else { year };
    Some((days_from_civil(year, pair(*m1, *m2)?, pair(*d1, *d2)?), rest))
}

/// Days since 1970-01-01, counted in eras of 400 years from 0000-03-01, so that a leap day ends its year.
const fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    const FROM_0000_03_01_TO_1970_01_01: i64 = 719_468;
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year
        - FROM_0000_03_01_TO_1970_01_01
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_as_the_proleptic_calendar_has_them() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-01-01", DAYS_TO_2000),
            ("0001-01-01", -719_162),
            ("0001-12-31 BC", -719_163),
            ("0044-03-15 BC", -735_160),
            ("5874897-12-31", 2_145_042_905),
        ] {
            assert_eq!(date(text.as_bytes()), Some(Moment::At(days, 0)), "{text}");
        }
        assert_eq!(date(b"infinity"), Some(Moment::Future));
        for wrong in ["", "26-11-24", "2026-11-2", "2026-11-24x", "24/11/2026"] {
            assert_eq!(date(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn times_and_zones_are_read_to_the_microsecond() {
        assert_eq!(timestamp(b"1970-01-02 00:00:01.5", b""), Some(Moment::At(1, 1_500_000)));
        assert_eq!(timestamp(b"1970-01-02 24:00:00+00", b"+00"), Some(Moment::At(1, DAY)));
        assert_eq!(timestamp(b"1970-01-02 00:00:01+02", b"+00"), None);
        assert_eq!(time_of_day(b"10:00:00.000001+02"), Some((36_000_000_001, &b"+02"[..])));
        assert_eq!((zone(b"+05:30"), zone(b"-07:52:58"), zone(b"+2")), (Some(19_800), Some(-28_378), None));
    }
}
