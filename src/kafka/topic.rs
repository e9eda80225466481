//! Topics: their names, and what they are made with or must be like.

use std::fmt;

use crate::event::TableName;

/// The template of topics' names: `{source}`, `{schema}`, `{table}` and text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Source,
    Schema,
    Table,
}

/// Kafka's limit for a name (`org.apache.kafka.common.internals.Topic`: 249 characters of `[a-zA-Z0-9._-]`).
const NAME_LENGTH_MAX: usize = 249;

impl Template {
    /// Reads one.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let (name, behind) = after.split_once('}').ok_or("a `{` without its `}`")?;
            if !before.is_empty() {
                parts.push(Part::Text(before.to_owned()));
            }
            parts.push(match name {
                "source" => Part::Source,
                "schema" => Part::Schema,
                "table" => Part::Table,
                other => return Err(format!("`{{{other}}}` is none of {{source}}, {{schema}} and {{table}}")),
            });
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        if !parts.contains(&Part::Table) {
            return Err(
                "without {table} all tables would share one topic, and rows of two tables may have the same key"
                    .to_owned(),
            );
        }
        let texts = parts.iter().filter_map(|part| if let Part::Text(text) = part { Some(text) } else { None });
        if let Some(bad) = texts.flat_map(|text| text.chars()).find(|&c| !is_legal(c)) {
            return Err(format!("`{bad}` cannot be in a topic's name: letters, digits, `.`, `_` and `-` can"));
        }
        Ok(Template(parts))
    }

    /// The topic of a table. A character that no topic can have becomes `_`; two tables whose names differ in nothing else are told
    /// apart by nobody, so whoever makes topics must refuse the second.
    ///
    /// # Errors
    /// Too long.
    pub fn of_table(&self, source: &str, table: &TableName) -> Result<String, String> {
        let mut name = String::new();
        for part in &self.0 {
            name.push_str(match part {
                Part::Text(text) => text,
                Part::Source => source,
                Part::Schema => &table.schema,
                Part::Table => &table.table,
            });
        }
        let name: String = name.chars().map(|c| if is_legal(c) { c } else { '_' }).collect();
        if name.len() > NAME_LENGTH_MAX || name == "." || name == ".." {
            return Err(format!(
                "table {table} would have the topic `{name}`, which no broker takes; choose another `topic`"
            ));
        }
        Ok(name)
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Source => f.write_str("{source}"),
            Part::Schema => f.write_str("{schema}"),
            Part::Table => f.write_str("{table}"),
        })
    }
}

fn is_legal(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// The topic that holds the log's own state.
#[must_use]
pub fn control(source: &str) -> String {
    format!("{source}.walbridge")
}

/// The topic of logical messages.
#[must_use]
pub fn messages(source: &str) -> String {
    format!("{source}.message")
}

/// The topic that tells how transactions begin and end.
#[must_use]
pub fn transactions(source: &str) -> String {
    format!("{source}.transaction")
}

/// What topics are made with, and must be like where it is stated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Partitions; `None`: the brokers' default for a new one, and whatever one has that is there.
    pub partitions: Option<i32>,
    /// Partitions of a new one, where `partitions` says nothing.
    pub partitions_new: Option<i32>,
    /// Replicas, for a new one; `None`: the brokers' default.
    pub replication: Option<i32>,
    /// `cleanup.policy`.
    pub cleanup_policy: Option<String>,
    /// Other settings of a topic, for a new one.
    pub config: Vec<(String, String)>,
}

impl Wanted {
    /// A topic for walbridge's own state: in order, and the last of each key for ever.
    #[must_use]
    pub fn of_state(&self) -> Wanted {
        Wanted {
            partitions: Some(1),
            partitions_new: None,
            replication: self.replication,
            cleanup_policy: None,
            config: vec![("cleanup.policy".to_owned(), "compact".to_owned())],
        }
    }

    /// The topic of transactions: in order, and nothing in it stays for ever, for each key is there only once. One that is there is
    /// taken as it is.
    #[must_use]
    pub fn of_transactions(&self) -> Wanted {
        let is_policy = |(name, _): &&(String, String)| name == "cleanup.policy";
        let mut config: Vec<_> = self.config.iter().filter(|setting| !is_policy(setting)).cloned().collect();
        config.push(("cleanup.policy".to_owned(), "delete".to_owned()));
        Wanted {
            partitions: None,
            partitions_new: Some(1),
            replication: self.replication,
            cleanup_policy: None,
            config,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(template: &str, schema: &str, table: &str) -> Result<String, String> {
        let table = TableName { schema: schema.to_owned(), table: table.to_owned() };
        Template::parse(template).and_then(|template| template.of_table("shop", &table))
    }

    #[test]
    fn a_table_has_its_topic() {
        assert_eq!(name("{source}.{schema}.{table}", "public", "users"), Ok("shop.public.users".to_owned()));
        assert_eq!(name("cdc-{table}", "public", "Größe x"), Ok("cdc-Gr__e_x".to_owned()));
        assert_eq!(
            Template::parse("a.{schema}.{table}-b").map(|template| template.to_string()),
            Ok("a.{schema}.{table}-b".to_owned())
        );
    }

    #[test]
    fn what_cannot_be_a_template_says_why() {
        let why = |text: &str| Template::parse(text).expect_err("refused");
        assert!(why("{source}.all").contains("{table}"));
        assert!(why("{tabel}").contains("`{tabel}`"));
        assert!(why("{table").contains("without its"));
        assert!(why("a b{table}").contains("` `"));
        assert!(name("{table}", "s", &"x".repeat(250)).is_err());
    }
}
