//! Bulk requests, and what became of each of their items.

use std::collections::VecDeque;
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;

use super::client::{self, Client};
use super::error::{self, Reason};
use super::held::Write;
use super::pipeline;
use super::place::{self, Layout};
use crate::decode::json;
use crate::project::mutation::{Key, Rejection};
use crate::sink::SinkError;

/// What the server has no room for is sent again after these. As long as it takes something each time, that begins anew; then the sink pauses,
/// and says so.
const PATIENCE: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1)];
/// Items of one request.
const ITEMS_MAX: usize = 5_000;

/// How bulk requests are made.
pub(super) struct Bulk {
    /// The alias that all documents are under; `None`: each is told its own.
    pub(super) alias: Option<String>,
    /// Documents that are put go through this ingest pipeline.
    pub(super) pipeline: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(alias = "delete")]
    index: Outcome,
}

#[derive(Deserialize)]
struct Outcome {
    status: u16,
    error: Option<Reason>,
}

/// What became of an item.
enum Became {
    Done,
    NoRoom(SinkError),
    Refused(String),
}

/// What became of a request.
#[derive(Default)]
struct Sent {
    refused: Vec<(Write, String)>,
    /// What the server had no room for, and its word for it.
    again: Vec<Write>,
    no_room: Option<SinkError>,
}

impl Bulk {
    /// Sends writes of different keys, in requests no larger than the server takes. Returns those that it can never take; their documents are removed,
    /// because a later change of the row must not be completed from what it was before.
    ///
    /// What finds no room is sent again alone, before this returns: a row's later change could come before it. The order of these does not matter.
    pub(super) async fn send(&self, client: &mut Client, writes: Vec<Write>) -> Result<Vec<Rejection>, SinkError> {
        let mut rejected = Vec::new();
        let mut rest = VecDeque::from(writes);
        let mut patience = PATIENCE.iter();
        while !rest.is_empty() {
            let count = length(&rest, client.room.bytes());
            let now: Vec<Write> = rest.drain(..count).collect();
            let Sent { refused, again, no_room } = self.request(client, now).await?;
            if !refused.is_empty() {
                self.check_pipeline(client).await?;
            }
            for (Write { key, place, version, mutation, .. }, reason) in refused {
                rejected.extend(mutation.map(|mutation| Rejection { mutation, reason }));
                rest.push_back(Write { key, place, version, document: None, mutation: None });
            }
            let Some(error) = no_room else {
                client.room.widen();
                patience = PATIENCE.iter();
                continue;
            };
            if again.len() < count {
                patience = PATIENCE.iter();
            }
            again.into_iter().rev().for_each(|write| rest.push_front(write));
            client.room.narrow();
            let Some(&pause) = patience.next() else { return Err(error) };
            tracing::debug!(%error, bytes = client.room.bytes(), "waiting for room");
            tokio::time::sleep(pause).await;
        }
        Ok(rejected)
    }

    /// Removes documents.
    pub(super) async fn remove(
        &self,
        client: &mut Client,
        layout: Layout,
        keys: &[Key],
        version: u64,
    ) -> Result<(), SinkError> {
        // They were found in an index, so they are in one.
        let deletes = keys.iter().filter_map(|key| {
            let place = layout.locate(key).ok()?;
            Some(Write { key: key.clone(), place, version, document: None, mutation: None })
        });
        // A removal is not refused.
        self.send(client, deletes.collect()).await.map(drop)
    }

    /// Sends one request.
    async fn request(&self, client: &mut Client, writes: Vec<Write>) -> Result<Sent, SinkError> {
        let answer = client.ask(Method::POST, &self.path(), client::LINES, body(&writes).into()).await?;
        let mut sent = Sent::default();
        match answer.status {
            413 if writes.len() == 1 => {
                let reason = "it is longer than a request to this server may be (http.max_content_length)".to_owned();
                sent.refused = writes.into_iter().map(|write| (write, reason.clone())).collect();
                return Ok(sent);
            }
            413 | 429 | 503 => {
                sent.no_room = Some(error::no_room(client.shown(), answer.status, &answer.body));
                sent.again = writes;
                return Ok(sent);
            }
            _ => {}
        }
        let answer: Answer = client.read("bulk request", answer)?;
        if answer.items.len() != writes.len() {
            let detail = format!("bulk request: {} answers to {} items", answer.items.len(), writes.len());
            return Err(SinkError::Unavailable { target: client.shown(), detail });
        }
        for (write, item) in writes.into_iter().zip(answer.items) {
            match self.became(client, &write, item.index)? {
                Became::Done => {}
                Became::NoRoom(error) => {
                    sent.no_room = Some(error);
                    sent.again.push(write);
                }
                Became::Refused(reason) => sent.refused.push((write, reason)),
            }
        }
        Ok(sent)
    }

