//! `LIKE`: `%` for any run of characters, `_` for one, and a character that takes the next as it is.

use super::value::Fault;

/// What comparing has shown.
enum Found {
    Match,
    Mismatch,
    /// And no later place in the text can match, because it is too short.
    TooShort,
}

/// Whether the text fits the pattern. `escape` is `\` unless told otherwise.
pub(super) fn matches(text: &str, pattern: &str, escape: Option<char>) -> Result<bool, Fault> {
    let (text, pattern): (Vec<char>, Vec<char>) = (text.chars().collect(), pattern.chars().collect());
    Ok(matches!(compare(&text, &pattern, escape)?, Found::Match))
}

fn compare(mut text: &[char], mut pattern: &[char], escape: Option<char>) -> Result<Found, Fault> {
    while let (Some((&here, text_rest)), Some((&wanted, pattern_rest))) = (text.split_first(), pattern.split_first()) {
        if Some(wanted) == escape {
            let (&literal, rest) = pattern_rest.split_first().ok_or_else(half_escape)?;
            if literal != here {
                return Ok(Found::Mismatch);
            }
            (text, pattern) = (text_rest, rest);
        } else if wanted == '%' {
            return run(text, pattern_rest, escape);
        } else if wanted == '_' || wanted == here {
            (text, pattern) = (text_rest, pattern_rest);
        } else {
            return Ok(Found::Mismatch);
        }
    }
    if !text.is_empty() {
        return Ok(Found::Mismatch);
    }
    Ok(if pattern.iter().all(|&character| character == '%') { Found::Match } else { Found::TooShort })
}

/// Behind a `%`: the rest of the pattern, from each place of the text on.
fn run(mut text: &[char], mut pattern: &[char], escape: Option<char>) -> Result<Found, Fault> {
    while let Some((&next, rest)) = pattern.split_first().filter(|(next, _)| matches!(next, '%' | '_')) {
        if next == '_' {
            let Some((_, after)) = text.split_first() else { return Ok(Found::TooShort) };
            text = after;
        }
        pattern = rest;
    }
    let first = match pattern {
        [] => return Ok(Found::Match),
        [first, rest @ ..] if Some(*first) == escape => *rest.first().ok_or_else(half_escape)?,
        [first, ..] => *first,
    };
    while let Some((&here, rest)) = text.split_first() {
        if here == first {
            match compare(text, pattern, escape)? {
                Found::Mismatch => {}
                decided => return Ok(decided),
            }
        }
        text = rest;
    }
    Ok(Found::TooShort)
}

fn half_escape() -> Fault {
    Fault::refused("22025", "LIKE pattern must not end with escape character")
}
