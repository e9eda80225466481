//! What is in the index: the keys of a table's documents, page by page, of one moment; and the documents under keys, as they are now.

use hyper::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::client::{self, Client};
use super::document::{self, Source};
use super::error::{self, Reason};
use super::indexes::Indexes;
use super::place::Layout;
use crate::event::TableName;
use crate::project::mutation::Key;
use crate::sink::SinkError;

const PAGE: usize = 5_000;
/// How long the server keeps the moment between two pages.
const KEPT: &str = "5m";

/// A search that goes on, in one index after the other.
pub(super) struct Scroll {
    id: String,
    table: TableName,
    /// The aliases of the indexes that come behind this one.
    rest: Vec<String>,
}

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "_scroll_id")]
    scroll_id: String,
    #[serde(default)]
    timed_out: bool,
    #[serde(rename = "_shards")]
    shards: Shards,
    hits: Hits,
}

#[derive(Deserialize)]
struct Shards {
    failed: u32,
}

#[derive(Deserialize)]
struct Hits {
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
struct Hit {
    #[serde(rename = "_id")]
    id: String,
    #[serde(default, rename = "_source")]
    source: Source,
}

impl Scroll {
    /// Begins with all that has been written under these aliases.
    pub(super) async fn begin(
        client: &mut Client,
        aliases: Vec<String>,
        table: &TableName,
    ) -> Result<(Option<Self>, Vec<Key>), SinkError> {
        let mut rest = aliases;
        let Some(alias) = rest.pop() else { return Ok((None, Vec::new())) };
        client.refresh(&alias).await?;
        let query = json!({
            "size": PAGE,
            "_source": [document::OWN],
            "sort": ["_doc"],
            "query": { "term": { format!("{}.table", document::OWN): table.to_string() } },
        });
        let answer = client.post(&format!("/{alias}/_search?scroll={KEPT}"), &query).await?;
        let page = client.read("listing documents", answer)?;
        read(client, page, table.clone(), rest).await
    }

    /// The next page.
    pub(super) async fn next(self, client: &mut Client) -> Result<(Option<Self>, Vec<Key>), SinkError> {
        let answer = client.post("/_search/scroll", &json!({ "scroll": KEPT, "scroll_id": self.id })).await?;
        let page = client.read("listing documents", answer)?;
        read(client, page, self.table, self.rest).await
    }
}

async fn read(
    client: &mut Client,
    page: Page,
    table: TableName,
    rest: Vec<String>,
) -> Result<(Option<Scroll>, Vec<Key>), SinkError> {
    if page.timed_out || page.shards.failed > 0 {
        let detail = "listing documents: not all shards have answered".to_owned();
        return Err(SinkError::Unavailable { target: client.shown(), detail });
    }
    let keys: Vec<Key> = page.hits.hits.iter().filter_map(|hit| document::key_of(&hit.id, &hit.source.own)).collect();
    if !page.hits.hits.is_empty() {
        return Ok((Some(Scroll { id: page.scroll_id, table, rest }), keys));
    }
    // The server keeps only so many moments. One that was left in the middle is forgotten by itself.
    let body = json!({ "scroll_id": page.scroll_id }).to_string();
    client.ask(Method::DELETE, "/_search/scroll", client::JSON, body.into()).await?;
    // Boxed, for it may begin the next, which may have nothing either.
    Box::pin(Scroll::begin(client, rest, &table)).await
}

/// Documents that are read at once.
const READ_TOGETHER: usize = 500;

#[derive(Deserialize)]
struct Documents {
    docs: Vec<OneDocument>,
}

#[derive(Deserialize)]
struct OneDocument {
    /// Missing where the server cannot say.
    found: Option<bool>,
    /// Why it cannot.
    error: Option<Reason>,
    #[serde(default, rename = "_source")]
    source: Option<Box<RawValue>>,
}

/// What stands under these keys, as JSON: an answer for each. What was written is found at once, searchable or not.
pub(super) async fn sources(
    client: &mut Client,
    indexes: &Indexes,
    layout: Layout,
    keys: &[Key],
) -> Result<Vec<Option<Box<RawValue>>>, SinkError> {
    let mut sources = Vec::with_capacity(keys.len());
    for group in keys.chunks(READ_TOGETHER) {
        // Where no index is, or can be, no document is.
        let places: Vec<_> =
            group.iter().map(|key| layout.locate(key).ok().filter(|place| indexes.have(place))).collect();
        let docs: Vec<_> =
            places.iter().flatten().map(|place| place.to_json(place.alias.as_deref().or(indexes.only()))).collect();
        let mut answers = Vec::new();
        if !docs.is_empty() {
            let asked = docs.len();
            let answer = client.post("/_mget", &json!({ "docs": docs })).await?;
            let documents: Documents = client.read("reading documents", answer)?;
            if let Some(reason) = documents.docs.iter().find_map(|document| document.error.as_ref()) {
                return Err(error::judge_read(client.shown(), "reading documents", reason));
            }
            if documents.docs.len() != asked || documents.docs.iter().any(|document| document.found.is_none()) {
                let detail = "reading documents: it does not answer for all of them".to_owned();
                return Err(SinkError::Unavailable { target: client.shown(), detail });
            }
            answers = documents.docs;
        }
        let mut answers = answers.into_iter();
        sources.extend(places.iter().map(|place| place.as_ref().and_then(|_| answers.next()?.source)));
    }
    Ok(sources)
}
