//! What keys there are. Each key is declared once, with its type, its default and what it is for; reading, the JSON Schema
//! and the documentation's test all go by that declaration.

use std::marker::PhantomData;
use std::ops::Range;

use serde_json::{Value as Json, json};
use toml::de::{DeTable, DeValue};

use super::reader::{Item, Reader};

/// A type that a key's value can have.
pub(super) trait Value: Sized {
    /// Reads it; what is wrong goes to the item's reader, all of it.
    fn read(item: &Item<'_>) -> Option<Self>;

    /// Its JSON Schema.
    fn schema() -> Json;
}

/// What holds where a key is not written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Absence {
    /// That is a mistake.
    Refused,
    /// This TOML value.
    Default(&'static str),
    /// What is said here.
    Means(&'static str),
}

/// A key of a table.
pub(super) struct Key<T> {
    name: &'static str,
    absence: Absence,
    /// A TOML value.
    example: &'static str,
    about: &'static str,
    value: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// A key that must be there.
    pub(super) const fn required(name: &'static str, example: &'static str, about: &'static str) -> Self {
        Key { name, absence: Absence::Refused, example, about, value: PhantomData }
    }

    /// A key with a default.
    pub(super) const fn default(
        name: &'static str,
        default: &'static str,
        example: &'static str,
        about: &'static str,
    ) -> Self {
        Key { name, absence: Absence::Default(default), example, about, value: PhantomData }
    }

    /// A key that may be missing.
    pub(super) const fn optional(
        name: &'static str,
        means: &'static str,
        example: &'static str,
        about: &'static str,
    ) -> Self {
        Key { name, absence: Absence::Means(means), example, about, value: PhantomData }
    }
}

/// A key without its type, for lists of keys.
pub(super) trait Describe: Sync {
    fn name(&self) -> &'static str;
    fn absence(&self) -> Absence;
    fn example(&self) -> &'static str;
    fn about(&self) -> &'static str;
    fn schema(&self) -> Json;
    /// Whether default and example are values of the type; for the test of the declarations.
    #[cfg(test)]
    fn reads_its_own_texts(&self) -> Result<(), String>;
}

impl<T: Value> Describe for Key<T> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn absence(&self) -> Absence {
        self.absence
    }

    fn example(&self) -> &'static str {
        self.example
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn schema(&self) -> Json {
        let mut schema = T::schema();
        if let Some(fields) = schema.as_object_mut() {
            fields.insert("description".to_owned(), json!(self.about));
            if let Absence::Default(text) = self.absence
                && let Ok(table) = format!("value = {text}").parse::<toml::Table>()
                && let Some(value) = table.get("value").and_then(|value| serde_json::to_value(value).ok())
            {
                fields.insert("default".to_owned(), value);
            }
        }
        schema
    }

    #[cfg(test)]
    fn reads_its_own_texts(&self) -> Result<(), String> {
        let default = match self.absence {
            Absence::Default(text) => Some(text),
            Absence::Refused | Absence::Means(_) => None,
        };
        for text in default.into_iter().chain([self.example]) {
            let value = DeValue::parse(text).map_err(|error| format!("{}: {text}: {error}", self.name))?;
            let environment = |_: &str| Some("redis://from-the-environment".to_owned());
            let reader = Reader::new(text, std::path::Path::new("/"), &environment);
            let read = T::read(&Item { reader: &reader, path: self.name.to_owned(), value: &value });
            let complaints = reader.into_complaints();
            if read.is_none() || !complaints.is_empty() {
                return Err(format!("{}: {text}: {complaints:?}", self.name));
            }
        }
        Ok(())
    }
}

/// A table that is being read by its keys.
pub(super) struct Section<'a> {
    reader: &'a Reader<'a>,
    table: &'a DeTable<'a>,
    path: String,
    /// Its name in the file; `None` if it is not there.
    span: Option<Range<usize>>,
}

impl<'a> Section<'a> {
    /// The document's top, or a table that is not written.
    pub(super) fn top(reader: &'a Reader<'a>, table: &'a DeTable<'a>) -> Self {
        Section { reader, table, path: String::new(), span: None }
    }

