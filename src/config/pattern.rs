//! Which tables are meant: `public.users`, `public.*`, `!public.audit`.
//!
//! A pattern has two parts with a dot between. A part as it stands is compared letter by letter, upper and lower case
//! counting, with `*` for any run of characters and `?` for one. A part in double quotes is a name as SQL has it: nothing in it
//! is special, `""` is one quote. A table is meant if a pattern matches it and none that begins with `!` does, whatever their
//! order.

use std::fmt;

use crate::event::TableName;

/// A set of patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TablePatterns(Vec<Pattern>);

impl TablePatterns {
    /// Whether this table is meant.
    #[must_use]
    pub fn matches(&self, name: &TableName) -> bool {
        let excluded = self.0.iter().any(|pattern| pattern.excludes && pattern.covers(name));
        !excluded && self.0.iter().any(|pattern| !pattern.excludes && pattern.covers(name))
    }

    /// Whether this table is named, without a wildcard.
    #[must_use]
    pub fn names(&self, name: &TableName) -> bool {
        self.0.iter().any(|pattern| !pattern.excludes && pattern.table_name().as_ref() == Some(name))
    }

    /// The one table that is meant, if no other can be.
    #[must_use]
    pub fn only(&self) -> Option<TableName> {
        match &self.0[..] {
            [Pattern { excludes: false, schema: Part::Exact(schema), table: Part::Exact(table), .. }] => {
                Some(TableName { schema: schema.clone(), table: table.clone() })
            }
            _ => None,
        }
    }

    /// The patterns, in the order in which they were written.
    #[must_use]
    pub fn patterns(&self) -> &[Pattern] {
        &self.0
    }

    /// Reads them from text, one pattern each.
    ///
    /// # Errors
    /// The first that is not a pattern.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        texts.into_iter().map(Pattern::parse).collect::<Result<_, _>>().map(TablePatterns)
    }
}

impl FromIterator<Pattern> for TablePatterns {
    fn from_iter<I: IntoIterator<Item = Pattern>>(patterns: I) -> Self {
        TablePatterns(patterns.into_iter().collect())
    }
}

