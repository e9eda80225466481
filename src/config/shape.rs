//! `[sinks.NAME.shape]`: what a sink makes of its tables' rows.

use std::ops::Range;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value as Json, json};
use toml::de::DeValue;

use super::key::{Describe, Key, Section, Value, table_schema};
use super::pattern::TablePatterns;
use super::reader::Item;
use super::value::{Names, Patterns};
use crate::project::shape::{self, Protection, Rule, Written};
use crate::project::sql::{Expression, Mistake};

/// What is made of the rows of some tables.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Which; `None`: all that the sink takes.
    pub tables: Option<TablePatterns>,
    /// What.
    pub rule: Rule,
}

static TABLES: Key<Patterns> = Key::optional(
    "tables",
    "all that the sink takes",
    "\"public.users\"",
    "Of several shapes each table has the first that means it: one pattern or a list, as in `from`.",
);
static WHERE: Key<Condition> = Key::optional(
    "where",
    "all rows",
    "\"country = 'DE' AND NOT banned\"",
    "The rows that the sink has: those of which this SQL expression is true.",
);
static DELETED: Key<Condition> = Key::optional(
    "deleted",
    "a row is there until it is deleted",
    "\"deleted_at IS NOT NULL\"",
    "Rows of which this SQL expression is true count as deleted.",
);
static COLUMNS: Key<Items> = Key::optional(
    "columns",
    "all columns as they are",
    "[\"id\", \"name AS title\", \"lower(email) AS email\", \"*\", \"!password\"]",
    "The columns, in order: names, SQL expressions with `AS name`, `*` for all that are not named, `!name` to leave one out.",
);
static MASK: Key<Masks> = Key::optional(
    "mask",
    "none",
    "{ card = 4 }",
    "Columns of whose values each character but the last so many becomes `*`.",
);
static HASH: Key<WrittenNames> =
    Key::optional("hash", "none", "[\"email\"]", "Columns whose values become their HMAC-SHA-256 in hex. Needs a key.");
static HASH_KEY: Key<SecretString> =
    Key::optional("hash_key", "none", "\"${HASH_KEY}\"", "The key for `hash`, at least 16 bytes.");
static HASH_KEY_FILE: Key<std::path::PathBuf> = Key::optional(
    "hash_key_file",
    "none",
    "\"/run/secrets/hash-key\"",
    "A file that holds the key for `hash` and nothing else; a newline at its end does not count.",
);
static REDACT: Key<WrittenNames> =
    Key::optional("redact", "none", "[\"ssn\"]", "Columns whose values become the word `REDACTED`; NULL stays NULL.");

pub(super) static KEYS: &[&dyn Describe] =
    &[&TABLES, &WHERE, &DELETED, &COLUMNS, &MASK, &HASH, &HASH_KEY, &HASH_KEY_FILE, &REDACT];

/// A key of fewer bytes can be tried out.
const HASH_KEY_BYTES_MIN: usize = 16;

/// The shapes of a sink: one table, or a list of them.
pub(super) struct Shapes(pub(super) Vec<(Shape, Option<Patterns>)>);

impl Value for Shapes {
    fn read(item: &Item<'_>) -> Option<Self> {
        let elements = item.one_or_many();
        let shapes: Vec<_> = elements.iter().filter_map(read).collect();
        (shapes.len() == elements.len()).then_some(Shapes(shapes))
    }

    fn schema() -> Json {
        let table = table_schema(KEYS);
        json!({ "oneOf": [table, { "type": "array", "items": table, "minItems": 1 }] })
    }
}

fn read(item: &Item<'_>) -> Option<(Shape, Option<Patterns>)> {
    let section = Section::of(item, item.value.span())?;
    section.refuse_others(KEYS, |_| None);
    let tables = section.get(&TABLES);
    let filter = section.get(&WHERE).map(|condition| condition.0);
    let deleted = section.get(&DELETED).map(|condition| condition.0);
    let columns = section.get(&COLUMNS).map(|items| items.0);
    let of_changes = deleted.as_ref().is_some_and(|written| written.value.compares_rows());
    if let Some(item) = section.item(DELETED.name()).filter(|_| of_changes) {
        refuse_rows_of_changes(&item);
    }
    let protected = protected(&section);
    let whole = written_and_read(
        &section,
        &[
            (TABLES.name(), tables.is_some()),
            (WHERE.name(), filter.is_some()),
            (DELETED.name(), deleted.is_some() && !of_changes),
            (COLUMNS.name(), columns.is_some()),
        ],
    );
    let patterns = tables.as_ref().map(|tables| tables.0.iter().map(|(pattern, _)| pattern.clone()).collect());
    let protected = protected.filter(|_| whole)?;
    Some((Shape { tables: patterns, rule: Rule { filter, deleted, columns, protected } }, tables))
}

