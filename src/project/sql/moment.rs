//! Dates and times: read, cast, cut and taken apart. The time zone is UTC, as in our sessions.

use super::numeric::Numeric;
use super::types::Type;
use super::value::{Evaluated, Fault, Value};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// 2000-01-01 counted from 1970-01-01.
const EPOCH_DAYS: i64 = 10_957;

/// A unit of time, in the words of `date_trunc` and `extract`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Microsecond,
    Millisecond,
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
    Quarter,
    Year,
    IsoYear,
    DayOfWeek,
    IsoDayOfWeek,
    DayOfYear,
    Epoch,
}

impl Unit {
    /// The units that `date_trunc` takes.
    pub(super) const WHOLE: &'static str =
        "microseconds, milliseconds, second, minute, hour, day, week, month, quarter, year";
    /// Those of `extract`.
    pub(super) const PARTS: &'static str = "year, isoyear, quarter, month, week, day, doy, dow, isodow, hour, minute, second, \
                                            milliseconds, microseconds, epoch";

    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "microseconds" | "microsecond" => Unit::Microsecond,
            "milliseconds" | "millisecond" => Unit::Millisecond,
            "second" | "seconds" => Unit::Second,
            "minute" | "minutes" => Unit::Minute,
            "hour" | "hours" => Unit::Hour,
            "day" | "days" => Unit::Day,
            "week" | "weeks" => Unit::Week,
            "month" | "months" => Unit::Month,
            "quarter" => Unit::Quarter,
            "year" | "years" => Unit::Year,
            "isoyear" => Unit::IsoYear,
            "dow" => Unit::DayOfWeek,
            "isodow" => Unit::IsoDayOfWeek,
            "doy" => Unit::DayOfYear,
            "epoch" => Unit::Epoch,
            _ => return None,
        })
    }

    /// Whether a moment can be cut down to it.
    pub(super) const fn is_whole(self) -> bool {
        !matches!(self, Unit::IsoYear | Unit::DayOfWeek | Unit::IsoDayOfWeek | Unit::DayOfYear | Unit::Epoch)
    }

    /// Whether a date has no such part.
    pub(super) const fn is_of_time(self) -> bool {
        matches!(self, Unit::Microsecond | Unit::Millisecond | Unit::Second | Unit::Minute | Unit::Hour)
    }

    /// Whether it grows for ever, so that it is infinite of an infinite moment.
    const fn grows(self) -> bool {
        matches!(self, Unit::Year | Unit::IsoYear | Unit::Epoch)
    }
}

/// A day of the Gregorian calendar; year 0 is 1 BC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Day {
    year: i64,
    month: i64,
    day: i64,
}

impl Day {
    /// Days since 2000-01-01. Counted from the first of March, so that a leap day ends its year.
    fn number(self) -> i64 {
        let year = if self.month <= 2 { self.year - 1 } else { self.year };
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let day_of_year = (153 * ((self.month + 9) % 12) + 2) / 5 + self.day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 730_425
    }

    fn of(number: i64) -> Self {
        let number = number + 730_425;
        let (era, day_of_era) = (number.div_euclid(146_097), number.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Day { year, month, day: day_of_year - (153 * from_march + 2) / 5 + 1 }
    }

    fn is_real(self) -> bool {
        (1..=12).contains(&self.month) && self.day >= 1 && Day::of(self.number()) == self
    }
}

/// 1 is Monday.
fn weekday(days: i64) -> i64 {
    // 2000-01-01 was a Saturday.
    (days + 5).rem_euclid(7) + 1
}

/// The day, and the microseconds since it began.
fn split(value: &Value<'_>) -> Result<(i64, i64), Fault> {
    match value {
        Value::Date(days) => Ok((i64::from(*days), 0)),
        Value::Moment(micros) => Ok((micros.div_euclid(DAY), micros.rem_euclid(DAY))),
        _ => Err(Fault::confused()),
    }
}

/// Some if it is infinite: whether it is the last.
fn infinity(value: &Value<'_>) -> Option<bool> {
    match value {
        Value::Date(i32::MAX) | Value::Moment(i64::MAX) => Some(true),
        Value::Date(i32::MIN) | Value::Moment(i64::MIN) => Some(false),
        _ => None,
    }
}

fn beyond(kind: Type) -> Fault {
    let what = if kind == Type::Date { "date" } else { "timestamp" };
    Fault::refused("22008", format!("{what} out of range"))
}

/// A moment, if PostgreSQL has it: 4714-11-24 BC to 294276 AD.
fn moment<'r>(days: i64, micros: i64) -> Evaluated<'r> {
    let first = Day { year: -4713, month: 11, day: 24 }.number();
    let end = Day { year: 294_277, month: 1, day: 1 }.number();
    if !(first..end).contains(&days) {
        return Err(beyond(Type::Timestamp));
    }
    Ok(Value::Moment(days * DAY + micros))
}

/// A date, if PostgreSQL has it: 4714-11-24 BC to 5874897 AD.
fn date<'r>(days: i64) -> Evaluated<'r> {
    let first = Day { year: -4713, month: 11, day: 24 }.number();
    let end = Day { year: 5_874_898, month: 1, day: 1 }.number();
    let fits = (first..end).contains(&days);
    i32::try_from(days).ok().filter(|_| fits).map(Value::Date).ok_or_else(|| beyond(Type::Date))
}

/// From one of the three types to another.
pub(super) fn cast<'r>(value: Value<'_>, to: Type) -> Evaluated<'r> {
    let last = infinity(&value);
    match (to, last) {
        (Type::Date, Some(last)) => Ok(Value::Date(if last { i32::MAX } else { i32::MIN })),
        (_, Some(last)) => Ok(Value::Moment(if last { i64::MAX } else { i64::MIN })),
        (Type::Date, None) => date(split(&value)?.0),
        (_, None) => {
            let (days, micros) = split(&value)?;
            moment(days, micros)
        }
    }
}

