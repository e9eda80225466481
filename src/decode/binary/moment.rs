//! Dates, times and intervals, in the styles `ISO` and `postgres`, in UTC.

use super::input::Input;
use super::number::padded;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Days since 2000-01-01.
pub(super) fn date(days: i32, out: &mut Vec<u8>) {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        days => {
            let before_christ = year_to_day(i64::from(days), out);
            era(before_christ, out);
        }
    }
}

/// Microseconds since midnight.
pub(super) fn time(micros: i64, out: &mut Vec<u8>) -> Option<()> {
    let hour = u64::try_from(micros / HOUR).ok().filter(|_| micros >= 0)?;
    padded(hour, 2, out);
    minutes_and_seconds(micros % HOUR, out);
    Some(())
}

/// The time, and how many seconds its zone lies west of UTC.
pub(super) fn timetz(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    time(input.i64()?, out)?;
    let west = input.i32()?;
    out.push(if west <= 0 { b'+' } else { b'-' });
    let seconds = u64::from(west.unsigned_abs());
    padded(seconds / 3600, 2, out);
    for (part, shown) in [(seconds / 60 % 60, seconds % 3600 != 0), (seconds % 60, !seconds.is_multiple_of(60))] {
        if shown {
            out.push(b':');
            padded(part, 2, out);
        }
    }
    Some(())
}

/// Microseconds since 2000-01-01.
pub(super) fn timestamp(micros: i64, with_zone: bool, out: &mut Vec<u8>) -> Option<()> {
    match micros {
        i64::MAX => out.extend_from_slice(b"infinity"),
        i64::MIN => out.extend_from_slice(b"-infinity"),
        micros => {
            let before_christ = year_to_day(micros.div_euclid(DAY), out);
            out.push(b' ');
            time(micros.rem_euclid(DAY), out)?;
            if with_zone {
                out.extend_from_slice(b"+00");
            }
            era(before_christ, out);
        }
    }
    Some(())
}

/// Microseconds, days and months, each with a sign of its own. Since PostgreSQL 17 the largest and smallest of all three are
/// infinite.
pub(super) fn interval(input: &mut Input<'_>, out: &mut Vec<u8>) -> Option<()> {
    let (micros, days, months) = (input.i64()?, input.i32()?, input.i32()?);
    match (micros, days, months) {
        (i64::MAX, i32::MAX, i32::MAX) => out.extend_from_slice(b"infinity"),
        (i64::MIN, i32::MIN, i32::MIN) => out.extend_from_slice(b"-infinity"),
        _ => {
            let mut after_negative = None;
            for (value, unit) in [(months / 12, "year"), (months % 12, "mon"), (days, "day")] {
                if value == 0 {
                    continue;
                }
                if after_negative.is_some() {
                    out.push(b' ');
                }
                let sign: &[u8] = match value {
                    ..0 => b"-",
                    _ if after_negative == Some(true) => b"+",
                    _ => b"",
                };
                out.extend_from_slice(sign);
                padded(u64::from(value.unsigned_abs()), 1, out);
                out.push(b' ');
                out.extend_from_slice(unit.as_bytes());
                if value != 1 {
                    out.push(b's');
                }
                after_negative = Some(value < 0);
            }
            if micros != 0 || after_negative.is_none() {
                if after_negative.is_some() {
                    out.push(b' ');
                }
                let sign: &[u8] = if micros < 0 {
                    b"-"
                } else if after_negative == Some(true) {
                    b"+"
                } else {
                    b""
                };
                out.extend_from_slice(sign);
                padded((micros / HOUR).unsigned_abs(), 2, out);
                minutes_and_seconds((micros % HOUR).abs(), out);
            }
        }
    }
    Some(())
}

/// `:MM:SS`, and a fraction without trailing zeros.
fn minutes_and_seconds(micros: i64, out: &mut Vec<u8>) {
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    out.push(b':');
    padded(part(micros / MINUTE), 2, out);
    out.push(b':');
    padded(part(micros / SECOND % 60), 2, out);
    if micros % SECOND != 0 {
        out.push(b'.');
        padded(part(micros % SECOND), 6, out);
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
}

fn era(before_christ: bool, out: &mut Vec<u8>) {
    if before_christ {
        out.extend_from_slice(b" BC");
    }
}

/// The day that is so many after 2000-01-01 in the Gregorian calendar, carried back for ever; tells whether it is before
/// Christ. Counted in eras of 400 years from 0000-03-01, so that a leap day ends its year.
fn year_to_day(days: i64, out: &mut Vec<u8>) -> bool {
    const ERA_DAYS: i64 = 146_097;
    const FROM_0000_03_01_TO_2000_01_01: i64 = 730_425;
    let days = days.saturating_add(FROM_0000_03_01_TO_2000_01_01);
    let (era, day_of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let before_christ = year <= 0;
    let shown = if before_christ { 1 - year } else { year };
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    padded(part(shown), 4, out);
    out.push(b'-');
    padded(part(month), 2, out);
    out.push(b'-');
    padded(part(day), 2, out);
    before_christ
}
