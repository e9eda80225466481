//! The index behind the alias: made, recognised, and given the fields of new columns.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{Answer, Client};
use super::{Options, error, mapping};
use crate::event::Relation;
use crate::sink::SinkError;

/// How long what a delete leaves of a document, its version, is kept: far longer than a request can be under way. The server's own minute
/// is as long as that, and an older write that comes late would bring the document back.
pub(super) const TOMBSTONES_KEPT: &str = "10m";

/// See the module.
pub(super) struct Index {
    /// The alias.
    pub(super) alias: String,
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
    /// Finds the index, or makes it.
    pub(super) async fn open(options: &Options, client: &mut Client) -> Result<Self, SinkError> {
        if let Some(index) = Index::find(options, client).await? {
            return Ok(index);
        }
        make(options, client).await?;
        let target = client.shown();
        let detail = "the index that was made just now is gone".to_owned();
        Index::find(options, client).await?.ok_or(SinkError::Regressed { target, detail })
    }

    /// Finds the index, if there is one.
    pub(super) async fn find(options: &Options, client: &mut Client) -> Result<Option<Self>, SinkError> {
        let alias = &options.index;
        let answer = client.get(&format!("/{alias}")).await?;
        if is_missing(&answer) {
            return Ok(None);
        }
        let found: HashMap<String, Found> = client.read("looking at the index", answer)?;
        let ours = |found: &Found| found.mappings.meta.get("walbridge").and_then(Value::as_str) == Some(alias);
        let mut found = found.into_iter();
        match (found.next(), found.next()) {
            (Some((name, index)), None) if name != *alias && ours(&index) => Ok(Some(Index {
                alias: alias.clone(),
                uuid: index.settings.index.uuid,
                fields: index.mappings.properties,
                overrides: options.mapping.clone(),
                learnt: HashSet::new(),
            })),
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

fn is_missing(answer: &Answer) -> bool {
    answer.status == 404 && error::reason(&answer.body).kind == "index_not_found_exception"
}

/// Makes the first index, and the alias with it.
async fn make(options: &Options, client: &mut Client) -> Result<(), SinkError> {
    let alias = &options.index;
    let mut settings = Map::new();
    settings.insert("index.gc_deletes".to_owned(), TOMBSTONES_KEPT.into());
    settings.extend(options.settings.clone());
    let body = json!({
        "settings": settings,
        "mappings": mapping::empty(alias),
        "aliases": { alias: { "is_write_index": true } },
    });
    let answer = client.put(&format!("/{alias}-1"), &body).await?;
    client.accept(&format!("making the index {alias}-1"), answer)?;
    tracing::info!(index = %format!("{alias}-1"), %alias, "index made");
    Ok(())
}