/// The columns whose values are not shown as they are.
fn protected(section: &Section<'_>) -> Option<Vec<(Written<String>, Protection)>> {
    let mask = section.get(&MASK);
    let hash = section.get(&HASH);
    let redact = section.get(&REDACT);
    let whole = written_and_read(
        section,
        &[(MASK.name(), mask.is_some()), (HASH.name(), hash.is_some()), (REDACT.name(), redact.is_some())],
    );
    let key = hash_key(section)?;
    let mut protected = Vec::new();
    if let Some(Masks(masks)) = mask {
        protected.extend(masks.into_iter().map(|(name, keep)| (name, Protection::Mask { keep })));
    }
    match (hash, key) {
        (Some(WrittenNames(names)), Some(key)) => {
            protected.extend(names.into_iter().map(|name| (name, Protection::Hash(key.clone()))));
        }
        (Some(_), None) => {
            let help =
                "add hash_key = \"${HASH_KEY}\": without a key everyone can try which value a hash is of".to_owned();
            section.complain("`hash` needs a key".to_owned(), help);
            return None;
        }
        (None, Some(_)) => {
            section.complain("a key, and nothing to hash".to_owned(), "add hash = [\"email\"]".to_owned());
            return None;
        }
        (None, None) => {}
    }
    if let Some(WrittenNames(names)) = redact {
        protected.extend(names.into_iter().map(|name| (name, Protection::Redact)));
    }
    for (at, (name, _)) in protected.iter().enumerate() {
        if protected.iter().take(at).any(|(other, _)| other.value == name.value) {
            section.complain(
                format!("column `{}` is protected twice", name.value),
                "name it in one of mask, hash and redact".to_owned(),
            );
            return None;
        }
    }
    whole.then_some(protected)
}

/// Whether each of these is right, if it is there; what is not has been complained of.
fn written_and_read(section: &Section<'_>, keys: &[(&str, bool)]) -> bool {
    keys.iter().all(|(name, is_read)| *is_read || section.item(name).is_none())
}

/// The key for hashes; the outer `None`: what there is of it is wrong.
#[expect(clippy::option_option, reason = "nothing is right, too")]
fn hash_key(section: &Section<'_>) -> Option<Option<SecretString>> {
    let (written, file) = (section.get(&HASH_KEY), section.get(&HASH_KEY_FILE));
    let (key, name) = match (written, file) {
        (Some(_), Some(_)) => {
            section.complain("two keys for one hash".to_owned(), "keep hash_key or hash_key_file".to_owned());
            return None;
        }
        (Some(key), None) => (key, HASH_KEY.name()),
        (None, Some(path)) => match std::fs::read_to_string(&path) {
            Ok(text) => (SecretString::from(text.trim_end_matches(['\n', '\r'])), HASH_KEY_FILE.name()),
            Err(error) => {
                let item = section.item(HASH_KEY_FILE.name())?;
                item.complain(format!("the key cannot be read: {error}"), None);
                return None;
            }
        },
        (None, None) => return Some(None),
    };
    if key.expose_secret().len() < HASH_KEY_BYTES_MIN {
        let help = "make one: openssl rand -hex 32".to_owned();
        section.item(name)?.complain(format!("a key has at least {HASH_KEY_BYTES_MIN} bytes"), Some(help));
        return None;
    }
    Some(Some(key))
}

/// A text at its place.
fn written<T>(item: &Item<'_>, text: &str, value: T) -> Written<T> {
    let inner = item.inner(text);
    let (line, column) = item.reader.line_and_column(inner.clone().unwrap_or_else(|| item.value.span()).start);
    Written { value, line, column, verbatim: inner.is_some() }
}

/// Where in the file a mistake is.
fn complain(item: &Item<'_>, text: &str, offset: usize, mistake: Mistake) {
    let meant = |inner: Range<usize>| inner.start + offset + mistake.at.start..inner.start + offset + mistake.at.end;
    let span = item.inner(text).map_or_else(|| item.value.span(), meant);
    item.reader.complain(&item.path, Some(span), mistake.message, mistake.help);
}

