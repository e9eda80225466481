//! PostgreSQL's array text (manual: "Array Input and Output Syntax") as JSON arrays.
//!
//! `{1,NULL,"a \"b\""}`, nested by dimension. An array whose bounds do not begin at 1 is written with a prefix, as in
//! `[0:1]={7,8}`; JSON has no place for bounds, so such an array is left to be written as a string: nothing is lost.

use super::json::write_scalar;
use crate::event::Scalar;

/// PostgreSQL's own limit (`MAXDIM`).
const DIMENSIONS_MAX: u32 = 6;

/// Writes the array; `None` if the text is not one that JSON can hold.
pub(super) fn write(element: Scalar, delimiter: u8, text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    write_each(delimiter, text, out, |value, out| write_scalar(element, value, out))
}

/// The same with elements that `each` writes, given their text.
pub(crate) fn write_each(
    delimiter: u8,
    text: &[u8],
    out: &mut Vec<u8>,
    mut each: impl FnMut(&[u8], &mut Vec<u8>),
) -> Option<()> {
    walk(delimiter, text, &mut |part| match part {
        Part::Open => out.push(b'['),
        Part::Close => out.push(b']'),
        Part::Next => out.push(b','),
        Part::Null => out.extend_from_slice(b"null"),
        Part::Value(text) => each(text, out),
    })
}

/// What an array's text consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// A dimension begins.
    Open,
    /// It ends.
    Close,
    /// What is between two elements, or two dimensions.
    Next,
    /// An element that is NULL.
    Null,
    /// An element's text.
    Value(&'a [u8]),
}

