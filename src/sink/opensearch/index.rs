//! The index behind the alias: made, recognised, and given the fields of new columns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::Client;
use super::{Options, error, mapping};
use crate::event::Relation;
use crate::http::Answer;
use crate::sink::SinkError;

/// How long what a delete leaves of a document, its version, is kept: far longer than a request can be under way. The server's own minute
/// is as long as that, and an older write that comes late would bring the document back.
pub(super) const TOMBSTONES_KEPT: &str = "10m";

/// See the module.
pub(super) struct Index {
    /// The alias.
    pub(super) alias: String,
    /// Its own name.
    pub(super) name: String,
    /// The index that it names, told from one of the same name that came later.
    pub(super) uuid: String,
    /// The fields that it has.
    fields: Map<String, Value>,
    overrides: Map<String, Value>,
    /// Versions of tables whose columns it has been given.
    learnt: HashSet<Arc<Relation>>,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    aliases: Map<String, Value>,
    #[serde(default)]
    mappings: Mappings,
    settings: Settings,
}

#[derive(Default, Deserialize)]
struct Mappings {
    #[serde(default, rename = "_meta")]
    meta: Map<String, Value>,
    #[serde(default)]
    properties: Map<String, Value>,
}

#[derive(Deserialize)]
struct Settings {
    index: Identity,
}

#[derive(Deserialize)]
struct Identity {
    uuid: String,
}

impl Index {
    /// Finds the index that readers know by this name, or makes it.
    pub(super) async fn open(options: &Options, name: &str, client: &mut Client) -> Result<Self, SinkError> {
        if let Some(index) = Index::find(options, name, client).await? {
            return Ok(index);
        }
        let made = make(options, name, client).await?;
        let target = client.shown();
        Index::find(options, name, client).await?.ok_or_else(|| match made {
            Made::Now(index) => {
                let detail = format!("the index `{index}` that was made just now is gone");
                SinkError::Regressed { target, detail }
            }
            // Not every server of a cluster knows of it in the same moment.
            Made::Before(index) => {
                let alias = options.alias_of(name);
                let detail = format!(
                    "the index `{index}` is there, and `{alias}` does not name it. If it stays so, give the sink another `index`, or remove that one"
                );
                SinkError::Unavailable { target, detail }
            }
        })
    }

    /// Finds the index that readers know by this name, if there is one.
    pub(super) async fn find(options: &Options, name: &str, client: &mut Client) -> Result<Option<Self>, SinkError> {
        let alias = &options.alias_of(name);
        let answer = client.get(&format!("/{alias}")).await?;
        if is_missing(&answer) {
            return Ok(None);
        }
        let found: HashMap<String, Found> = client.read("looking at the index", answer)?;
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some((name, index)), None) if name != *alias && index.is_of(options) => {
                Ok(Some(Index::of(options, alias.clone(), name, index)))
            }
            (Some((name, _)), None) => Err(SinkError::Unusable {
                target: client.shown(),
                detail: format!("`{alias}` is there (index `{name}`), and walbridge did not make it"),
                remedy: "Give the sink another `index`, or remove that one".to_owned(),
            }),
            _ => Err(SinkError::Unusable {
                target: client.shown(),
                detail: format!("`{alias}` is the alias of several indexes"),
                remedy: "Let it name the one that walbridge made".to_owned(),
            }),
        }
    }

    fn of(options: &Options, alias: String, name: String, found: Found) -> Self {
        Index {
            alias,
            name,
            uuid: found.settings.index.uuid,
            fields: found.mappings.properties,
            overrides: options.mapping.clone(),
            learnt: HashSet::new(),
        }
    }

    /// Whether the alias still names this index.
    pub(super) async fn check(&self, client: &mut Client) -> Result<(), SinkError> {
        let answer = client.get(&format!("/{}?filter_path=*.settings.index.uuid", self.alias)).await?;
        let regressed = |detail: String| SinkError::Regressed { target: client.shown(), detail };
        if is_missing(&answer) {
            return Err(regressed(format!("there is no `{}` any more", self.alias)));
        }
        let found: HashMap<String, Found> = client.read("looking at the index", answer)?;
        if found.len() == 1 && found.values().all(|found| found.settings.index.uuid == self.uuid) {
            return Ok(());
        }
        Err(regressed(format!("`{}` is another index than before", self.alias)))
    }

    /// Gives it the fields of a table's version, before rows of that come.
    pub(super) async fn learn(&mut self, client: &mut Client, relation: &Arc<Relation>) -> Result<(), SinkError> {
        if self.learnt.contains(relation) {
            return Ok(());
        }
        let new = mapping::properties(relation, &self.overrides, &self.fields);
        if !new.is_empty() {
            let answer = client.put(&format!("/{}/_mapping", self.alias), &json!({ "properties": &new })).await?;
            client.accept(&format!("mapping the columns of {}", relation.name), answer)?;
            tracing::info!(index = %self.alias, table = %relation.name, fields = new.len(), "fields mapped");
            self.fields.extend(new);
        }
        self.learnt.insert(Arc::clone(relation));
        Ok(())
    }
}

