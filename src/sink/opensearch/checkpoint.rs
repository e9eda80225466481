//! The checkpoint, in an index of our own: a document for each sink, under the name of its alias.

use bytes::Bytes;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::client::{self, Client};
use super::error;
use crate::http::Answer;
use crate::sink::saved::Saved;
use crate::sink::{Checkpoint, SinkError};

/// The index of all sinks' checkpoints.
const INDEX: &str = ".walbridge";

/// A checkpoint, and the index it is about, or several with commas between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Stored {
    /// Its UUID.
    index: String,
    #[serde(flatten)]
    saved: Saved,
}

/// What stands there, as we last read or wrote it. It can be written on the condition that it still does.
#[derive(Clone, Debug, Default)]
pub(super) struct Fence {
    written: Option<Written>,
}

#[derive(Clone, Debug)]
struct Written {
    seq_no: i64,
    primary_term: i64,
    stored: Stored,
}

#[derive(Deserialize)]
struct Got {
    #[serde(default, rename = "_seq_no")]
    seq_no: i64,
    #[serde(default, rename = "_primary_term")]
    primary_term: i64,
    #[serde(default, rename = "_source")]
    source: Option<Stored>,
}

impl Fence {
    /// Makes the index of checkpoints where there is none.
    pub(super) async fn prepare(client: &mut Client) -> Result<(), SinkError> {
        let answer = client.get(&format!("/{INDEX}?filter_path=*.settings.index.uuid")).await?;
        if answer.status != 404 {
            return client.accept("looking at the index of checkpoints", answer).map(drop);
        }
        let body = json!({
            "settings": { "index.number_of_shards": 1, "index.auto_expand_replicas": "0-1", "index.hidden": true },
            "mappings": { "dynamic": false },
        });
        let answer = client.put(&format!("/{INDEX}"), &body).await?;
        // Another has made it just now.
        let exists = error::reason(&answer.body).kind == "resource_already_exists_exception";
        if exists { Ok(()) } else { client.accept("making the index of checkpoints", answer).map(drop) }
    }

    /// Removes what stands there.
    pub(super) async fn remove(client: &mut Client, name: &str) -> Result<(), SinkError> {
        let path = format!("/{INDEX}/_doc/{name}");
        let answer = client.ask(Method::DELETE, &path, client::JSON, Bytes::new()).await?;
        if answer.status == 404 { Ok(()) } else { client.accept("removing a checkpoint", answer).map(drop) }
    }

    /// Reads what stands there.
    pub(super) async fn read(client: &mut Client, name: &str) -> Result<Self, SinkError> {
        let answer = client.get(&format!("/{INDEX}/_doc/{name}")).await?;
        if answer.status == 404 {
            return Ok(Fence::default());
        }
        let got: Got = client.read("reading the checkpoint", answer)?;
        let written = got.source.map(|stored| Written { seq_no: got.seq_no, primary_term: got.primary_term, stored });
        Ok(Fence { written })
    }

    /// The checkpoint, if the indexes that it is about are there; several are told with commas between them.
    pub(super) fn checkpoint(&self, are_there: impl Fn(&str) -> bool) -> Option<Checkpoint> {
        let stored = &self.written.as_ref()?.stored;
        are_there(&stored.index).then(|| stored.saved.checkpoint()).flatten()
    }

    /// Whether both saw the same write.
    pub(super) fn is(&self, other: &Self) -> bool {
        let place = |fence: &Self| fence.written.as_ref().map(|written| (written.seq_no, written.primary_term));
        place(self) == place(other)
    }

    /// Writes a checkpoint, unless somebody has since we last read or wrote there; `false` then.
    pub(super) async fn write(
        &mut self,
        client: &mut Client,
        name: &str,
        uuids: &str,
        checkpoint: Checkpoint,
    ) -> Result<bool, SinkError> {
        let condition = match &self.written {
            Some(Written { seq_no, primary_term, .. }) => format!("if_seq_no={seq_no}&if_primary_term={primary_term}"),
            None => "op_type=create".to_owned(),
        };
        let stored = Stored { index: uuids.to_owned(), saved: Saved::from(checkpoint) };
        let answer = client.put(&format!("/{INDEX}/_doc/{name}?{condition}"), &json!(&stored)).await?;
        if let Answer { status: 409, .. } = answer {
            return Ok(false);
        }
        let got: Got = client.read("writing the checkpoint", answer)?;
        self.written = Some(Written { seq_no: got.seq_no, primary_term: got.primary_term, stored });
        Ok(true)
    }
}
