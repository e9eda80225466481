//! Where below a directory the events of a table go: `{schema}/{table}/date={date}`.
//!
//! A rendered path never leaves the directory, and two names never become one: what is not a letter, a digit, `_`, `-` or `.` stands as `%XX`, and so does a
//! dot at the beginning.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::event::Event;

/// A parsed layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Source,
    Schema,
    Table,
    Date,
    Hour,
}

const FIELDS: [(&str, Field); 5] = [
    ("source", Field::Source),
    ("schema", Field::Schema),
    ("table", Field::Table),
    ("date", Field::Date),
    ("hour", Field::Hour),
];

/// What stands for schema and table of an event that has none: a logical message.
const NO_TABLE: (&str, &str) = ("-", "message");

/// Why a text is no layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A brace that opens or closes nothing.
    #[error("a brace stands alone: write {{table}}")]
    Brace,
    /// Something unknown in braces.
    #[error("there is no {{{name}}}: write {{source}}, {{schema}}, {{table}}, {{date}} or {{hour}}")]
    Unknown {
        /// What stands there.
        name: String,
    },
    /// A path that leads elsewhere, or a name that is hidden.
    #[error("it is a path below the sink's: no / at its ends, no empty name, and no name that begins with a dot")]
    Path,
    /// Characters that a name in a layout cannot have.
    #[error("its names are of letters, digits, _, -, . and =")]
    Character,
}

impl Layout {
    /// Reads one.
    ///
    /// # Errors
    /// It is none, and why.
    pub fn parse(text: &str) -> Result<Layout, LayoutError> {
        if text.split('/').any(|name| name.is_empty() || name.starts_with('.')) {
            return Err(LayoutError::Path);
        }
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(at);
            push_text(&mut parts, before)?;
            let (name, after) =
                from.strip_prefix('{').and_then(|from| from.split_once('}')).ok_or(LayoutError::Brace)?;
            let field = FIELDS.iter().find(|(known, _)| *known == name);
            let (_, field) = field.ok_or_else(|| LayoutError::Unknown { name: name.to_owned() })?;
            parts.push(Part::Field(*field));
            rest = after;
        }
        push_text(&mut parts, rest)?;
        Ok(Layout { parts })
    }

    /// Whether events of two tables never have the same path.
    #[must_use]
    pub fn tells_tables_apart(&self) -> bool {
        let has = |field| self.parts.contains(&Part::Field(field));
        has(Field::Schema) && has(Field::Table)
    }

    /// The event's path, relative.
    #[must_use]
    pub fn render(&self, source: &str, event: &Event) -> String {
        let table = event.change.relation().map(|relation| (&*relation.name.schema, &*relation.name.table));
        let (schema, table) = table.unwrap_or(NO_TABLE);
        let mut out = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Field(Field::Source) => put_name(source, &mut out),
                Part::Field(Field::Schema) => put_name(schema, &mut out),
                Part::Field(Field::Table) => put_name(table, &mut out),
                Part::Field(Field::Date) => out.push_str(&at_commit(event, "%Y-%m-%d")),
                Part::Field(Field::Hour) => out.push_str(&at_commit(event, "%H")),
            }
        }
        out
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) -> Result<(), LayoutError> {
    if text.chars().any(|character| !(is_plain(character) || matches!(character, '=' | '/'))) {
        return Err(LayoutError::Character);
    }
    if !text.is_empty() {
        parts.push(Part::Text(text.to_owned()));
    }
    Ok(())
}

fn is_plain(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.')
}

fn put_name(name: &str, out: &mut String) {
    let begins = out.is_empty() || out.ends_with('/');
    for (index, byte) in name.bytes().enumerate() {
        let character = char::from(byte);
        if is_plain(character) && !(begins && index == 0 && character == '.') {
            out.push(character);
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// In UTC.
fn at_commit(event: &Event, format: &str) -> String {
    let time =
        Timestamp::from_microsecond(event.transaction.commit_time.unix_micros()).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Change, TableName};
    use crate::project::testing::{event, relation};

    fn rendered(layout: &str, schema: &str, table: &str) -> String {
        let mut relation = relation("t", &["id"], &[0]);
        relation.name = TableName { schema: schema.to_owned(), table: table.to_owned() };
        let mut event = event(Change::Truncate { relation: Arc::new(relation) });
        Arc::make_mut(&mut event.transaction).commit_time =
            crate::event::Timestamp::from_unix_micros(1_795_514_400_000_500);
        Layout::parse(layout).expect("a layout").render("shop", &event)
    }

    #[test]
    fn an_event_is_placed_by_its_table_and_its_day() {
        let layout = "{source}/{schema}.{table}/date={date}/hour={hour}";
        assert_eq!(rendered(layout, "public", "users"), "shop/public.users/date=2026-11-24/hour=10");
    }

    #[test]
    fn no_name_leads_elsewhere_or_becomes_another() {
        assert_eq!(rendered("{schema}/{table}", "..", "../a b%"), "%2E./%2E.%2Fa%20b%25");
        assert_eq!(rendered("{schema}/{table}", "ä", ""), "%C3%A4/");
    }

    #[test]
    fn what_is_no_layout_says_why() {
        for (text, why) in [
            ("", LayoutError::Path),
            ("/{table}", LayoutError::Path),
            ("{table}/", LayoutError::Path),
            ("a//b", LayoutError::Path),
            ("a/../{table}", LayoutError::Path),
            (".hidden/{table}", LayoutError::Path),
            ("{table", LayoutError::Brace),
            ("table}", LayoutError::Brace),
            ("{day}", LayoutError::Unknown { name: "day".into() }),
            ("a b/{table}", LayoutError::Character),
        ] {
            assert_eq!(Layout::parse(text), Err(why), "{text}");
        }
    }

    #[test]
    fn tables_are_told_apart_by_schema_and_table() {
        let tells = |text| Layout::parse(text).expect("a layout").tells_tables_apart();
        assert!(tells("{schema}/{table}"));
        assert!(!tells("{table}") && !tells("date={date}"));
    }
}
