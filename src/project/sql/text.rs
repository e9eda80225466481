//! Functions of text. Characters are counted, not bytes.

use std::borrow::Cow;

use super::value::{Evaluated, Fault, Value};

/// Upper or lower case, letter by letter, as a database with a UTF-8 locale has it; `ascii`: as collation `C` has it.
pub(super) fn change_case(text: &str, upper: bool, ascii: bool) -> String {
    let one = |character: char| {
        if ascii || character.is_ascii() {
            return if upper { character.to_ascii_uppercase() } else { character.to_ascii_lowercase() };
        }
        // A letter that becomes several stays, as it does in C's towupper and towlower; but one has a simple form, too.
        let alone = |mut mapped: Box<dyn Iterator<Item = char>>| match (mapped.next(), mapped.next()) {
            (Some(only), None) => only,
            _ if character == '\u{130}' => 'i',
            _ => character,
        };
        if upper { alone(Box::new(character.to_uppercase())) } else { alone(Box::new(character.to_lowercase())) }
    };
    text.chars().map(one).collect()
}

/// How many characters; fits any type, for a value has at most 2^30 bytes.
pub(super) fn length(text: &str) -> i64 {
    i64::try_from(text.chars().count()).unwrap_or(i64::MAX)
}

/// The characters from `start` on (the first is 0), so many of them.
fn slice(text: &str, start: i64, count: i64) -> String {
    let number = |number: i64| usize::try_from(number.max(0)).unwrap_or(usize::MAX);
    text.chars().skip(number(start)).take(number(count)).collect()
}

/// `left`: the first so many; if negative, all but the last so many.
pub(super) fn left(text: &str, count: i64) -> String {
    slice(text, 0, if count < 0 { length(text).saturating_add(count) } else { count })
}

/// `right`: the last so many; if negative, all but the first so many.
pub(super) fn right(text: &str, count: i64) -> String {
    let skipped = if count < 0 { count.saturating_neg() } else { length(text).saturating_sub(count) };
    slice(text, skipped, i64::MAX)
}

/// `substring(text from start for count)`.
pub(super) fn substring<'r>(text: &str, start: i64, count: Option<i64>) -> Evaluated<'r> {
    let Some(count) = count else { return Ok(Value::text(slice(text, start.saturating_sub(1), i64::MAX))) };
    if count < 0 {
        return Err(Fault::refused("22011", "negative substring length not allowed"));
    }
    // What lies before the first character is counted, and is nothing.
    let end = start.saturating_add(count);
    let start = start.max(1);
    Ok(Value::text(slice(text, start - 1, end.saturating_sub(start))))
}

/// `split_part`.
pub(super) fn split_part<'r>(text: &str, delimiter: &str, field: i64) -> Evaluated<'r> {
    if field == 0 {
        return Err(Fault::refused("22023", "field position must not be zero"));
    }
    let parts: Vec<&str> = match (text, delimiter) {
        ("", _) => Vec::new(),
        (whole, "") => vec![whole],
        (whole, delimiter) => whole.split(delimiter).collect(),
    };
    let length = i64::try_from(parts.len()).unwrap_or(i64::MAX);
    let at = if field < 0 { length.saturating_add(field) } else { field - 1 };
    let part = usize::try_from(at).ok().and_then(|at| parts.get(at)).copied().unwrap_or_default();
    Ok(Value::text(part.to_owned()))
}

/// `replace`: nothing is replaced by anything.
pub(super) fn replace(text: &str, from: &str, to: &str) -> String {
    if from.is_empty() { text.to_owned() } else { text.replace(from, to) }
}

/// `strpos`: where it begins, counted from 1; 0 if it is not there.
pub(super) fn position(text: &str, part: &str) -> i64 {
    text.find(part).and_then(|at| text.get(..at)).map_or(0, |before| length(before) + 1)
}

/// `btrim`, `ltrim`, `rtrim`.
pub(super) fn trim<'t>(text: Cow<'t, str>, set: &str, start: bool, end: bool) -> Cow<'t, str> {
    let is_one = |character: char| set.contains(character);
    let mut trimmed = text.as_ref();
    if start {
        trimmed = trimmed.trim_start_matches(is_one);
    }
    if end {
        trimmed = trimmed.trim_end_matches(is_one);
    }
    if trimmed.len() == text.len() { text } else { Cow::Owned(trimmed.to_owned()) }
}
