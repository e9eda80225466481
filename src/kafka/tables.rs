//! The tables whose rows go to Kafka: for each version its number, its topic and its encoder.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::KafkaError;
use super::format::{Encoder, Format, Schemas, Settings as FormatSettings};
use super::topic::{self, Template, Wanted};
use crate::event::{Relation, TableName};

/// A version of a table.
#[derive(Debug)]
pub struct Version {
    /// What its rows' headers and the control topic call it.
    pub id: u32,
    /// Its topic's number.
    pub topic: u32,
    /// The same for the same version, whoever asks: for those that keep no numbers.
    pub fingerprint: u32,
    /// The number of its schemas, of a format that has such.
    pub schemas: Option<u32>,
    relation: Arc<Relation>,
    /// Writes its rows.
    pub encoder: Encoder,
}

/// See the module.
#[derive(Debug)]
pub struct Tables {
    source: String,
    template: Template,
    format: Format,
    settings: FormatSettings,
    /// Versions that have rows since the log was opened.
    versions: Vec<Version>,
    /// The numbers of all versions there ever were.
    known: HashMap<Relation, u32>,
    next_id: u32,
    /// Where the last row's version is: rows of one table mostly come together.
    last: usize,
    topics: Vec<Topic>,
    schemas: Vec<TopicSchemas>,
}

/// What the records of a topic are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSchemas {
    /// The topic's name.
    pub topic: String,
    /// The schemas.
    pub schemas: Schemas,
}

/// A topic, and the table that has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// What is in it.
    pub content: Content,
    /// Its records have keys.
    pub keyed: bool,
}

/// What a topic has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A table's rows.
    Rows(TableName),
    /// Logical messages.
    Messages,
    /// How transactions begin and end: no events.
    Transactions,
}

impl Topic {
    /// What it is made with, and must be like, where tables' topics are so.
    #[must_use]
    pub fn wanted(&self, topics: &Wanted) -> Wanted {
        if self.content == Content::Transactions { topics.of_transactions() } else { topics.clone() }
    }

    /// Whether there are events in it.
    #[must_use]
    pub fn has_events(&self) -> bool {
        self.content != Content::Transactions
    }
}

impl Tables {
    /// Tables whose versions have these numbers already; a new one gets the next.
    #[must_use]
    pub fn new(
        source: &str,
        kafka: &super::Settings,
        settings: FormatSettings,
        known: BTreeMap<u32, Relation>,
    ) -> Self {
        let next_id = known.keys().next_back().map_or(1, |last| last.saturating_add(1));
        let known = known.into_iter().map(|(id, relation)| (relation, id)).collect();
        let (source, template, format) = (source.to_owned(), kafka.topic.clone(), kafka.format);
        Tables {
            source,
            template,
            format,
            settings,
            versions: Vec::new(),
            known,
            next_id,
            last: 0,
            topics: Vec::new(),
            schemas: Vec::new(),
        }
    }

    /// The version, and whether it has its number only now.
    ///
    /// # Errors
    /// It cannot have a topic of its own.
    #[inline]
    pub fn version(&mut self, relation: &Arc<Relation>) -> Result<(&Version, bool), KafkaError> {
        let is_it = |version: &Version| Arc::ptr_eq(&version.relation, relation);
        let new = if self.versions.get(self.last).is_some_and(is_it) {
            false
        } else if let Some(found) = self.versions.iter().position(is_it) {
            self.last = found;
            false
        } else {
            self.define(relation)?
        };
        let version = self.versions.get(self.last);
        Ok((version.ok_or_else(|| KafkaError::Misuse("a table without a version".to_owned()))?, new))
    }

    fn define(&mut self, relation: &Arc<Relation>) -> Result<bool, KafkaError> {
        let topic = self.topic_of(relation)?;
        // The same version may be announced over and over, each time as another object.
        self.versions.retain(|version| *version.relation != **relation);
        let schemas = self.topics.get(topic as usize).map(|topic| topic.name.clone());
        let schemas = schemas.and_then(|topic| Some((self.format.schemas(relation, &topic)?, topic)));
        let schemas = schemas.map(|(schemas, topic)| self.number(TopicSchemas { topic, schemas }));
        let (id, new) = match self.known.get(&**relation) {
            Some(&id) => (id, false),
            None => {
                let id = self.next_id;
                self.next_id = id.saturating_add(1);
                self.known.insert((**relation).clone(), id);
                (id, true)
            }
        };
        self.versions.push(Version {
            id,
            topic,
            fingerprint: fingerprint(relation),
            schemas,
            relation: Arc::clone(relation),
            encoder: self.format.encoder(relation, &self.settings),
        });
        self.last = self.versions.len().saturating_sub(1);
        Ok(new)
    }