    fn became(&self, client: &Client, write: &Write, outcome: Outcome) -> Result<Became, SinkError> {
        let reason = outcome.error.unwrap_or_default();
        Ok(match outcome.status {
            200..=299 => Became::Done,
            // There was nothing to remove.
            404 if write.document.is_none() && reason.kind.is_empty() => Became::Done,
            // Something newer is there. Only a request that has been given up comes that late, or one of a process that is fenced at its commit.
            409 => Became::Done,
            429 | 503 => Became::NoRoom(error::judge(client.shown(), "bulk request", 429, &reason)),
            400 if write.document.is_some() => Became::Refused(reason.text()),
            // What a processor of the pipeline throws.
            500 if write.document.is_some() && self.pipeline.is_some() => Became::Refused(reason.text()),
            status => return Err(error::judge(client.shown(), "bulk request", status, &reason)),
        })
    }

    /// Rows are not refused because somebody has removed the pipeline.
    async fn check_pipeline(&self, client: &mut Client) -> Result<(), SinkError> {
        match &self.pipeline {
            Some(name) => pipeline::check(client, name).await,
            None => Ok(()),
        }
    }

    fn path(&self) -> String {
        let alias = self.alias.as_ref().map(|alias| format!("/{alias}")).unwrap_or_default();
        let pipeline = self.pipeline.as_ref().map(|name| format!("&pipeline={}", place::encode(name)));
        let pipeline = pipeline.unwrap_or_default();
        format!("{alias}/_bulk?require_alias=true&filter_path=items.*.status,items.*.error{pipeline}")
    }
}

/// How many go into one request.
fn length(writes: &VecDeque<Write>, bytes_max: usize) -> usize {
    let mut bytes = 0_usize;
    let fits = writes.iter().take(ITEMS_MAX).take_while(|write| {
        bytes = bytes.saturating_add(write.bytes());
        bytes <= bytes_max
    });
    fits.count().max(1)
}

fn body(writes: &[Write]) -> Vec<u8> {
    let mut body = Vec::with_capacity(writes.iter().map(|write| write.bytes().saturating_add(128)).sum());
    for Write { place, version, document, .. } in writes {
        body.extend_from_slice(if document.is_some() { b"{\"index\":{\"_id\":" } else { b"{\"delete\":{\"_id\":" });
        json::write_string(place.id.as_bytes(), &mut body);
        for (name, value) in [("_index", &place.alias), ("routing", &place.routing)] {
            if let Some(value) = value {
                body.extend_from_slice(format!(",\"{name}\":").as_bytes());
                json::write_string(value.as_bytes(), &mut body);
            }
        }
        body.extend_from_slice(format!(",\"version\":{version},\"version_type\":\"external_gte\"}}}}\n").as_bytes());
        if let Some(document) = document {
            body.extend_from_slice(document);
            body.push(b'\n');
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::super::place::Whereabouts;
    use super::*;

    #[test]
    fn items_are_lines_that_no_value_can_break() {
        let place = |id: &str, alias: Option<&str>, routing: Option<&str>| Whereabouts {
            alias: alias.map(str::to_owned),
            routing: routing.map(str::to_owned),
            id: id.to_owned(),
        };
        let write = |place, document: Option<&str>| Write {
            key: Key("k".into()),
            place,
            version: 7,
            document: document.map(|document| document.as_bytes().to_vec()),
            mutation: None,
        };
        let body = body(&[
            write(place("a\"\n{\"delete\":{}}", None, None), Some(r#"{"id":1}"#)),
            write(place("b", Some("of-b"), Some("\"")), None),
        ]);
        let lines: Vec<serde_json::Value> = body
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).expect("JSON"))
            .collect();
        let external = "external_gte";
        assert_eq!(
            lines,
            [
                serde_json::json!({ "index": { "_id": "a\"\n{\"delete\":{}}", "version": 7, "version_type": external } }),
                serde_json::json!({ "id": 1 }),
                serde_json::json!({ "delete": { "_id": "b", "_index": "of-b", "routing": "\"", "version": 7, "version_type": external } }),
            ]
        );
    }
}
