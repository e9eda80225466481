//! The types of values.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Value as Json, json};

use super::key::{Value, did_you_mean};
use super::pattern::Pattern;
use super::reader::Item;
use super::units;
use crate::project::key::KeyTemplate;

/// Yes or no.
impl Value for bool {
    fn read(item: &Item<'_>) -> Option<Self> {
        let value = item.value.get_ref().as_bool();
        if value.is_none() {
            item.complain(format!("`{}` is true or false, without quotes", item.path), None);
        }
        value
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }
}

/// Any text.
impl Value for String {
    fn read(item: &Item<'_>) -> Option<Self> {
        item.text("a text")
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// Text that is never shown.
impl Value for SecretString {
    fn read(item: &Item<'_>) -> Option<Self> {
        item.text("a text").map(SecretString::from)
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// A path; a relative one starts at the file's directory.
impl Value for PathBuf {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("a path")?;
        if text.contains('\0') {
            item.complain(format!("`{}` has a NUL character in it", item.path), None);
            return None;
        }
        Some(item.reader.directory().join(text))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

const DURATION_PATTERN: &str = "^[0-9]+(ms|s|m|h|d|w)$";
const SIZE_PATTERN: &str = "^[0-9]+([KMGT]i?)?B$";

/// A span of time.
impl Value for Duration {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("a duration such as \"10s\"")?;
        quantity(item, units::duration(&text), "a duration", "a whole number and ms, s, m, h, d or w: \"10s\"")
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": DURATION_PATTERN })
    }
}

/// A span of time that is not none.
pub(super) struct Positive(pub(super) Duration);

impl Value for Positive {
    fn read(item: &Item<'_>) -> Option<Self> {
        let duration = Duration::read(item)?;
        if duration.is_zero() {
            item.complain(format!("`{}` is zero", item.path), None);
            return None;
        }
        Some(Positive(duration))
    }

    fn schema() -> Json {
        Duration::schema()
    }
}

/// A number of bytes, at least one.
pub(super) struct Bytes(pub(super) u64);

impl Value for Bytes {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("a size such as \"50GiB\"")?;
        let help = "a whole number and B, KiB, MiB, GiB, TiB, KB, MB, GB or TB: \"50GiB\"";
        let bytes = quantity(item, units::size(&text), "a size", help)?;
        if bytes == 0 {
            item.complain(format!("`{}` is zero", item.path), None);
            return None;
        }
        Some(Bytes(bytes))
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": SIZE_PATTERN })
    }
}

fn quantity<T>(item: &Item<'_>, read: Result<T, Option<String>>, what: &str, how: &str) -> Option<T> {
    read.inspect_err(|meant| {
        let meant = meant.as_ref().filter(|_| !item.written().contains('$'));
        let help = meant.map_or_else(|| how.to_owned(), |meant| format!("did you mean \"{meant}\"?"));
        item.complain(format!("`{}` is not {what}", item.written()), Some(help));
    })
    .ok()
}

/// A limit, or `unlimited`.
pub(super) struct Limit<T>(pub(super) Option<T>);

const UNLIMITED: &str = "unlimited";

impl<T: Value> Value for Limit<T> {
    fn read(item: &Item<'_>) -> Option<Self> {
        if item.written() == UNLIMITED { Some(Limit(None)) } else { T::read(item).map(|limit| Limit(Some(limit))) }
    }

    fn schema() -> Json {
        json!({ "anyOf": [{ "const": UNLIMITED }, T::schema()] })
    }
}

/// A number of things, at least one.
pub(super) struct Count(pub(super) usize);

impl Value for Count {
    fn read(item: &Item<'_>) -> Option<Self> {
        let number = item.value.get_ref().as_integer();
        let number = number.and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
        if number.is_none_or(|number| number == 0) {
            item.complain(format!("`{}` is a whole number from 1 on, without quotes", item.path), None);
            return None;
        }
        number.map(Count)
    }

    fn schema() -> Json {
        json!({ "type": "integer", "minimum": 1 })
    }
}

/// An enum whose values are words.
pub(super) trait Choice: Copy + 'static {
    /// The words, and what they mean.
    const WORDS: &'static [(&'static str, Self)];

