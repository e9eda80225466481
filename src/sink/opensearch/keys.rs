//! The keys of a table's documents, page by page, of one moment.

use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::client::{self, Client};
use super::document::{self, Source};
use crate::event::TableName;
use crate::project::mutation::Key;
use crate::sink::SinkError;

const PAGE: usize = 5_000;
/// How long the server keeps the moment between two pages.
const KEPT: &str = "5m";

/// A search that goes on.
pub(super) struct Scroll {
    id: String,
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
    /// Begins with all that has been written.
    pub(super) async fn begin(
        client: &mut Client,
        alias: &str,
        table: &TableName,
    ) -> Result<(Option<Self>, Vec<Key>), SinkError> {
        let answer = client.post(&format!("/{alias}/_refresh"), &json!({})).await?;
        client.accept("refreshing", answer)?;
        let query = json!({
            "size": PAGE,
            "_source": [document::OWN],
            "sort": ["_doc"],
            "query": { "term": { format!("{}.table", document::OWN): table.to_string() } },
        });
        let answer = client.post(&format!("/{alias}/_search?scroll={KEPT}"), &query).await?;
        let page = client.read("listing documents", answer)?;
        read(client, page).await
    }

    /// The next page.
    pub(super) async fn next(self, client: &mut Client) -> Result<(Option<Self>, Vec<Key>), SinkError> {
        let answer = client.post("/_search/scroll", &json!({ "scroll": KEPT, "scroll_id": self.id })).await?;
        let page = client.read("listing documents", answer)?;
        read(client, page).await
    }
}

async fn read(client: &mut Client, page: Page) -> Result<(Option<Scroll>, Vec<Key>), SinkError> {
    if page.timed_out || page.shards.failed > 0 {
        let detail = "listing documents: not all shards have answered".to_owned();
        return Err(SinkError::Unavailable { target: client.shown(), detail });
    }
    let keys: Vec<Key> = page.hits.hits.iter().filter_map(|hit| document::key_of(&hit.id, &hit.source.own)).collect();
    if !page.hits.hits.is_empty() {
        return Ok((Some(Scroll { id: page.scroll_id }), keys));
    }
    // The server keeps only so many moments. One that was left in the middle is forgotten by itself.
    let body = json!({ "scroll_id": page.scroll_id }).to_string();
    client.ask(Method::DELETE, "/_search/scroll", client::JSON, body.into()).await?;
    Ok((None, keys))
}
