//! Bulk requests, and what became of each of their items.

use std::fmt::Write as _;
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use serde_json::json;

use super::client::{self, Client};
use super::document;
use super::error::{self, Reason};
use super::held::Write;
use crate::project::mutation::{Key, Rejection};
use crate::sink::SinkError;

/// An item that the server has no room for is sent again after these; then the sink pauses, and says so.
const PATIENCE: [Duration; 3] = [Duration::from_millis(100), Duration::from_millis(300), Duration::from_secs(1)];
/// Items of one request.
const ITEMS_MAX: usize = 5_000;

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

/// Sends writes of different keys. Returns those that the server can never take; their documents are removed, because a later change of
/// the row must not be completed from what it was before.
pub(super) async fn send(
    client: &mut Client,
    alias: &str,
    writes: Vec<Write>,
    bytes_max: usize,
) -> Result<Vec<Rejection>, SinkError> {
    let mut rejected = Vec::new();
    let mut rest = writes;
    while !rest.is_empty() {
        let later = rest.split_off(length(&rest, bytes_max));
        let mut removals = Vec::new();
        for (write, reason) in send_one(client, alias, rest).await? {
            rejected.extend(write.mutation.map(|mutation| Rejection { mutation, reason }));
            removals.push(Write { id: write.id, version: write.version, document: None, mutation: None });
        }
        if !removals.is_empty() {
            send_one(client, alias, removals).await?;
        }
        rest = later;
    }
    Ok(rejected)
}

/// Removes documents.
pub(super) async fn remove(client: &mut Client, alias: &str, keys: &[Key], version: u64) -> Result<(), SinkError> {
    let deletes = keys.iter().map(|key| Write { id: document::id_of(key), version, document: None, mutation: None });
    // A removal is not refused.
    send_one(client, alias, deletes.collect()).await.map(drop)
}

/// How many go into one request.
fn length(writes: &[Write], bytes_max: usize) -> usize {
    let mut bytes = 0_usize;
    let fits = writes.iter().take(ITEMS_MAX).take_while(|write| {
        bytes = bytes.saturating_add(write.bytes());
        bytes <= bytes_max
    });
    fits.count().max(1)
}

/// Sends one request, and what of it finds no room again. Returns what is refused, and why.
async fn send_one(client: &mut Client, alias: &str, mut writes: Vec<Write>) -> Result<Vec<(Write, String)>, SinkError> {
    let mut refused = Vec::new();
    let mut patience = PATIENCE.iter();
    loop {
        let path = format!("/{alias}/_bulk?require_alias=true&filter_path=items.*.status,items.*.error");
        let answer = client.ask(Method::POST, &path, client::LINES, body(&writes).into()).await?;
        if answer.status == 413 && writes.len() == 1 {
            let reason = "it is longer than a request to this server may be (http.max_content_length)".to_owned();
            return Ok(writes.into_iter().map(|write| (write, reason.clone())).collect());
        }
        let answer: Answer = client.read("bulk request", answer)?;
        let mut no_room = None;
        let mut again = Vec::new();
        if answer.items.len() != writes.len() {
            let detail = format!("bulk request: {} answers to {} items", answer.items.len(), writes.len());
            return Err(SinkError::Unavailable { target: client.shown(), detail });
        }
        for (write, item) in writes.into_iter().zip(answer.items) {
            match became(client, &write, item.index)? {
                Became::Done => {}
                Became::NoRoom(error) => {
                    no_room = Some(error);
                    again.push(write);
                }
                Became::Refused(reason) => refused.push((write, reason)),
            }
        }
        let Some(error) = no_room else { return Ok(refused) };
        // Other rows go on only with these, or a row's later change could come before them.
        let Some(&pause) = patience.next() else { return Err(error) };
        tokio::time::sleep(pause).await;
        writes = again;
    }
}

fn became(client: &Client, write: &Write, outcome: Outcome) -> Result<Became, SinkError> {
    let reason = outcome.error.unwrap_or_default();
    Ok(match outcome.status {
        200..=299 => Became::Done,
        // There was nothing to remove.
        404 if write.document.is_none() && reason.kind.is_empty() => Became::Done,
        // Something newer is there. Only a request that has been given up comes that late, or one of a process that is fenced at its commit.
        409 => Became::Done,
        429 | 503 => Became::NoRoom(error::judge(client.shown(), "bulk request", 429, &reason)),
        400 if write.document.is_some() => Became::Refused(reason.text()),
        status => return Err(error::judge(client.shown(), "bulk request", status, &reason)),
    })
}

fn body(writes: &[Write]) -> String {
    let mut body = String::with_capacity(writes.iter().map(|write| write.bytes().saturating_add(64)).sum());
    for write in writes {
        let place = json!({ "_id": write.id, "version": write.version, "version_type": "external_gte" });
        // Writing to a string does not fail.
        let _ = match &write.document {
            Some(document) => writeln!(body, "{{\"index\":{place}}}\n{document}"),
            None => writeln!(body, "{{\"delete\":{place}}}"),
        };
    }
    body
}
