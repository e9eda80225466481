//! An index that was built beside takes the place of the one behind the alias.
//!
//! One request of the server moves the alias, so a search meets one index or the other, whole. The checkpoint is written before that, and
//! names the new index already: whoever is cut short in between does both again before anything is written.

use hyper::Method;
use serde_json::{Value, json};

use super::Options;
use super::checkpoint::Fence;
use super::client::{self, Client};
use super::index::Index;
use crate::sink::{Old, SinkError};

/// See [`crate::sink::Replaceable::replace`].
pub(super) async fn replace(options: &Options, client: &mut Client, by: &str, old: Old) -> Result<(), SinkError> {
    let alias = &options.index;
    let before = Index::find(options, &options.index, client).await?;
    if before.as_ref().is_some_and(|index| index.uuid == by) {
        return Ok(());
    }
    let built = Index::find(&options.beside(), &options.index, client).await?.filter(|index| index.uuid == by);
    let Some(built) = built else { return Err(gone(client, alias)) };
    let upto = Fence::read(client, &built.alias).await?.checkpoint(|uuid| uuid == by);
    let Some(upto) = upto else { return Err(gone(client, alias)) };
    client.refresh(&built.name).await?;
    let mut fence = Fence::read(client, alias).await?;
    let had = before.as_ref().and_then(|before| fence.checkpoint(|uuid| uuid == before.uuid));
    if !fence.write(client, alias, by, upto).await? {
        let detail = "its checkpoint was written just now".to_owned();
        return Err(SinkError::Fenced { target: client.shown(), detail });
    }
    let answer = client.post("/_aliases", &json!({ "actions": actions(alias, before.as_ref(), &built, old) })).await?;
    if let Err(error) = client.accept(&format!("moving the alias {alias}"), answer) {
        if let (Some(before), Some(had)) = (&before, had) {
            // It is refused, and has not happened.
            fence.write(client, alias, &before.uuid, had).await?;
        }
        return Err(error);
    }
    let old = before.map(|index| index.name);
    tracing::info!(%alias, index = %built.name, ?old, "the index was replaced");
    Fence::remove(client, &built.alias).await
}

/// In one step: the new index has the readers' alias and no other; the old one has none, or stands beside to be removed. It is not removed in the same
/// step, for a search under way would find less of it, or nothing.
fn actions(alias: &str, before: Option<&Index>, built: &Index, old: Old) -> Vec<Value> {
    let mut actions = vec![
        json!({ "add": { "index": built.name, "alias": alias, "is_write_index": true } }),
        json!({ "remove": { "index": built.name, "alias": built.alias } }),
    ];
    if let Some(Index { name, .. }) = before {
        actions.push(json!({ "remove": { "index": name, "alias": alias } }));
        if old == Old::Dropped {
            actions.push(json!({ "add": { "index": name, "alias": built.alias } }));
        }
    }
    actions
}

/// See [`crate::sink::Replaceable::remove`].
pub(super) async fn remove(options: &Options, client: &mut Client) -> Result<(), SinkError> {
    let Some(index) = Index::find(options, &options.index, client).await? else { return Ok(()) };
    let answer = client.ask(Method::DELETE, &format!("/{}", index.name), client::JSON, Vec::new().into()).await?;
    client.accept(&format!("removing the index {}", index.name), answer)?;
    Fence::remove(client, &index.alias).await
}

fn gone(client: &Client, alias: &str) -> SinkError {
    let detail = format!("the index that was built to replace `{alias}` is gone");
    SinkError::Regressed { target: client.shown(), detail }
}
