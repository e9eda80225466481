//! The keys of a table's documents, page by page, of one moment.

use serde::Deserialize;
use serde_json::json;

use super::client::Client;
use super::document::{self, Own};
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

#[derive(Default, Deserialize)]
struct Source {
    #[serde(default, rename = "_walbridge")]
    own: Own,
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
        read(client, client.read("listing documents", answer)?)
    }

    /// The next page.
    pub(super) async fn next(self, client: &mut Client) -> Result<(Option<Self>, Vec<Key>), SinkError> {
        let answer = client.post("/_search/scroll", &json!({ "scroll": KEPT, "scroll_id": self.id })).await?;
        read(client, client.read("listing documents", answer)?)
    }
}

fn read(client: &Client, page: Page) -> Result<(Option<Scroll>, Vec<Key>), SinkError> {
    if page.timed_out || page.shards.failed > 0 {
        let detail = "listing documents: not all shards have answered".to_owned();
        return Err(SinkError::Unavailable { target: client.shown(), detail });
    }
    let keys: Vec<Key> = page.hits.hits.iter().filter_map(|hit| document::key_of(&hit.id, &hit.source.own)).collect();
    let more = !page.hits.hits.is_empty();
    Ok((more.then_some(Scroll { id: page.scroll_id }), keys))
}
