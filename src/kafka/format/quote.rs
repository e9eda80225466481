//! JSON arrays back into PostgreSQL's array text (manual: "Array Input and Output Syntax").

use serde_json::value::RawValue;

use crate::decode::array::put_element;

/// An array as PostgreSQL writes it; `one` writes the text of an element that is neither `null` nor an array.
pub(super) fn elements(
    delimiter: u8,
    json: &str,
    out: &mut Vec<u8>,
    one: &impl Fn(&str, &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    out.push(b'{');
    let mut text = Vec::new();
    for (index, item) in serde_json::from_str::<Vec<&RawValue>>(json).ok()?.into_iter().enumerate() {
        if index > 0 {
            out.push(delimiter);
        }
        match item.get() {
            "null" => out.extend_from_slice(b"NULL"),
            nested if nested.starts_with('[') => elements(delimiter, nested, out, one)?,
            json => {
                text.clear();
                one(json, &mut text)?;
                put_element(&text, delimiter, out);
            }
        }
    }
    out.push(b'}');
    Some(())
}
