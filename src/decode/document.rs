//! `json` and `jsonb` values, embedded as they are.
//!
//! PostgreSQL has checked its own values, but it takes more than many readers do, and one cell must not spoil a whole
//! line. So a value is embedded only if any parser can read it: valid by the grammar (RFC 8259), nested at most
//! [`DEPTH_MAX`] deep (PostgreSQL allows thousands; common parsers stop at 128), no number beyond a double's range
//! (`1e400`), and no unpaired surrogate escape, which `json` lets pass (`"\ud800"`). Any other value is left to be
//! written as a string. The check does not recurse and allocates nothing.

use super::json::{number_length, plain_length};

/// Leaves room for what stands around the value: the event, the row, six dimensions of an array.
const DEPTH_MAX: u32 = 100;

/// Writes the value; `None` if it must not be embedded.
pub(super) fn write(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    std::str::from_utf8(text).ok()?;
    Scanner { rest: text, depth: 0, objects: 0 }.document()?;
    // In a valid value these stand between tokens only, where they mean nothing and a line break would end the line.
    let breaks = |&byte: &u8| matches!(byte, b'\n' | b'\r' | b'\t');
    text.trim_ascii().split(breaks).for_each(|run| out.extend_from_slice(run));
    Some(())
}

/// Checks a value token by token. Every step is `None` at the first byte that does not belong there.
struct Scanner<'a> {
    rest: &'a [u8],
    /// How many arrays and objects are open.
    depth: u32,
    /// One bit for each of them, the innermost lowest: whether it is an object.
    objects: u128,
}

impl<'a> Scanner<'a> {
    fn document(mut self) -> Option<()> {
        loop {
            self.skip_space();
            match *self.rest.first()? {
                b'{' => {
                    self.open(true)?;
                    if !self.closes(b'}') {
                        self.key()?;
                        continue;
                    }
                }
                b'[' => {
                    self.open(false)?;
                    if !self.closes(b']') {
                        continue;
                    }
                }
                first => self.scalar(first)?,
            }
            if !self.another_value_follows()? {
                return Some(());
            }
        }
    }

    /// After a value: closes what ends here, and tells whether another value must follow.
    fn another_value_follows(&mut self) -> Option<bool> {
        while self.depth > 0 {
            match (self.token()?, self.objects & 1 == 1) {
                (b',', true) => return self.key().map(|()| true),
                (b',', false) => return Some(true),
                (b'}', true) | (b']', false) => self.close(),
                _ => return None,
            }
        }
        self.skip_space();
        self.rest.is_empty().then_some(false)
    }

    /// A value that is no array or object, and begins with this byte.
    fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b'"' => self.string(),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<()> {
        let (number, rest) = self.rest.split_at_checked(number_length(self.rest)?)?;
        self.rest = rest;
        // The largest double has 309 digits, so most numbers need no closer look.
        let moderate = number.len() < 309 && !number.iter().any(|byte| matches!(byte, b'e' | b'E'));
        (moderate || std::str::from_utf8(number).ok()?.parse::<f64>().ok()?.is_finite()).then_some(())
    }

    fn literal(&mut self, rest: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(rest)?;
        Some(())
    }

    /// An object's key and the colon.
    fn key(&mut self) -> Option<()> {
        self.skip_space();
        self.string()?;
        (self.token()? == b':').then_some(())
    }

    fn string(&mut self) -> Option<()> {
        self.literal(b"\"")?;
        loop {
            self.rest = self.rest.get(plain_length(self.rest)..)?;
            match self.byte()? {
                b'"' => return Some(()),
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
    }

    /// The rest of an escape.
    fn escape(&mut self) -> Option<()> {
        match self.byte()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => match self.code_unit()? {
                0xD800..=0xDBFF => {
                    self.literal(b"\\u")?;
                    matches!(self.code_unit()?, 0xDC00..=0xDFFF).then_some(())
                }
                0xDC00..=0xDFFF => None,
                _ => Some(()),
            },
            _ => None,
        }
    }

    /// Four hex digits.
    fn code_unit(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |unit, _| {
            let digit = char::from(self.byte()?).to_digit(16)?;
            Some(unit << 4 | digit)
        })
    }

    /// Takes the bracket that opens an object or an array.
    fn open(&mut self, object: bool) -> Option<()> {
        self.byte()?;
        (self.depth < DEPTH_MAX).then_some(())?;
        self.depth = self.depth.saturating_add(1);
        self.objects = self.objects << 1 | u128::from(object);
        Some(())
    }