impl fmt::Display for TablePatterns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, pattern) in self.0.iter().enumerate() {
            write!(f, "{}{pattern}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// One pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    excludes: bool,
    schema: Part,
    table: Part,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Exact(String),
    Glob(Vec<char>),
}

/// Text that is not a pattern, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PatternError(String);

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// Says what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (excludes, rest) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let parts = split(rest)?;
        match <[Part; 2]>::try_from(parts) {
            Ok([schema, table]) => Ok(Pattern { text: text.to_owned(), excludes, schema, table }),
            Err(parts) if parts.len() == 1 => {
                let mark = if excludes { "!" } else { "" };
                Err(PatternError(format!("a table is named with its schema: `{mark}public.{rest}`")))
            }
            Err(_) => Err(PatternError(
                "a table is named by schema and table only; a name with a dot in it goes in double quotes: `public.\"a.b\"`"
                    .to_owned(),
            )),
        }
    }

    /// Whether it begins with `!`.
    #[must_use]
    pub fn excludes(&self) -> bool {
        self.excludes
    }

    /// The one table it names, if there is no wildcard in it.
    #[must_use]
    pub fn table_name(&self) -> Option<TableName> {
        match (&self.schema, &self.table) {
            (Part::Exact(schema), Part::Exact(table)) => {
                Some(TableName { schema: schema.clone(), table: table.clone() })
            }
            _ => None,
        }
    }

    /// `false` only if it is certain that no table fits both.
    #[must_use]
    pub fn may_overlap(&self, other: &Pattern) -> bool {
        self.schema.may_overlap(&other.schema) && self.table.may_overlap(&other.table)
    }

    /// Whether schema and table fit, whether it includes or excludes.
    #[must_use]
    pub fn covers(&self, name: &TableName) -> bool {
        self.schema.matches(&name.schema) && self.table.matches(&name.table)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Part {
    fn may_overlap(&self, other: &Part) -> bool {
        match (self, other) {
            (Part::Exact(name), pattern) | (pattern, Part::Exact(name)) => pattern.matches(name),
            (Part::Glob(_), Part::Glob(_)) => true,
        }
    }

    fn matches(&self, name: &str) -> bool {
        match self {
            Part::Exact(exact) => exact == name,
            Part::Glob(glob) => glob_matches(glob, &name.chars().collect::<Vec<_>>()),
        }
    }
}

/// Cuts at dots outside quotes.
fn split(text: &str) -> Result<Vec<Part>, PatternError> {
    let refuse = |what: &str| Err(PatternError(what.to_owned()));
    let mut parts = Vec::new();
    let mut characters = text.chars().peekable();
    loop {
        let quoted = characters.next_if_eq(&'"').is_some();
        let mut name = String::new();
        let mut closed = !quoted;
        while let Some(&character) = characters.peek() {
            match character {
                '"' if quoted => {
                    characters.next();
                    if characters.next_if_eq(&'"').is_none() {
                        closed = true;
                        break;
                    }
                    name.push('"');
                    continue;
                }
                '"' => return refuse("a quote belongs around the whole part: `public.\"My table\"`"),
                '.' if !quoted => break,
                ',' if !quoted => {
                    return refuse("several tables are written as a list: `[\"public.a\", \"public.b\"]`");
                }
                _ if !quoted && (character.is_whitespace() || character.is_control()) => {
                    return refuse(
                        "a name with a space or the like in it goes in double quotes: `public.\"My table\"`",
                    );
                }
                other => name.push(other),
            }
            characters.next();
        }
        if !closed {
            return refuse("a double quote is not closed");
        }
        if name.is_empty() {
            return refuse("a table is named by schema and table, such as `public.users` or `public.*`");
        }
        let is_glob = !quoted && name.contains(['*', '?']);
        parts.push(if is_glob { Part::Glob(name.chars().collect()) } else { Part::Exact(name) });
        match characters.next() {
            None => return Ok(parts),
            Some('.') => {}
            Some(_) => return refuse("a quote belongs around the whole part: `public.\"My table\"`"),
        }
    }
}

/// Linear but for the last `*`, to which it goes back: no pattern makes it slow beyond pattern × name.
fn glob_matches(glob: &[char], name: &[char]) -> bool {
    let (mut at, mut position) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while let Some(&character) = name.get(position) {
        match glob.get(at) {
            Some('*') => {
                retry = Some((at, position));
                at += 1;
            }
            Some(&wanted) if wanted == '?' || wanted == character => {
                at += 1;
                position += 1;
            }
            _ => {
                let Some((star, taken)) = retry else { return false };
                retry = Some((star, taken + 1));
                at = star + 1;
                position = taken + 1;
            }
        }
    }
    glob.get(at..).unwrap_or_default().iter().all(|&rest| rest == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(schema: &str, table: &str) -> TableName {
        TableName { schema: schema.to_owned(), table: table.to_owned() }
    }

    #[test]
    fn a_table_is_meant_if_a_pattern_matches_and_no_exclusion_does_whatever_their_order() {
        let patterns = TablePatterns::parse(["!public.audit*", "public.*", "s?les.\"Big.Table\""]).expect("patterns");
        for (name, wanted) in [
            (table("public", "users"), true),
            (table("public", "audit"), false),
            (table("public", "audit_2026"), false),
            (table("private", "users"), false),
            (table("sales", "Big.Table"), true),
            (table("sales", "big.table"), false),
            (table("saales", "Big.Table"), false),
        ] {
            assert_eq!(patterns.matches(&name), wanted, "{name}");
        }
    }

    #[test]
    fn only_exclusions_mean_nothing() {
        let patterns = TablePatterns::parse(["!public.audit"]).expect("a pattern");
        assert!(!patterns.matches(&table("public", "users")));
    }

    #[test]
    fn stars_match_any_run_and_nothing_else_is_special() {
        let cases = [
            ("a.*", "a", "", true),
            ("a.*x*", "a", "xx", true),
            ("a.*ab", "a", "aab", true),
            ("a.*ab", "a", "aba", false),
            ("a.?", "a", "é", true),
            ("a.?", "a", "", false),
            ("a.\"*\"", "a", "*", true),
            ("a.\"*\"", "a", "b", false),
            ("a.\"q\"\"q\"", "a", "q\"q", true),
            ("a.[b]", "a", "b", false),
        ];
        for (pattern, schema, name, wanted) in cases {
            assert_eq!(
                Pattern::parse(pattern).expect(pattern).covers(&table(schema, name)),
                wanted,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn what_is_no_pattern_says_what_to_write() {
        let cases = [
            ("users", "public.users"),
            ("!users", "!public.users"),
            ("db.public.users", "double quotes"),
            ("public.", "such as"),
            ("", "such as"),
            ("public.a, public.b", "a list"),
            ("public.My table", "double quotes"),
            ("public.\"open", "not closed"),
            ("public.\"a\"b", "whole part"),
            ("public.a\"b\"", "whole part"),
        ];
        for (text, hint) in cases {
            let error = Pattern::parse(text).expect_err(text).to_string();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }
}