impl Found {
    /// Whether it says that it was made for this sink.
    fn is_of(&self, options: &Options) -> bool {
        self.mappings.meta.get("walbridge").and_then(Value::as_str) == Some(&options.index)
    }

    /// The alias that it is written by, if that still leads here.
    fn alias(&self, options: &Options) -> Option<String> {
        let name = self.mappings.meta.get("alias").and_then(Value::as_str)?;
        Some(options.alias_of(name)).filter(|alias| self.aliases.contains_key(alias))
    }
}

/// All indexes of a sink whose rows tell the index.
pub(super) async fn find_all(options: &Options, client: &mut Client) -> Result<Vec<Index>, SinkError> {
    // What all of their names begin with.
    let begin = options.index.split('{').next().unwrap_or_default();
    let wanted = "*.aliases,*.mappings._meta,*.mappings.properties,*.settings.index.uuid";
    let answer = client.get(&format!("/{begin}*?expand_wildcards=all&filter_path={wanted}")).await?;
    let found: HashMap<String, Found> = client.read("looking at the indexes", answer)?;
    let mut indexes = Vec::new();
    for (name, found) in found {
        if found.is_of(options)
            && let Some(alias) = found.alias(options)
        {
            indexes.push(Index::of(options, alias, name, found));
        }
    }
    Ok(indexes)
}

fn is_missing(answer: &Answer) -> bool {
    answer.status == 404 && error::reason(&answer.body).kind == "index_not_found_exception"
}

/// An index's name.
enum Made {
    Now(String),
    /// By a request of ours whose answer was lost, most likely: it may take the server longer than we wait.
    Before(String),
}

/// Makes an index, and the alias with it: the first of this name, or the one behind all that there are.
async fn make(options: &Options, name: &str, client: &mut Client) -> Result<Made, SinkError> {
    let alias = options.alias_of(name);
    // The first may not be there yet.
    let number = if options.is_beside { last_number(name, client).await?.max(1).saturating_add(1) } else { 1 };
    let index = format!("{name}-{number}");
    let mut settings = Map::new();
    settings.insert("index.gc_deletes".to_owned(), TOMBSTONES_KEPT.into());
    settings.extend(options.settings.clone());
    let body = json!({
        "settings": settings,
        "mappings": mapping::empty(&options.index, name),
        "aliases": { &alias: { "is_write_index": true } },
    });
    let answer = client.put(&format!("/{index}"), &body).await?;
    if error::reason(&answer.body).kind == "resource_already_exists_exception" {
        return Ok(Made::Before(index));
    }
    client.accept(&format!("making the index {index}"), answer)?;
    tracing::info!(%index, %alias, "index made");
    Ok(Made::Now(index))
}

/// The highest number that an index of this name has; 0 if there is none.
async fn last_number(alias: &str, client: &mut Client) -> Result<u64, SinkError> {
    let path = format!("/{alias}-*?expand_wildcards=all&filter_path=*.settings.index.uuid");
    let answer = client.get(&path).await?;
    let found: HashMap<String, Value> = client.read("listing indexes", answer)?;
    let numbers = found.keys().filter_map(|name| name.strip_prefix(alias)?.strip_prefix('-')?.parse().ok());
    Ok(numbers.max().unwrap_or(0))
}
