//! `->` and `->>`. A part of a `jsonb` value's text is the part's own text, so nothing is made anew.

use serde_json::value::RawValue;

use super::value::{Evaluated, Fault, Value};

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// An object's member.
    Key(&'a str),
    /// An array's element, from 0; counted from the end if negative.
    Index(i64),
}

/// The part of a document; as text, strings lose their quotes and `null` is NULL.
pub(super) fn get<'r>(document: &str, step: Step<'_>, as_text: bool) -> Evaluated<'r> {
    let strange = |_| Fault::refused("22P02", "invalid input syntax for type json");
    let found = match (step, document.as_bytes().first()) {
        (Step::Key(key), Some(b'{')) => {
            let mut members: Members<'_> = serde_json::from_str(document).map_err(strange)?;
            let at = members.0.iter().position(|(name, _)| name == key);
            at.map(|at| members.0.swap_remove(at).1.get().to_owned())
        }
        (Step::Index(index), Some(b'[')) => {
            let elements: Vec<&RawValue> = serde_json::from_str(document).map_err(strange)?;
            let length = i64::try_from(elements.len()).unwrap_or(i64::MAX);
            let at = if index < 0 { length.saturating_add(index) } else { index };
            usize::try_from(at).ok().and_then(|at| elements.get(at)).map(|element| element.get().to_owned())
        }
        // PostgreSQL keeps a lone scalar as an array of one.
        (Step::Index(0 | -1), Some(first)) if *first != b'{' => Some(document.to_owned()),
        _ => None,
    };
    match found {
        None => Ok(Value::Null),
        Some(part) if !as_text => Ok(Value::text(part)),
        Some(part) if part == "null" => Ok(Value::Null),
        Some(part) if part.starts_with('"') => Ok(Value::text(serde_json::from_str::<String>(&part).map_err(strange)?)),
        Some(part) => Ok(Value::text(part)),
    }
}

/// An object's members as they are written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> serde::Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}
