//! Writes held back on our side, in the order in which they were staged.

use std::collections::HashMap;

use bytes::Bytes;

use super::form::Expiry;
use super::merge::Content;

/// One key's write; `None` removes it.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) key: Bytes,
    pub(super) content: Option<Content>,
    pub(super) expiry: Expiry,
    /// The run it came with.
    run: u64,
}

impl Write {
    /// What it weighs.
    pub(super) fn bytes(&self) -> usize {
        self.key.len().saturating_add(self.content.as_ref().map_or(0, Content::bytes))
    }

    /// A string: what `MSET` can set.
    pub(super) fn is_string(&self) -> bool {
        matches!(self.content, Some(Content::String(_)))
    }
}

/// What writes held back say of a key, as of the beginning of the current run.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Before<'h> {
    /// Nothing: what the target has holds.
    Untouched,
    /// It will be removed.
    Removed,
    /// It will be this.
    Content(&'h Content),
}

/// Staged writes that have not been sent.
#[derive(Debug, Default)]
pub(super) struct Held {
    writes: Vec<Write>,
    /// Of the first `indexed` writes.
    places: HashMap<Bytes, Place>,
    indexed: usize,
    bytes: usize,
    run: u64,
}

/// Where a key's last write stands in `writes`, and its last one before that write's run.
#[derive(Debug)]
struct Place {
    at: usize,
    run: u64,
    earlier: Option<usize>,
}

impl Held {
    /// A run begins. Its rows lack values that stood in the target before it, so they are not looked for in it.
    pub(super) fn begin_run(&mut self) {
        self.run = self.run.wrapping_add(1);
    }

    pub(super) fn push(&mut self, key: Bytes, content: Content, expiry: Expiry) {
        self.add(Write { key, content: Some(content), expiry, run: self.run });
    }

    pub(super) fn remove(&mut self, key: Bytes) {
        self.add(Write { key, content: None, expiry: Expiry::Never, run: self.run });
    }

    fn add(&mut self, write: Write) {
        // The fixed part is about what the bookkeeping of a small write weighs.
        self.bytes = self.bytes.saturating_add(write.bytes()).saturating_add(64);
        self.writes.push(write);
    }

    /// A key as it stood when the run began.
    pub(super) fn before_run(&mut self, key: &[u8]) -> Before<'_> {
        self.index();
        let place = self.places.get(key);
        let at = place.and_then(|place| if place.run == self.run { place.earlier } else { Some(place.at) });
        match at.and_then(|at| self.writes.get(at)) {
            None => Before::Untouched,
            Some(Write { content: None, .. }) => Before::Removed,
            Some(Write { content: Some(content), .. }) => Before::Content(content),
        }
    }

    /// Finds a place for each write. Only rows that lack values ask for it, and most batches have none.
    fn index(&mut self) {
        for (at, write) in self.writes.iter().enumerate().skip(self.indexed) {
            let run = write.run;
            let last = self.places.get(&write.key);
            let earlier = last.and_then(|place| if place.run == run { place.earlier } else { Some(place.at) });
            self.places.insert(write.key.clone(), Place { at, run, earlier });
        }
        self.indexed = self.writes.len();
    }

    /// Drops the writes to some keys, as if they had never been staged.
    pub(super) fn forget(&mut self, gone: impl Fn(&[u8]) -> bool) {
        let before = std::mem::take(self);
        self.run = before.run;
        before.writes.into_iter().filter(|write| !gone(&write.key)).for_each(|write| self.add(write));
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn writes(&self) -> &[Write] {
        &self.writes
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Bytes> {
        self.writes.iter().map(|write| &write.key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(held: &mut Held, key: &str, text: &str) {
        held.push(Bytes::from(key.to_owned()), Content::String(text.as_bytes().to_vec()), Expiry::Never);
    }

    #[test]
    fn a_key_is_seen_as_it_stood_before_the_run() {
        let mut held = Held::default();
        held.begin_run();
        put(&mut held, "a", "1");
        assert_eq!(held.before_run(b"a"), Before::Untouched);
        held.begin_run();
        assert_eq!(held.before_run(b"a"), Before::Content(&Content::String(b"1".to_vec())));
        held.remove("a".into());
        put(&mut held, "a", "2");
        assert_eq!(held.before_run(b"a"), Before::Content(&Content::String(b"1".to_vec())));
        held.begin_run();
        held.remove("b".into());
        held.begin_run();
        assert_eq!(held.before_run(b"a"), Before::Content(&Content::String(b"2".to_vec())));
        assert_eq!(held.before_run(b"b"), Before::Removed);
        put(&mut held, "c", "3");
        held.forget(|key| key == b"a");
        assert_eq!(held.before_run(b"a"), Before::Untouched);
        assert_eq!(held.before_run(b"c"), Before::Untouched);
        assert_eq!(held.before_run(b"b"), Before::Removed);
    }
}
