//! Where a document is: in which index, by which routing value, under which id. All of that is in its key.

use serde_json::{Map, Value};

use super::document;
use crate::http::percent_encoded;
use crate::project::key::{INDEX_NAME_BYTES_MAX, Place, is_index_name};
use crate::project::mutation::Key;

/// What the keys of a sink begin with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// The alias of the index is each row's own.
    pub by_index: bool,
    /// A row has a routing value.
    pub by_routing: bool,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whereabouts {
    /// The alias of its index; `None`: the sink has but one.
    pub(super) alias: Option<String>,
    /// `None`: by its id.
    pub(super) routing: Option<String>,
    pub(super) id: String,
}

impl Layout {
    /// Where the document of this key is.
    ///
    /// # Errors
    /// Why it can be nowhere.
    pub(super) fn locate(self, key: &Key) -> Result<Whereabouts, String> {
        let count = usize::from(self.by_index).saturating_add(usize::from(self.by_routing));
        if count == 0 {
            return Ok(Whereabouts { alias: None, routing: None, id: document::id_of(&key.0) });
        }
        let (places, rest) = Place::split(key, count).ok_or("its key does not tell where it is")?;
        let text = |place: &[u8]| String::from_utf8_lossy(place).into_owned();
        let mut places = places.iter().map(|place| text(place));
        let alias = if self.by_index { places.next() } else { None };
        if let Some(alias) = alias.as_ref().filter(|alias| !is_index_name(alias)) {
            return Err(format!(
                "`{alias}` cannot be an index's name: small letters, digits, `_`, `.` and `-`, at most {INDEX_NAME_BYTES_MAX}, a letter or digit first"
            ));
        }
        let routing = places.next().filter(|routing| !routing.is_empty());
        Ok(Whereabouts { alias, routing, id: document::id_of(rest) })
    }
}

/// As a path of a URL has it.
pub(super) fn encode(name: &str) -> String {
    percent_encoded(name, b"-._")
}

impl Whereabouts {
    /// As requests have it that read several documents.
    pub(super) fn to_json(&self, in_alias: Option<&str>) -> Value {
        let mut place = Map::new();
        place.insert("_id".to_owned(), self.id.as_str().into());
        place.extend(in_alias.map(|alias| ("_index".to_owned(), alias.into())));
        place.extend(self.routing.as_deref().map(|routing| ("routing".to_owned(), routing.into())));
        Value::Object(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_tells_where_its_document_is() {
        let locate = |by_index, by_routing, key: &'static str| {
            let found = Layout { by_index, by_routing }.locate(&Key(key.into()))?;
            Ok::<_, String>((found.alias, found.routing, found.id))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(locate(false, false, "a/b"), Ok((None, None, "a/b".to_owned())));
        assert_eq!(locate(false, true, "x%2Fy/a/b"), Ok((None, some("x/y"), "a/b".to_owned())));
        assert_eq!(locate(false, true, "/a"), Ok((None, None, "a".to_owned())), "NULL is no routing value");
        assert_eq!(locate(true, true, "of-x/y/a"), Ok((some("of-x"), some("y"), "a".to_owned())));
        for wrong in ["Of-x/y/a", "/y/a", "-x/y/a", "a b/y/a"] {
            assert!(locate(true, true, wrong).is_err_and(|why| why.contains("cannot be an index's name")), "{wrong}");
        }
    }
}