/// For comparing: a date too far for a timestamp is above all of them.
pub(super) fn widen(value: Value<'_>) -> Result<i64, Fault> {
    match (infinity(&value), value) {
        (Some(last), _) => Ok(if last { i64::MAX } else { i64::MIN }),
        (None, Value::Date(days)) => Ok(i64::from(days).checked_mul(DAY).unwrap_or(i64::MAX - 1)),
        (None, Value::Moment(micros)) => Ok(micros),
        _ => Err(Fault::confused()),
    }
}

/// `date + integer`.
pub(super) fn plus_days<'r>(value: &Value<'_>, days: i64) -> Evaluated<'r> {
    match value {
        Value::Date(i32::MAX | i32::MIN) => Ok(Value::Date(split(value)?.0.try_into().map_err(|_| Fault::confused())?)),
        Value::Date(from) => date(i64::from(*from).saturating_add(days)),
        _ => Err(Fault::confused()),
    }
}

/// `date - date`.
pub(super) fn days_between<'r>(later: &Value<'_>, earlier: &Value<'_>) -> Evaluated<'r> {
    if infinity(later).is_some() || infinity(earlier).is_some() {
        return Err(Fault::refused("22008", "cannot subtract infinite dates"));
    }
    Ok(Value::Integer(split(later)?.0 - split(earlier)?.0))
}

/// `date_trunc`.
pub(super) fn truncate<'r>(unit: Unit, value: &Value<'_>) -> Evaluated<'r> {
    if infinity(value).is_some() {
        return cast(value.clone(), Type::Timestamp);
    }
    let (days, micros) = split(value)?;
    let day = Day::of(days);
    let whole = |unit: i64| moment(days, micros - micros.rem_euclid(unit));
    match unit {
        Unit::Microsecond => moment(days, micros),
        Unit::Millisecond => whole(1000),
        Unit::Second => whole(SECOND),
        Unit::Minute => whole(MINUTE),
        Unit::Hour => whole(HOUR),
        Unit::Day => moment(days, 0),
        Unit::Week => moment(days - weekday(days) + 1, 0),
        Unit::Month => moment(Day { day: 1, ..day }.number(), 0),
        Unit::Quarter => moment(Day { day: 1, month: (day.month - 1) / 3 * 3 + 1, ..day }.number(), 0),
        Unit::Year => moment(Day { day: 1, month: 1, ..day }.number(), 0),
        Unit::IsoYear | Unit::DayOfWeek | Unit::IsoDayOfWeek | Unit::DayOfYear | Unit::Epoch => Err(Fault::confused()),
    }
}

/// `extract`.
pub(super) fn extract<'r>(unit: Unit, value: &Value<'_>) -> Evaluated<'r> {
    if let Some(last) = infinity(value) {
        let number = if last { Numeric::Infinity } else { Numeric::MinusInfinity };
        return Ok(if unit.grows() { Value::Numeric(number) } else { Value::Null });
    }
    let (days, micros) = split(value)?;
    let day = Day::of(days);
    let number = match unit {
        Unit::Microsecond => micros % MINUTE,
        Unit::Millisecond => return Ok(Value::Numeric(Numeric::scaled(micros % MINUTE, 3))),
        Unit::Second => return Ok(Value::Numeric(Numeric::scaled(micros % MINUTE, 6))),
        Unit::Minute => micros % HOUR / MINUTE,
        Unit::Hour => micros / HOUR,
        Unit::Day => day.day,
        Unit::Week => iso(days).1,
        Unit::Month => day.month,
        Unit::Quarter => (day.month - 1) / 3 + 1,
        Unit::Year => shown(day.year),
        Unit::IsoYear => shown(iso(days).0),
        Unit::DayOfWeek => weekday(days) % 7,
        Unit::IsoDayOfWeek => weekday(days),
        Unit::DayOfYear => days - Day { month: 1, day: 1, ..day }.number() + 1,
        Unit::Epoch => {
            let seconds = (days + EPOCH_DAYS) * (DAY / SECOND);
            if matches!(value, Value::Date(_)) {
                seconds
            } else {
                return Ok(Value::Numeric(Numeric::scaled(seconds, 0).plus(&Numeric::scaled(micros, 6))?));
            }
        }
    };
    Ok(Value::Numeric(Numeric::integer(number)))
}