/// Gives the parts one by one; `None` if the text is not an array's, or has bounds in front.
pub(crate) fn walk(delimiter: u8, text: &[u8], take: &mut impl FnMut(Part<'_>)) -> Option<()> {
    let mut rest = text;
    let mut depth = 0_u32;
    loop {
        rest = match (rest.split_first()?, depth) {
            ((b'{', after), 0..DIMENSIONS_MAX) => {
                depth = depth.saturating_add(1);
                take(Part::Open);
                if after.first() != Some(&b'}') {
                    rest = after;
                    continue;
                }
                after
            }
            ((b'"', after), 1..) => take_quoted(after, take)?,
            (_, 1..) => take_bare(delimiter, rest, take)?,
            _ => return None,
        };
        // An element or an empty array has ended: close what ends with it.
        while let Some((b'}', after)) = rest.split_first() {
            depth = depth.checked_sub(1)?;
            take(Part::Close);
            rest = after;
        }
        match (rest.split_first(), depth) {
            (None, 0) => return Some(()),
            (Some((&byte, after)), 1..) if byte == delimiter => {
                take(Part::Next);
                rest = after;
            }
            _ => return None,
        }
    }
}

/// Takes an element without quotes, and returns what follows it.
fn take_bare<'a>(delimiter: u8, text: &'a [u8], take: &mut impl FnMut(Part<'_>)) -> Option<&'a [u8]> {
    let end = text.iter().position(|&byte| byte == delimiter || byte == b'}')?;
    let (value, rest) = text.split_at_checked(end)?;
    // PostgreSQL quotes an element that is empty or has one of these.
    if value.is_empty() || value.iter().any(|byte| matches!(byte, b'{' | b'"' | b'\\')) {
        return None;
    }
    take(if value == b"NULL" { Part::Null } else { Part::Value(value) });
    Some(rest)
}

/// Takes an element whose opening quote has been taken, and returns what follows its closing one.
fn take_quoted<'a>(text: &'a [u8], take: &mut impl FnMut(Part<'_>)) -> Option<&'a [u8]> {
    let ends_run = |byte: &u8| matches!(byte, b'"' | b'\\');
    let (run, mut rest) = text.split_at_checked(text.iter().position(ends_run)?)?;
    if let Some((b'"', after)) = rest.split_first() {
        take(Part::Value(run));
        return Some(after);
    }
    let mut value = run.to_vec();
    loop {
        let (&byte, after) = rest.split_first()?;
        if byte == b'"' {
            take(Part::Value(&value));
            return Some(after);
        }
        // The character after a backslash stands for itself.
        let (&escaped, after) = after.split_first()?;
        value.push(escaped);
        let (run, after) = after.split_at_checked(after.iter().position(ends_run)?)?;
        value.extend_from_slice(run);
        rest = after;
    }
}

/// An element as `array_out` writes it, quoted where its text could be read as something else.
pub(crate) fn put_element(text: &[u8], delimiter: u8, out: &mut Vec<u8>) {
    let special = |&byte: &u8| matches!(byte, b'"' | b'\\' | b'{' | b'}') || byte == delimiter || is_space(byte);
    if !text.is_empty() && !text.eq_ignore_ascii_case(b"NULL") && !text.iter().any(special) {
        out.extend_from_slice(text);
        return;
    }
    put_quoted(text, out);
}

/// The same, quoted whatever it is.
pub(crate) fn put_quoted(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// `array_isspace`, `isspace` in the C locale.
pub(super) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(element: Scalar, delimiter: u8, text: &str) -> Option<String> {
        let mut out = Vec::new();
        write(element, delimiter, text.as_bytes(), &mut out)?;
        Some(String::from_utf8(out).expect("JSON is UTF-8"))
    }

    #[test]
    fn arrays_become_arrays_of_the_same_shape() {
        for (element, text, expected) in [
            (Scalar::Integer, "{}", "[]"),
            (Scalar::Integer, "{1,NULL,-3}", "[1,null,-3]"),
            (Scalar::Integer, "{{1,2},{3,NULL}}", "[[1,2],[3,null]]"),
            (Scalar::Integer, "{{{{{{1}}}}}}", "[[[[[[1]]]]]]"),
            (
                Scalar::Text,
                r#"{a,"",NULL,"NULL","b,c","d\"e","f\\g","{}"}"#,
                r#"["a","",null,"NULL","b,c","d\"e","f\\g","{}"]"#,
            ),
            (Scalar::Text, "{é,\"x y\"}", r#"["é","x y"]"#),
            (Scalar::Boolean, "{t,f}", "[true,false]"),
            (Scalar::Float, "{1.5,NaN}", r#"[1.5,"NaN"]"#),
            (Scalar::Json, r#"{"{\"a\": [1]}",null,"\"s\""}"#, r#"[{"a": [1]},null,"s"]"#),
            (Scalar::TimestampTz, r#"{"2026-11-24 10:00:00+00"}"#, r#"["2026-11-24T10:00:00Z"]"#),
            (Scalar::Bytea, r#"{"\\xdead"}"#, r#"["\\xdead"]"#),
        ] {
            assert_eq!(json(element, b',', text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn boxes_are_separated_by_semicolons_because_they_hold_commas() {
        let expected = r#"["(1,1),(0,0)","(2,2),(1,1)"]"#;
        assert_eq!(json(Scalar::Text, b';', "{(1,1),(0,0);(2,2),(1,1)}").as_deref(), Some(expected));
    }

    #[test]
    fn text_that_json_cannot_hold_or_that_is_no_array_is_declined() {
        for text in [
            "",
            "{",
            "}",
            "1",
            "{1",
            "{1,",
            "{1,}",
            "{,1}",
            "{1}}",
            "{1}x",
            "{{1}",
            "{{{{{{{1}}}}}}}",
            "{\"a}",
            "{\"a\\",
            "{\"a\"b}",
            "{a\"b}",
            "{a{b}",
            "{{}1}",
            "[0:1]={7,8}",
            "{1 , \"",
            "{a\\b}",
            "NULL",
        ] {
            assert_eq!(json(Scalar::Text, b',', text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_array_of_text_survives(elements in prop::collection::vec(any::<Option<String>>(), 0..10)) {
            // Quoted throughout, which is array_out's form for anything unusual.
            let quoted = |element: &Option<String>| element.as_ref().map_or("NULL".to_owned(), |text| {
                format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
            });
            let text = format!("{{{}}}", elements.iter().map(quoted).collect::<Vec<_>>().join(","));
            let written = json(Scalar::Text, b',', &text).expect("an array");
            let parsed: Vec<Option<String>> = serde_json::from_str(&written).expect("JSON");
            prop_assert_eq!(parsed, elements);
        }
    }
}