    /// What to say of a word that is none of them but might be expected.
    fn hint(_word: &str) -> Option<&'static str> {
        None
    }
}

impl<T: Choice> Value for T {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("a word")?;
        let found = T::WORDS.iter().find(|(word, _)| *word == text);
        if found.is_none() {
            let help = T::hint(&text)
                .map_or_else(|| did_you_mean(&text, T::WORDS.iter().map(|(word, _)| *word)), str::to_owned);
            item.complain(format!("`{}` is not a choice for `{}`", item.written(), item.path), Some(help));
        }
        found.map(|(_, choice)| *choice)
    }

    fn schema() -> Json {
        json!({ "enum": T::WORDS.iter().map(|(word, _)| *word).collect::<Vec<_>>() })
    }
}

/// Where the text came from the environment, and may not be repeated.
const TABLE_HELP: &str = "a table is named by schema and table, such as `public.users` or `public.*`";

/// Table patterns, each with its place.
pub(super) struct Patterns(pub(super) Vec<(Pattern, Range<usize>)>);

impl Value for Patterns {
    fn read(item: &Item<'_>) -> Option<Self> {
        let elements = item.one_or_many();
        let patterns: Vec<_> = elements
            .iter()
            .filter_map(|element| {
                let text = element.text("a table such as \"public.users\", or a list of them")?;
                let pattern = Pattern::parse(&text)
                    .inspect_err(|error| {
                        let help = if element.written() == text { error.to_string() } else { TABLE_HELP.to_owned() };
                        element.complain(format!("`{}` is not a table", element.written()), Some(help));
                    })
                    .ok()?;
                Some((pattern, element.value.span()))
            })
            .collect();
        if patterns.len() == elements.len() && patterns.iter().all(|(pattern, _)| pattern.excludes()) {
            let how = "name at least one to take: [\"public.*\", \"!public.audit\"]";
            item.complain(format!("`{}` names no table", item.path), Some(how.to_owned()));
            return None;
        }
        (patterns.len() == elements.len()).then_some(Patterns(patterns))
    }

    fn schema() -> Json {
        json!({ "anyOf": [
            { "type": "string", "minLength": 1 },
            { "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 },
        ] })
    }
}

/// A list of names, or one.
pub(super) struct Names(pub(super) Vec<String>);

impl Value for Names {
    fn read(item: &Item<'_>) -> Option<Self> {
        let elements = item.one_or_many();
        if elements.is_empty() {
            item.complain(format!("`{}` is an empty list", item.path), None);
            return None;
        }
        let names: Vec<_> = elements.iter().filter_map(|element| element.text("a name, or a list of names")).collect();
        (names.len() == elements.len()).then_some(Names(names))
    }

    fn schema() -> Json {
        Patterns::schema()
    }
}

/// An address to listen on.
impl Value for SocketAddr {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("an address and a port")?;
        let address = match text.strip_prefix("localhost:") {
            Some(port) => port.parse().ok().map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))),
            None => text.parse().ok(),
        };
        let address = address.filter(|address: &SocketAddr| address.port() != 0);
        if address.is_none() {
            let help = "write \"127.0.0.1:7431\", or \"[::1]:7431\"".to_owned();
            item.complain(format!("`{}` is not an IP address and a port", item.written()), Some(help));
        }
        address
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// The text of a key template. Whether its columns are the table's is known once there is a table.
pub(super) struct Template(pub(super) String);

impl Value for Template {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("a key such as \"user:{id}\"")?;
        KeyTemplate::parse(&text)
            .inspect_err(|error| {
                item.complain(format!("`{}` cannot be a key", item.written()), Some(error.to_string()));
            })
            .ok()?;
        Some(Template(text))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "pattern": "\\{" })
    }
}
