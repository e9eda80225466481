//! The names of what is built beside. They are those that readers know behind a prefix of the sink's own, so nobody takes one for the other.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;

use super::{DocumentKeys, KeysOf};
use crate::project::key;
use crate::project::mutation::{Effect, Key, Mutation};
use crate::sink::Staged;

/// What stands before a name; nothing before those that readers know.
#[derive(Clone, Debug, Default)]
pub(super) struct Prefix(Bytes);

impl Prefix {
    pub(super) fn new(text: impl Into<Bytes>) -> Self {
        Prefix(text.into())
    }

    /// The same as bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name beside.
    pub(super) fn put(&self, name: &Key) -> Key {
        if self.0.is_empty() { name.clone() } else { Key(Bytes::from([&self.0, &name.0].map(|part| &**part).concat())) }
    }

    /// The name that readers know.
    pub(super) fn take<'n>(&self, name: &'n [u8]) -> &'n [u8] {
        name.strip_prefix(&*self.0).unwrap_or(name)
    }

    /// The same of a document's.
    pub(super) fn known(&self, name: &Key) -> Key {
        Key(name.0.slice_ref(self.take(&name.0)))
    }

    /// Matches every name beside, for `SCAN … MATCH`.
    pub(super) fn glob(&self) -> Vec<u8> {
        let mut glob = Vec::new();
        key::put_literal(&self.0, &mut glob);
        glob.push(b'*');
        glob
    }

    /// Mutations of what is beside.
    pub(super) fn mutations<'m>(&self, mutations: &'m [Mutation]) -> Cow<'m, [Mutation]> {
        if self.0.is_empty() {
            return Cow::Borrowed(mutations);
        }
        let mut moved = mutations.to_vec();
        moved.iter_mut().for_each(|mutation| rename(mutation, |name| self.put(name)));
        Cow::Owned(moved)
    }

    /// What became of those, under the names that readers know.
    pub(super) fn told(&self, mut staged: Staged) -> Staged {
        staged.rejected.iter_mut().for_each(|refused| rename(&mut refused.mutation, |name| self.known(name)));
        staged
    }

    /// The keys of a table's documents beside.
    pub(super) fn keys_of(&self, keys_of: KeysOf) -> KeysOf {
        let before = self.clone();
        Arc::new(move |table| {
            let DocumentKeys { glob, matches, all } = keys_of(table);
            let mut of_beside = Vec::new();
            key::put_literal(&before.0, &mut of_beside);
            of_beside.extend_from_slice(&glob);
            let before = before.clone();
            let matches = Arc::new(move |name: &[u8]| name.strip_prefix(&*before.0).is_some_and(|name| matches(name)));
            DocumentKeys { glob: of_beside, matches, all }
        })
    }
}

fn rename(mutation: &mut Mutation, to: impl Fn(&Key) -> Key) {
    mutation.key = to(&mutation.key);
    if let Effect::Put { moved_from: Some(from), .. } = &mut mutation.effect {
        *from = to(from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::TableName;

    #[test]
    fn names_beside_are_those_of_readers_behind_the_prefix() {
        let before = Prefix::new("walbridge:a*b:built:");
        let name = Key(Bytes::from_static(b"t:1"));
        assert_eq!(&*before.put(&name).0, b"walbridge:a*b:built:t:1");
        assert_eq!(before.take(&before.put(&name).0), b"t:1");
        assert_eq!(before.glob(), br"walbridge:a\*b:built:*");
        assert_eq!(Prefix::default().put(&name), name);
        let known: KeysOf = Arc::new(|_| DocumentKeys {
            glob: b"t:*".to_vec(),
            matches: Arc::new(|name| name.starts_with(b"t:")),
            all: true,
        });
        let keys = before.keys_of(known)(&TableName { schema: "public".to_owned(), table: "t".to_owned() });
        assert_eq!(keys.glob, br"walbridge:a\*b:built:t:*");
        assert!((keys.matches)(&before.put(&name).0) && !(keys.matches)(&name.0) && keys.all);
    }
}