/// An expression that is true or false.
pub(super) struct Condition(Written<Expression>);

impl Value for Condition {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("an SQL expression")?;
        match Expression::parse(&text) {
            Ok(expression) => Some(Condition(written(item, &text, expression))),
            Err(mistake) => {
                complain(item, &text, 0, mistake);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}

/// The elements of `columns`.
pub(super) struct Items(Vec<shape::Item>);

impl Value for Items {
    fn read(item: &Item<'_>) -> Option<Self> {
        let elements = item.one_or_many();
        let items: Vec<_> = elements.iter().filter_map(read_item).collect();
        if elements.is_empty() {
            item.complain(
                format!("`{}` is an empty list", item.path),
                Some("leave it away for all columns".to_owned()),
            );
            return None;
        }
        if items.len() == elements.len() && items.iter().all(|item| matches!(item, shape::Item::Except(_))) {
            let help = "put \"*\" before it, for the rest of the columns".to_owned();
            item.complain("only columns to leave out, and none to take".to_owned(), Some(help));
            return None;
        }
        (items.len() == elements.len()).then_some(Items(items))
    }

    fn schema() -> Json {
        Patterns::schema()
    }
}

/// Only a filter of changes has two rows to look at.
fn refuse_rows_of_changes(item: &Item<'_>) {
    let help =
        "name the column alone; `old.` and `new.` tell the rows of a change apart in `where` of a file or kafka sink"
            .to_owned();
    item.complain("this is about one row".to_owned(), Some(help));
}

fn read_item(item: &Item<'_>) -> Option<shape::Item> {
    let text = item.text("a column, an SQL expression with AS, `*`, or `!` and a column")?;
    if text == "*" {
        return Some(shape::Item::All);
    }
    let (excluded, rest) = text.strip_prefix('!').map_or((false, text.as_str()), |rest| (true, rest));
    let expression = match Expression::parse_named(rest) {
        Ok(expression) => expression,
        Err(mistake) => {
            complain(item, &text, usize::from(excluded), mistake);
            return None;
        }
    };
    if expression.compares_rows() {
        refuse_rows_of_changes(item);
        return None;
    }
    if excluded {
        let Some(name) = expression.as_column().filter(|_| expression.alias().is_none()) else {
            item.complain("a column is left out by its name".to_owned(), Some("\"!password\"".to_owned()));
            return None;
        };
        return Some(shape::Item::Except(written(item, &text, name)));
    }
    if expression.alias().is_none() && expression.as_column().is_none() {
        let help = format!("give it one: \"{text} AS name\"");
        item.complain("a computed column needs a name".to_owned(), Some(help));
        return None;
    }
    Some(shape::Item::Made(Box::new(written(item, &text, expression))))
}

/// Names of columns at their places.
pub(super) struct WrittenNames(Vec<Written<String>>);

impl Value for WrittenNames {
    fn read(item: &Item<'_>) -> Option<Self> {
        let Names(names) = Names::read(item)?;
        let elements = item.one_or_many();
        Some(WrittenNames(
            names.into_iter().zip(&elements).map(|(name, item)| written(item, &name.clone(), name)).collect(),
        ))
    }

    fn schema() -> Json {
        Names::schema()
    }
}

/// How many characters of which columns stay.
pub(super) struct Masks(Vec<(Written<String>, usize)>);

impl Value for Masks {
    fn read(item: &Item<'_>) -> Option<Self> {
        let table = match item.value.get_ref() {
            DeValue::Table(table) if !table.is_empty() => table,
            _ => {
                let help = "write how many characters of which column stay: mask = { card = 4 }".to_owned();
                item.complain(format!("`{}` is a table", item.path), Some(help));
                return None;
            }
        };
        let mut masks = Vec::with_capacity(table.len());
        for (name, value) in table {
            let number = value.get_ref().as_integer();
            let keep = number.and_then(|number| usize::from_str_radix(number.as_str(), number.radix()).ok());
            let Some(keep) = keep else {
                let message = format!("how many characters of `{}` stay is a whole number", name.get_ref());
                item.reader.complain(&item.path, Some(value.span()), message, None);
                return None;
            };
            let (line, column) = item.reader.line_and_column(name.span().start);
            let name: &str = name.get_ref();
            masks.push((Written { value: name.to_owned(), line, column, verbatim: true }, keep));
        }
        Some(Masks(masks))
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": { "type": "integer", "minimum": 0 }, "minProperties": 1 })
    }
}