/// There is no year 0.
const fn shown(year: i64) -> i64 {
    if year > 0 { year } else { year - 1 }
}

/// The year and the week by ISO 8601: a week belongs to the year that its Thursday lies in.
fn iso(days: i64) -> (i64, i64) {
    let thursday = days - weekday(days) + 4;
    let year = Day::of(thursday).year;
    (year, (thursday - Day { year, month: 1, day: 1 }.number()) / 7 + 1)
}

/// As `extract(epoch from …)` counts them, in floating point.
#[expect(clippy::cast_precision_loss, reason = "a microsecond of this century survives it")]
pub(super) fn seconds_since_1970(value: &Value<'_>) -> Option<f64> {
    if let Some(last) = infinity(value) {
        return Some(if last { f64::INFINITY } else { f64::NEG_INFINITY });
    }
    let (days, micros) = split(value).ok()?;
    let seconds = (days + EPOCH_DAYS) * (DAY / SECOND) + micros / SECOND;
    Some(seconds as f64 + (micros % SECOND) as f64 / SECOND as f64)
}

/// What the input function makes of a text in ISO form. The other forms that PostgreSQL knows depend on settings, and are refused.
pub(super) fn parse<'r>(text: &str, kind: Type) -> Evaluated<'r> {
    let last = match text.to_ascii_lowercase().as_str() {
        "infinity" => Some(true),
        "-infinity" => Some(false),
        _ => None,
    };
    if let Some(last) = last {
        return cast(Value::Moment(if last { i64::MAX } else { i64::MIN }), kind);
    }
    let strange = || {
        let message = format!("\"{text}\" is not in the form of a {kind} that is known here: 2026-11-24 10:00:00+00");
        Fault::refused("22007", message)
    };
    let (plain, is_bc) = text.strip_suffix(" BC").map_or((text, false), |plain| (plain, true));
    let (day, time) = plain.split_once([' ', 'T']).unwrap_or((plain, ""));
    let mut parts = day.split('-');
    let mut part = |width: std::ops::RangeInclusive<usize>| {
        let digits = parts.next().filter(|part| width.contains(&part.len()))?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse::<i64>().ok())?
    };
    let (Some(year), Some(month), Some(of_month)) = (part(4..=7), part(2..=2), part(2..=2)) else {
        return Err(strange());
    };
    if parts.next().is_some() || year == 0 {
        return Err(strange());
    }
    let day = Day { year: if is_bc { 1 - year } else { year }, month, day: of_month };
    if !day.is_real() {
        return Err(Fault::refused("22008", format!("date/time field value out of range: \"{text}\"")));
    }
    let (micros, offset) = if time.is_empty() { (0, 0) } else { time_of_day(time).ok_or_else(strange)? };
    match kind {
        Type::Date => date(day.number()),
        Type::Timestamp => moment(day.number() + micros / DAY, micros % DAY),
        _ => {
            let utc = micros - offset;
            moment(day.number() + utc.div_euclid(DAY), utc.rem_euclid(DAY))
        }
    }
}

/// `10:00[:00[.5]][+02[:30]]`: microseconds, and how many of them the zone is ahead of UTC.
fn time_of_day(text: &str) -> Option<(i64, i64)> {
    let (time, zone) = match text.find(['+', '-', 'Z']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    let two = |part: &str, limit: i64| {
        let number: i64 = part.parse().ok()?;
        (part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()) && number <= limit).then_some(number)
    };
    let mut parts = time.split(':');
    let (hour, minute) = (two(parts.next()?, 24)?, two(parts.next()?, 59)?);
    let seconds = parts.next().unwrap_or("00");
    let (second, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let second = two(second, 59)?;
    if parts.next().is_some() || fraction.is_empty() || fraction.len() > 6 {
        return None;
    }
    let fraction = fraction.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("{fraction:0<6}"))?;
    let micros = hour * HOUR + minute * MINUTE + second * SECOND + fraction.parse::<i64>().ok()?;
    (micros <= DAY).then_some(())?;
    let offset = match zone.split_at_checked(1) {
        None => 0,
        Some(("Z", "")) => 0,
        Some((sign, rest)) => {
            let (hours, minutes) = rest.split_once(':').unwrap_or((rest, "00"));
            let ahead = two(hours, 15)? * HOUR + two(minutes, 59)? * MINUTE;
            match sign {
                "+" => ahead,
                "-" => -ahead,
                _ => return None,
            }
        }
    };
    Some((micros, offset))
}