    /// A table inside.
    pub(super) fn of(item: &Item<'a>, span: Range<usize>) -> Option<Self> {
        if let Some(table) = item.value.get_ref().as_table() {
            return Some(Section { reader: item.reader, table, path: item.path.clone(), span: Some(span) });
        }
        let help = format!("write [{}], and its keys below", item.path);
        item.complain(format!("`{}` is a table", item.path), Some(help));
        None
    }

    /// The key's value, or its default. `None` if there is neither, or the value is wrong; both are complained of.
    pub(super) fn get<T: Value>(&self, key: &Key<T>) -> Option<T> {
        if let Some(item) = self.item(key.name) {
            return T::read(&item);
        }
        match key.absence {
            Absence::Means(_) => None,
            Absence::Default(text) => {
                let value = DeValue::parse(text).ok()?;
                T::read(&Item { reader: self.reader, path: self.path_of(key.name), value: &value })
            }
            Absence::Refused if self.reader.is_meant(&self.path_of(key.name)) => None,
            Absence::Refused => {
                let message = format!("`{}` is missing", self.path_of(key.name));
                self.reader.complain(
                    &self.path_of(key.name),
                    self.span.clone(),
                    message,
                    Some(format!("add {} = {}", key.name, key.example)),
                );
                None
            }
        }
    }

    /// The item under this name.
    pub(super) fn item(&self, name: &str) -> Option<Item<'a>> {
        let (_, value) = self.table.iter().find(|(key, _)| key.get_ref() == name)?;
        Some(Item { reader: self.reader, path: self.path_of(name), value })
    }

    /// Every item with its name and the name's place.
    pub(super) fn items(&self) -> impl Iterator<Item = (&'a str, Range<usize>, Item<'a>)> {
        self.table.iter().map(|(key, value)| {
            let name: &'a str = key.get_ref();
            (name, key.span(), Item { reader: self.reader, path: self.path_of(name), value })
        })
    }

    /// Complains of every key that is not among these. `elsewhere` may know why.
    pub(super) fn refuse_others(&self, known: &[&dyn Describe], elsewhere: impl Fn(&str) -> Option<String>) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if known.iter().any(|key| key.name() == name) {
                continue;
            }
            let names = || known.iter().map(|key| key.name());
            let help = elsewhere(name).unwrap_or_else(|| {
                if let Some(meant) = nearest(name, names()) {
                    self.reader.remember_meant(self.path_of(meant));
                }
                did_you_mean(name, names())
            });
            self.reader.complain(&self.path_of(name), Some(key.span()), format!("unknown key `{name}`"), Some(help));
        }
    }

    /// The table under this name, if there is one; if it is no table, that is complained of.
    pub(super) fn table(&self, name: &str) -> Option<Section<'a>> {
        let (_, span, item) = self.items().find(|(found, ..)| *found == name)?;
        Section::of(&item, span)
    }

    /// Something is wrong with the table as such.
    pub(super) fn complain(&self, message: String, help: String) {
        self.reader.complain(&self.path, self.span.clone(), message, Some(help));
    }

    /// Something that is not there is missing in the file.
    pub(super) fn complain_of_file(&self, name: &str, message: &str, help: &str) {
        self.reader.complain(name, None, message.to_owned(), Some(help.to_owned()));
    }

    fn path_of(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }
}

/// The word that was probably meant.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distances = known.map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate));
    let (distance, candidate) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= 1 + candidate.len() / 4).then_some(candidate)
}

/// The word that was probably meant, or all there are.
pub(super) fn did_you_mean<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.collect();
    match nearest(word, known.iter().copied()) {
        Some(candidate) => format!("did you mean `{candidate}`?"),
        None if known.is_empty() => "there is none".to_owned(),
        None => format!("known here: {}", known.join(", ")),
    }
}

/// The JSON Schema of a table with these keys and no others.
pub(super) fn table_schema(keys: &[&dyn Describe]) -> Json {
    let properties: serde_json::Map<String, Json> =
        keys.iter().map(|key| (key.name().to_owned(), key.schema())).collect();
    let required: Vec<&str> =
        keys.iter().filter(|key| matches!(key.absence(), Absence::Refused)).map(|key| key.name()).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}
