//! A document as its readers find it, in a form in which two can be compared: what stands in a target, and what a row should look like there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::whole;
use crate::decode::json;
use crate::project::mutation::Document;

/// See the module. Two are the same if their texts are, or if they are JSON objects with the same members, whose values are the same to the byte: the order
/// of members means nothing, and all else does. A missing member is not `null`.
#[derive(Clone, Debug)]
pub struct Image {
    text: String,
    is_foreign: bool,
}

/// What readers find once a document has been put; `None` if values are missing from it.
pub type Imager = Arc<dyn Fn(&Document) -> Option<Image> + Send + Sync>;

impl Image {
    /// A document that is a JSON object: the text as it stands in the target. It may be anything, if somebody has put it there.
    #[must_use]
    pub fn of_json(text: String) -> Self {
        Image { text, is_foreign: false }
    }

    /// A row as targets of JSON documents are given it; `None` if values are missing from it.
    #[must_use]
    pub fn of_row(document: &Document) -> Option<Self> {
        whole::source(&document.relation, &document.row, None).map(Image::of_json)
    }

    /// A document of named texts, in any order; bytes that are no text are told in hex.
    #[must_use]
    pub fn of_fields<'a>(fields: impl IntoIterator<Item = (&'a [u8], &'a [u8])>) -> Self {
        let sorted: BTreeMap<&[u8], &[u8]> = fields.into_iter().collect();
        let mut out = vec![b'{'];
        for (name, value) in sorted {
            if out.len() > 1 {
                out.push(b',');
            }
            write_bytes(name, &mut out);
            out.push(b':');
            write_bytes(value, &mut out);
        }
        out.push(b'}');
        Image::of_json(String::from_utf8_lossy(&out).into_owned())
    }

    /// Something that no put of ours leaves, and that is like nothing else; what, in words.
    #[must_use]
    pub fn foreign(what: impl Into<String>) -> Self {
        Image { text: what.into(), is_foreign: true }
    }

    /// JSON, or, of what is foreign, words.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    fn members(&self) -> Option<BTreeMap<String, &str>> {
        let members: BTreeMap<String, &RawValue> = serde_json::from_str(&self.text).ok()?;
        Some(members.into_iter().map(|(name, value)| (name, value.get())).collect())
    }
}

impl PartialEq for Image {
    fn eq(&self, other: &Self) -> bool {
        let are_ours = !self.is_foreign && !other.is_foreign;
        are_ours && (self.text == other.text || self.members().is_some_and(|ours| Some(ours) == other.members()))
    }
}

impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    match str::from_utf8(bytes) {
        Ok(text) => _ = json::write_string(text.as_bytes(), out),
        Err(_) => json::write_hex(bytes, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Image {
        Image::of_json(text.to_owned())
    }

    #[test]
    fn members_in_another_order_are_the_same_document_and_every_other_difference_counts() {
        let one = r#"{"a":1,"b":{"c":[1, 2]},"n":null}"#;
        assert_eq!(json(one), json(r#"{ "n":null, "b":{"c":[1, 2]},"a":1}"#));
        for other in [
            r#"{"a":1.0,"b":{"c":[1, 2]},"n":null}"#,
            r#"{"a":1,"b":{"c":[2, 1]},"n":null}"#,
            r#"{"a":1,"b":{"c":[1, 2]}}"#,
            r#"{"a":1,"b":{"c":[1, 2]},"n":null,"more":1}"#,
            "",
            "[]",
            "no JSON",
        ] {
            assert_ne!(json(one), json(other), "{other}");
        }
        assert_eq!(json("no JSON"), json("no JSON"), "the same bytes");
        assert_ne!(Image::foreign("a list"), Image::foreign("a list"));
    }

    #[test]
    fn fields_are_told_in_one_order_and_bytes_that_are_no_text_stay_apart() {
        let fields = |pairs: &[(&'static [u8], &'static [u8])]| Image::of_fields(pairs.iter().copied());
        let one = fields(&[(b"b", b"2"), (b"a", b"\"x\"")]);
        assert_eq!(one.text(), r#"{"a":"\"x\"","b":"2"}"#);
        assert_eq!(one, fields(&[(b"a", b"\"x\""), (b"b", b"2")]));
        assert_ne!(fields(&[(b"a", b"\xff")]), fields(&[(b"a", b"\xfe")]));
    }
}