    const fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.objects >>= 1;
    }

    /// Whether what was just opened is closed at once.
    fn closes(&mut self, with: u8) -> bool {
        self.skip_space();
        let Some(rest) = self.rest.strip_prefix(&[with]) else { return false };
        self.rest = rest;
        self.close();
        true
    }

    /// The first byte of the next token.
    fn token(&mut self) -> Option<u8> {
        self.skip_space();
        self.byte()
    }

    fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(byte)
    }

    fn skip_space(&mut self) {
        while let Some((b' ' | b'\n' | b'\r' | b'\t', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn json(text: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        write(text, &mut out)?;
        Some(String::from_utf8(out).expect("JSON is UTF-8"))
    }

    #[test]
    fn valid_values_are_embedded_as_they_are() {
        for text in [
            "0",
            "-0",
            "-1.5e+300",
            "1E-400",
            "123456789012345678901234567890",
            "true",
            "false",
            "null",
            "\"\"",
            "[]",
            "{}",
            "[ ]",
            "{ }",
            r#"{"a": 1, "a": 2}"#,
            r#"[[], {}, [{"a": []}]]"#,
            r#""\u0000\ud83e\udd80\"\\\/\b\f\n\r\t""#,
            "\"é\u{2028}\"",
        ] {
            assert_eq!(json(text.as_bytes()).as_deref(), Some(text));
        }
    }

    /// `json` keeps the text it was given, line breaks included. Embedded as they are they would end the event's line.
    #[test]
    fn line_breaks_between_tokens_are_dropped() {
        assert_eq!(json(b"\n{\n\t\"a\\n\" :\r\n [1,\n2]\n}\n").as_deref(), Some(r#"{"a\n" : [1,2]}"#));
    }

    #[test]
    fn invalid_values_are_declined() {
        for text in [
            "",
            " ",
            "tru",
            "truex",
            "nul",
            "01",
            "1.",
            ".5",
            "1e",
            "-",
            "+1",
            "1 2",
            "[1 2]",
            "[1,]",
            "[,1]",
            "{,}",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "[}",
            "{]",
            "[",
            "{",
            "]",
            "}",
            "[1",
            "\"",
            "\"\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u12g4\"",
            "\"\n\"",
            "\"\u{1}\"",
            "[1]]",
            "'a'",
            "NaN",
            "[1]x",
            "\u{feff}1",
        ] {
            assert_eq!(json(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(json(b"\"\xFF\""), None, "not UTF-8");
    }

    /// `json` accepts `"\ud800"`, most parsers do not: one such cell and the reader loses the whole event.
    #[test]
    fn unpaired_surrogates_are_declined() {
        for text in [r#""\ud800""#, r#""\udc00""#, r#""\ud800\ud800""#, r#""\ud800x""#, r#"{"\uDBFF\n": 1}"#] {
            assert_eq!(json(text.as_bytes()), None, "{text}");
        }
    }

    /// Many parsers refuse a number that no double holds, and with it the line.
    #[test]
    fn numbers_beyond_a_double_are_declined() {
        let digits = |count: usize| format!("[{}]", "9".repeat(count));
        for text in ["1e400", "-1e309", "[1, 2E+308]", &digits(309), &digits(100_000)] {
            assert_eq!(json(text.as_bytes()), None, "{text}");
        }
        for text in ["1e308", "0e400", "1e-400", &digits(308), &format!("0.{}", "9".repeat(100_000))] {
            assert_eq!(json(text.as_bytes()).as_deref(), Some(text));
        }
    }

    /// A recursive check would overflow its stack long before PostgreSQL's own limit.
    #[test]
    fn deep_nesting_is_declined_beyond_the_limit_without_recursion() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(json(nested(100).as_bytes()).is_some());
        assert!(json(nested(101).as_bytes()).is_none());
        assert!(json(nested(10_000_000).as_bytes()).is_none());
        let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        assert!(json(objects(100).as_bytes()).is_some());
        assert!(json(objects(101).as_bytes()).is_none());
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// All its numbers are in a double's range.
    fn is_moderate(value: &Value) -> bool {
        match value {
            Value::Number(number) => number.as_f64().is_some(),
            Value::Array(elements) => elements.iter().all(is_moderate),
            Value::Object(members) => members.values().all(is_moderate),
            Value::Null | Value::Bool(_) | Value::String(_) => true,
        }
    }

    proptest! {
        #[test]
        fn every_value_survives_compact_or_pretty(value in value(), pretty: bool) {
            let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.expect("JSON");
            let written = json(&text).expect("valid JSON");
            prop_assert!(!written.contains('\n'));
            prop_assert_eq!(serde_json::from_str::<Value>(&written).expect("JSON"), value);
        }

        #[test]
        fn what_is_embedded_is_json_and_what_is_json_is_embedded(
            text in "[]\\[{}\",:\\\\ntrufalse019.eE+ ud8cD\n-]{0,24}",
        ) {
            let parsed = serde_json::from_str::<Value>(&text);
            prop_assert_eq!(json(text.as_bytes()).is_some(), parsed.is_ok_and(|value| is_moderate(&value)));
        }
    }
}