    fn topic_of(&mut self, relation: &Relation) -> Result<u32, KafkaError> {
        let table = &relation.name;
        let refuse = |topic: &str, detail: String| KafkaError::Topic { topic: topic.to_owned(), detail };
        let name = self.template.of_table(&self.source, table).map_err(|detail| refuse("?", detail))?;
        let mut ours = vec![topic::control(&self.source), topic::messages(&self.source)];
        if self.settings.transactions {
            ours.push(topic::transactions(&self.source));
        }
        if ours.contains(&name) {
            return Err(refuse(
                &name,
                format!("table {table} would have walbridge's own topic; choose another `topic`"),
            ));
        }
        let keyed = !relation.key.is_empty();
        if let Some(at) = self.topics.iter().position(|topic| topic.name == name)
            && let Some(found) = self.topics.get_mut(at)
        {
            if let Content::Rows(other) = &found.content
                && other != table
            {
                let detail = format!(
                    "tables {other} and {table} would share it; choose another `topic`, or leave one of them out"
                );
                return Err(refuse(&name, detail));
            }
            found.keyed &= keyed;
            return Ok(u32::try_from(at).unwrap_or(u32::MAX));
        }
        Ok(self.add(Topic { name, content: Content::Rows(table.clone()), keyed }))
    }

    /// The topic of logical messages, and the number of its schemas.
    pub fn messages(&mut self) -> (u32, Option<u32>) {
        let topic = topic::messages(&self.source);
        let schemas = self.format.message_schemas();
        let schemas = schemas.map(|schemas| self.number(TopicSchemas { topic: topic.clone(), schemas }));
        (self.ours(topic, Content::Messages), schemas)
    }

    fn number(&mut self, schemas: TopicSchemas) -> u32 {
        let found = self.schemas.iter().position(|known| *known == schemas);
        let at = found.unwrap_or_else(|| {
            self.schemas.push(schemas);
            self.schemas.len().saturating_sub(1)
        });
        u32::try_from(at).unwrap_or(u32::MAX)
    }

    /// The schemas that came since there were so many.
    #[must_use]
    pub fn schemas_from(&self, count: usize) -> &[TopicSchemas] {
        self.schemas.get(count..).unwrap_or_default()
    }

    /// The topic that tells how transactions begin and end.
    pub fn transactions(&mut self) -> u32 {
        self.ours(topic::transactions(&self.source), Content::Transactions)
    }

    fn ours(&mut self, name: String, content: Content) -> u32 {
        let found = self.topics.iter().position(|topic| topic.content == content);
        match found {
            Some(at) => u32::try_from(at).unwrap_or(u32::MAX),
            None => self.add(Topic { name, content, keyed: true }),
        }
    }

    fn add(&mut self, topic: Topic) -> u32 {
        self.topics.push(topic);
        u32::try_from(self.topics.len().saturating_sub(1)).unwrap_or(u32::MAX)
    }

    /// The topics that came since there were so many.
    #[must_use]
    pub fn topics_from(&self, count: usize) -> &[Topic] {
        self.topics.get(count..).unwrap_or_default()
    }
}

/// A number for a version of a table: the same for the same, whoever asks (FNV-1a).
fn fingerprint(relation: &Relation) -> u32 {
    let mut hash = 0x811C_9DC5_u32;
    let mut take = |bytes: &[u8]| {
        for &byte in bytes.iter().chain(&[0]) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    };
    take(&relation.oid.to_le_bytes());
    for column in &relation.columns {
        take(column.name.as_bytes());
        take(format!("{:?}", column.shape).as_bytes());
    }
    relation.key.iter().for_each(|&column| take(&(column as u64).to_le_bytes()));
    hash
}
