//! Dates and times in ISO 8601, from PostgreSQL's `ISO` date style, which our session pins.
//!
//! Years are astronomical, as ISO 8601 counts: 1 BC is `0000`, 44 BC is `-0043`, and a year beyond 9999 has a sign.
//! What has no such form (`infinity`) is left to be written as a string.

/// `2026-11-24 10:00:00.5` as `2026-11-24T10:00:00.5`.
pub(super) fn write_timestamp(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let rest = write_date_and_time(text, out)?;
    close(rest, out)
}

/// `2026-11-24 10:00:00.5+00` as `2026-11-24T10:00:00.5Z`.
pub(super) fn write_timestamptz(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    match write_date_and_time(text, out)? {
        b"+00" => {
            out.push(b'Z');
            close(b"", out)
        }
        offset => write_offset(offset, out),
    }
}

/// `0044-03-15 BC` as `-0043-03-15`.
pub(super) fn write_date(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (text, before_christ) = strip_era(text);
    out.push(b'"');
    let rest = write_year_to_day(text, before_christ, out)?;
    close(rest, out)
}

/// `10:00:00+02` as `10:00:00+02:00`.
pub(super) fn write_timetz(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.push(b'"');
    let offset = write_time(text, out)?;
    write_offset(offset, out)
}

/// Writes a quote, the date, `T` and the time; returns what follows.
fn write_date_and_time<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (text, before_christ) = strip_era(text);
    out.push(b'"');
    let time = write_year_to_day(text, before_christ, out)?.strip_prefix(b" ")?;
    out.push(b'T');
    write_time(time, out)
}

/// Writes the closing quote if nothing is left over.
fn close(rest: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.push(b'"');
    rest.is_empty().then_some(())
}

fn strip_era(text: &[u8]) -> (&[u8], bool) {
    text.strip_suffix(b" BC").map_or((text, false), |text| (text, true))
}

/// Writes the date at the front; returns what follows.
fn write_year_to_day<'a>(text: &'a [u8], before_christ: bool, out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (year, rest) = text.split_at_checked(text.iter().position(|&byte| byte == b'-')?)?;
    let (month_day, rest) = rest.split_first_chunk::<6>()?;
    let [b'-', m1, m2, b'-', d1, d2] = month_day else { return None };
    let plausible = [m1, m2, d1, d2].iter().all(|byte| byte.is_ascii_digit())
        && (4..=7).contains(&year.len())
        && year.iter().all(u8::is_ascii_digit);
    plausible.then_some(())?;
    if before_christ {
        let years = year.iter().fold(0_u32, |sum, digit| sum.saturating_mul(10).saturating_add(u32::from(digit & 15)));
        let years = years.checked_sub(1)?;
        let sign = if years == 0 { "" } else { "-" };
        out.extend_from_slice(format!("{sign}{years:04}").as_bytes());
    } else {
        if year.len() > 4 {
            out.push(b'+');
        }
        out.extend_from_slice(year);
    }
    out.extend_from_slice(month_day);
    Some(rest)
}

/// Writes the time of day at the front; returns what follows.
fn write_time<'a>(text: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let length = text.iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b':' | b'.')).count();
    let (time, rest) = text.split_at_checked(length)?;
    let [h1, h2, b':', m1, m2, b':', s1, s2, fraction @ ..] = time else { return None };
    let numeric = [h1, h2, m1, m2, s1, s2].iter().all(|byte| byte.is_ascii_digit());
    let fraction_is_one = match fraction.split_first() {
        None => true,
        Some((b'.', digits)) => !digits.is_empty() && digits.iter().all(u8::is_ascii_digit),
        Some(_) => false,
    };
    (numeric && fraction_is_one).then_some(())?;
    out.extend_from_slice(time);
    Some(rest)
}

/// Writes an offset with its minutes, and the closing quote. Seconds, which only historical offsets have, are kept.
fn write_offset(offset: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (b'+' | b'-', digits) = offset.split_first()? else { return None };
    let well_formed = matches!(digits.len(), 2 | 5 | 8)
        && digits.chunks(3).all(|part| match part {
            [a, b] | [a, b, b':'] => a.is_ascii_digit() && b.is_ascii_digit(),
            _ => false,
        });
    well_formed.then_some(())?;
    out.extend_from_slice(offset);
    if digits.len() == 2 {
        out.extend_from_slice(b":00");
    }
    close(b"", out)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Write = fn(&[u8], &mut Vec<u8>) -> Option<()>;

    fn json(write: Write, text: &str) -> Option<String> {
        let mut out = Vec::new();
        write(text.as_bytes(), &mut out)?;
        Some(String::from_utf8(out).expect("JSON is UTF-8"))
    }

    #[test]
    fn dates_and_times_are_iso_8601() {
        let cases: [(Write, &str, &str); 17] = [
            (write_date, "2026-11-24", "2026-11-24"),
            (write_date, "0001-01-01", "0001-01-01"),
            (write_date, "0001-12-31 BC", "0000-12-31"),
            (write_date, "0044-03-15 BC", "-0043-03-15"),
            (write_date, "4714-11-24 BC", "-4713-11-24"),
            (write_date, "5874897-12-31", "+5874897-12-31"),
            (write_timestamp, "2026-11-24 10:00:00", "2026-11-24T10:00:00"),
            (write_timestamp, "2026-11-24 10:00:00.000001", "2026-11-24T10:00:00.000001"),
            (write_timestamp, "0044-03-15 12:00:00.5 BC", "-0043-03-15T12:00:00.5"),
            (write_timestamp, "294276-12-31 23:59:59.999999", "+294276-12-31T23:59:59.999999"),
            (write_timestamptz, "2026-11-24 10:00:00.5+00", "2026-11-24T10:00:00.5Z"),
            (write_timestamptz, "0044-03-15 12:00:00+00 BC", "-0043-03-15T12:00:00Z"),
            (write_timestamptz, "2026-11-24 10:00:00+05:30", "2026-11-24T10:00:00+05:30"),
            (write_timetz, "10:00:00+00", "10:00:00+00:00"),
            (write_timetz, "10:00:00.25+02", "10:00:00.25+02:00"),
            (write_timetz, "24:00:00-15:59:59", "24:00:00-15:59:59"),
            (write_timetz, "10:00:00-07:30", "10:00:00-07:30"),
        ];
        for (write, text, expected) in cases {
            assert_eq!(json(write, text), Some(format!("\"{expected}\"")), "{text}");
        }
    }

    #[test]
    fn what_has_no_iso_form_is_declined() {
        let cases: [(Write, &str); 19] = [
            (write_date, ""),
            (write_date, "infinity"),
            (write_date, "-infinity"),
            (write_date, "26-11-24"),
            (write_date, "2026-11-2"),
            (write_date, "2026-11-24x"),
            (write_date, "0000-01-01 BC"),
            (write_date, "24/11/2026"),
            (write_timestamp, "infinity"),
            (write_timestamp, "2026-11-24"),
            (write_timestamp, "2026-11-24 10:00"),
            (write_timestamp, "2026-11-24 10:00:00."),
            (write_timestamp, "2026-11-24 10:00:00+00"),
            (write_timestamptz, "-infinity"),
            (write_timestamptz, "2026-11-24 10:00:00"),
            (write_timestamptz, "2026-11-24 10:00:00+0"),
            (write_timestamptz, "2026-11-24 10:00:00 CET"),
            (write_timetz, "10:00:00"),
            (write_timetz, "10:00:00+2:0"),
        ];
        for (write, text) in cases {
            assert_eq!(json(write, text), None, "{text}");
        }
    }
}
