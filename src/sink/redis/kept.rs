//! What stands under the keys that rows are to be added to. A string or a hash takes the place of whatever was there; a collection, or a hash that others have fields in, is added to, so a
//! key of another type is somebody else's, and Redis refuses the command. Inside `EXEC` that would fail the whole transaction, for ever; so
//! the types are asked for before.

use std::collections::HashMap;

use bytes::Bytes;
use redis::Pipeline;

use super::home::Home;
use super::reply::Reply;
use super::stream::{self, Tails};
use super::{Form, Target, ValueKind, member};
use crate::project::mutation::{Effect, Mutation};
use crate::sink::SinkError;

/// The keys of another type than the form's, with their types.
pub(super) type Foreign = HashMap<Bytes, String>;

/// Looks at the keys that a run of mutations would add to, and at the ends of streams that are not known yet.
///
/// # Errors
/// The server cannot be asked.
pub(super) async fn look(
    target: &Target,
    mutations: &[Mutation],
    tails: &mut Tails,
    home: &mut Home,
) -> Result<Foreign, SinkError> {
    let (form, shown) = (&target.form, target.address.shown());
    let Some(wanted) = form.value.kept_type() else { return Ok(Foreign::new()) };
    let mut keys: Vec<Bytes> = mutations.iter().filter_map(|mutation| key_of(form, mutation)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| !tails.contains_key(key));
    let mut pipeline = Pipeline::new();
    for key in &keys {
        // What is built beside will stand where readers look.
        pipeline.cmd("TYPE").arg(target.own.before.take(key));
        if form.value == ValueKind::Stream {
            stream::ask(key, &mut pipeline);
        }
    }
    let mut replies = home.ask(&pipeline).await?.into_iter();
    let mut foreign = Foreign::new();
    for key in keys {
        let found = match replies.next().map(|reply| reply.accepted(shown, "TYPE")).transpose()? {
            Some(Reply::Bytes(name)) => String::from_utf8_lossy(&name).into_owned(),
            _ => "unknown".to_owned(),
        };
        // Where nothing is, there is nothing to be told of it, either.
        let tail = (form.value == ValueKind::Stream).then(|| replies.next()).flatten().and_then(stream::tail);
        if found != wanted && found != "none" {
            foreign.insert(key, found);
        } else if form.value == ValueKind::Stream {
            tails.insert(key, tail.unwrap_or_default());
        }
    }
    Ok(foreign)
}

/// The key in Redis that a mutation adds to.
pub(super) fn key_of(form: &Form, mutation: &Mutation) -> Option<Bytes> {
    match &mutation.effect {
        Effect::Append(event) => {
            let (pattern, _) = form.stream.as_ref()?;
            stream::name(pattern, event).map(Bytes::from)
        }
        Effect::Put { .. } | Effect::Delete if form.value.is_collection() || form.value == ValueKind::Fields => {
            Some(member::redis_key(form.value, &mutation.key.0))
        }
        Effect::Put { .. } | Effect::Delete | Effect::Clear(_) | Effect::Sweep { .. } => None,
    }
}
