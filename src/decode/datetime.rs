//! Dates and times in ISO 8601, from PostgreSQL's `ISO` date style, which our session pins.
//!
//! Years are astronomical, as ISO 8601 counts: 1 BC is `0000`, 44 BC is `-0043`, and a year beyond 9999 has a sign. What
//! has no such form (`infinity`) is left to be written as a string.

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
