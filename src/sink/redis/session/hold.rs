//! One mutation at a time into what is held back.

use std::collections::HashMap;

use bytes::Bytes;

use super::super::form::Expiry;
use super::super::held::Before;
use super::super::kept::{self, Foreign};
use super::super::merge::{self, Content};
use super::super::{ValueKind, member, stream};
use super::Session;
use crate::event::Event;
use crate::project::mutation::{Document, Effect, Mutation};

/// Redis refuses longer strings (`proto-max-bulk-len`), by closing the connection.
const VALUE_BYTES_MAX: usize = 512 << 20;

/// What became of it.
pub(super) enum Outcome {
    Staged,
    Incomplete,
    Rejected(String),
}

/// What was read for some mutations.
pub(super) struct Seen {
    /// The documents, as committed, that rows lack values of.
    pub(super) stored: HashMap<Bytes, Content>,
    /// Keys that are not ours to add to.
    pub(super) foreign: Foreign,
}

impl Session {
    /// Takes a mutation that needs nothing more from the target.
    pub(super) fn hold(&mut self, mutation: &Mutation, seen: &Seen) -> Outcome {
        let kind = self.target.form.value;
        let name = &mutation.key.0;
        let key = member::redis_key(kind, name);
        if self.target.own.is_reserved(&key) {
            return Outcome::Rejected("its key is reserved for walbridge's own".to_owned());
        }
        match &mutation.effect {
            Effect::Append(event) if kind == ValueKind::Stream => self.hold_event(mutation, event, &seen.foreign),
            Effect::Put { document, .. } if kind != ValueKind::Invalidate && kind != ValueKind::Stream => {
                self.hold_document(mutation, document, &key, seen)
            }
            // Nothing of ours is in another's collection, or under a name that no row was ever taken under.
            Effect::Delete
                if seen.foreign.contains_key(&key) || (kind.is_collection() && member::split(name).is_none()) =>
            {
                Outcome::Staged
            }
            Effect::Put { .. } | Effect::Delete if kind != ValueKind::Stream => {
                self.held.remove(name.clone());
                Outcome::Staged
            }
            Effect::Put { .. } | Effect::Delete => Outcome::Rejected("a stream keeps events, not documents".to_owned()),
            Effect::Clear(_) | Effect::Sweep { .. } | Effect::Append(_) => {
                Outcome::Rejected("this Redis sink keeps documents, not events".to_owned())
            }
        }
    }

    fn hold_document(&mut self, mutation: &Mutation, document: &Document, key: &Bytes, seen: &Seen) -> Outcome {
        let form = &self.target.form;
        self.one_table.get_or_insert_with(|| (self.target.keys_of)(&document.relation.name).all);
        if form.value.is_collection() && member::split(&mutation.key.0).is_none() {
            return Outcome::Rejected(
                "its key or its member holds the byte 1F, which stands between the two".to_owned(),
            );
        }
        if let Some(found) = seen.foreign.get(key) {
            return Outcome::Rejected(not_ours(self.target.own.before.take(key), found));
        }
        if form.lacks_score(document) {
            return Outcome::Incomplete;
        }
        let expiry = match form.score(document).and_then(|_| form.expiry(self.target.own.before.take(key), document)) {
            Ok(expiry) => expiry,
            Err(reason) => return Outcome::Rejected(reason),
        };
        let Some(content) = self.complete(mutation, document, &seen.stored) else {
            // A column that is gone is no value that was left alone.
            let fits = self.target.form.check(&document.relation);
            return fits.map_or_else(Outcome::Rejected, |()| Outcome::Incomplete);
        };
        self.push(mutation.key.0.clone(), content, expiry)
    }

    /// A change as an entry. One whose entry is there already is passed over.
    fn hold_event(&mut self, mutation: &Mutation, event: &Event, foreign: &Foreign) -> Outcome {
        let (Some(key), Some((_, source))) = (kept::key_of(&self.target.form, mutation), &self.target.form.stream)
        else {
            return Outcome::Staged;
        };
        if let Some(found) = foreign.get(&key) {
            return Outcome::Rejected(not_ours(&key, found));
        }
        let last = self.tails.get(&key).copied().unwrap_or_default();
        let id = if mutation.is_late() { stream::late(last) } else { Some(stream::id(mutation.position)) };
        let Some(id) = id else {
            let reason = "some 250 changes have been delivered after their time since the last one in its time: try again behind that";
            return Outcome::Rejected(reason.to_owned());
        };
        if id <= last {
            return Outcome::Staged;
        }
        let (line, expiry) = (stream::line(source, event), self.target.form.fixed_expiry(&key));
        self.tails.insert(key.clone(), id);
        self.push(key, Content::Entry(id, line), expiry)
    }

    fn push(&mut self, name: Bytes, content: Content, expiry: Expiry) -> Outcome {
        let length = content.longest();
        if length > VALUE_BYTES_MAX {
            return Outcome::Rejected(format!("a value of {length} bytes; Redis takes at most {VALUE_BYTES_MAX}"));
        }
        self.held.push(name, content, expiry);
        Outcome::Staged
    }

    fn complete(
        &mut self,
        mutation: &Mutation,
        document: &Document,
        stored: &HashMap<Bytes, Content>,
    ) -> Option<Content> {
        let stored = match self.source(mutation) {
            None => None,
            Some(source) => match self.held.before_run(&source.0) {
                Before::Content(content) => Some(content),
                Before::Removed => None,
                Before::Untouched => {
                    let is_as_read = self.home.is_as_read(&source.0, *source != mutation.key, mutation.position);
                    stored.get(&source.0).filter(|_| is_as_read)
                }
            },
        };
        merge::encode(&self.target.form, document, stored)
    }
}

fn not_ours(key: &[u8], found: &str) -> String {
    format!(
        "under {} there is a {found} of somebody else: remove it, or give the sink another key",
        String::from_utf8_lossy(key)
    )
}
