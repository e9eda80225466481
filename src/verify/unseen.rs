//! What the log has done to a table's rows that a snapshot of the source does not show. Pure.
//!
//! A snapshot's row, and over it, in the log's order, the changes that the snapshot does not see, is the row as of that place in the log. That holds for every row, however
//! often it changes meanwhile, so nothing needs to stand still to be compared.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::capture::snapshot::visibility::Visibility;
use crate::event::Row;
use crate::project::coalesce::coalesce;
use crate::project::mutation::{Document, Effect, Key, Mutation};

/// What of these changes is kept, in bytes. A transaction of more is waited for: once a snapshot sees it, nothing of it has to be kept.
const BYTES_MAX: usize = 64 << 20;
/// What a mutation takes beside its row and key, about.
const MUTATION_BYTES: usize = size_of::<Mutation>() + 64;
/// Mutations that are folded into the rows at once.
const FOLDED_TOGETHER: usize = 4096;

/// See the module. In the log's order.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    changes: Vec<(u32, Vec<Mutation>)>,
    bytes: usize,
    /// Changes of these transactions were too many to be kept.
    dropped: HashSet<u32>,
}

/// What a key should have in the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Should {
    /// This document.
    Have(Document),
    /// Nothing.
    BeGone,
    /// This row, which came here from elsewhere without its large values: its key must be asked for.
    BeAsked(Document),
}

impl Unseen {
    /// Takes a change of the log.
    pub(super) fn add(&mut self, xid: u32, mutations: Vec<Mutation>) {
        let mutations: Vec<Mutation> = mutations.into_iter().map(detached).collect();
        self.bytes = self.bytes.saturating_add(mutations.iter().map(bytes).sum());
        if self.bytes > BYTES_MAX || !self.dropped.is_empty() {
            self.dropped.extend(self.changes.drain(..).map(|(xid, _)| xid));
            self.dropped.insert(xid);
        } else {
            self.changes.push((xid, mutations));
        }
    }

    /// Forgets what a snapshot sees, and with it every later one. `false`: it does not see some of what could not be kept.
    pub(super) fn forget_seen(&mut self, visibility: &Visibility) -> bool {
        self.dropped.retain(|xid| !visibility.sees(*xid));
        if !self.dropped.is_empty() {
            return false;
        }
        self.changes.retain(|(xid, _)| !visibility.sees(*xid));
        if self.changes.is_empty() {
            self.bytes = 0;
        }
        true
    }

    /// What keys should have as of the log's place, of the rows that a snapshot showed under them. A key without a row there had none.
    pub(super) fn over(&self, rows: &[Mutation], keys: &HashSet<Key>) -> HashMap<Key, Should> {
        let mut state = rows.to_vec();
        let mut waiting = 0;
        for (_, mutations) in &self.changes {
            for mutation in mutations {
                if matches!(mutation.effect, Effect::Clear(_)) || keys.contains(&mutation.key) {
                    state.push(mutation.clone());
                    waiting += 1;
                }
            }
            if waiting >= FOLDED_TOGETHER {
                state = coalesce(state);
                waiting = 0;
            }
        }
        let mut should: HashMap<Key, Should> = keys.iter().map(|key| (key.clone(), Should::BeGone)).collect();
        for Mutation { key, effect, .. } in coalesce(state) {
            let Effect::Put { document, .. } = effect else { continue };
            let now = if document.row.lacks_values() { Should::BeAsked(document) } else { Should::Have(document) };
            should.insert(key, now);
        }
        should
    }
}

/// The same, in memory of its own: what the log gives is cut from large buffers, each of which would be kept whole for it.
fn detached(mut mutation: Mutation) -> Mutation {
    mutation.key = Key(Bytes::copy_from_slice(&mutation.key.0));
    if let Effect::Put { document, .. } = &mut mutation.effect {
        document.row = Row::from_tuple_data(Bytes::copy_from_slice(document.row.as_bytes()));
    }
    mutation
}

fn bytes(mutation: &Mutation) -> usize {
    let row = match &mutation.effect {
        Effect::Put { document, .. } => document.row.as_bytes().len(),
        Effect::Delete | Effect::Clear(_) | Effect::Sweep { .. } | Effect::Append(_) => 0,
    };
    row.saturating_add(mutation.key.0.len()).saturating_add(MUTATION_BYTES)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::event::{Position, Relation};
    use crate::project::testing::{relation, row};

    fn key(name: &str) -> Key {
        Key(name.to_owned().into())
    }

    fn put(relation: &Arc<Relation>, name: &str, values: &[&str], from: Option<&str>) -> Mutation {
        let document = Document { relation: relation.clone(), row: row(values) };
        let effect = Effect::Put { document, moved_from: from.map(key) };
        Mutation { key: key(name), position: Position::default(), effect }
    }

    fn delete(name: &str) -> Mutation {
        Mutation { key: key(name), position: Position::default(), effect: Effect::Delete }
    }

    fn have(relation: &Arc<Relation>, values: &[&str]) -> Should {
        Should::Have(Document { relation: relation.clone(), row: row(values) })
    }

    fn sees(text: &str) -> Visibility {
        Visibility::parse(text).expect("a snapshot")
    }

    #[test]
    fn what_the_snapshot_does_not_see_lies_over_what_it_shows() {
        let t = Arc::new(relation("t", &["id", "v", "big"], &[0]));
        let mut unseen = Unseen::default();
        unseen.add(5, vec![put(&t, "1", &["1", "seen", "x"], None)]);
        unseen.add(7, vec![put(&t, "1", &["1", "new", "~"], None)]);
        unseen.add(8, vec![delete("2")]);
        // A row moves away, another takes its place; one comes from where nobody looks, without its large value.
        unseen.add(9, vec![delete("3"), put(&t, "4", &["4", "c", "~"], Some("3"))]);
        unseen.add(9, vec![delete("99"), put(&t, "5", &["5", "d", "~"], Some("99"))]);
        assert!(unseen.forget_seen(&sees("7:7:")));
        let rows: Vec<Mutation> =
            ["1", "2", "3", "6"].map(|name| put(&t, name, &[name, "old", "x"], None)).into_iter().collect();
        let keys: HashSet<Key> = ["1", "2", "3", "4", "5", "6", "7"].into_iter().map(key).collect();
        let should = unseen.over(&rows, &keys);
        for (name, expected) in [
            ("1", have(&t, &["1", "new", "x"])),
            ("2", Should::BeGone),
            ("3", Should::BeGone),
            ("4", have(&t, &["4", "c", "x"])),
            ("5", Should::BeAsked(Document { relation: t.clone(), row: row(&["5", "d", "~"]) })),
            ("6", have(&t, &["6", "old", "x"])),
            ("7", Should::BeGone),
        ] {
            assert_eq!(should.get(&key(name)), Some(&expected), "{name}");
        }
        // Once they are seen, the rows show them.
        assert!(unseen.forget_seen(&sees("10:10:")));
        assert_eq!(unseen.over(&rows, &keys).get(&key("2")), Some(&have(&t, &["2", "old", "x"])));
    }

    #[test]
    fn a_table_that_is_emptied_has_only_what_came_after() {
        let t = Arc::new(relation("t", &["id"], &[0]));
        let mut unseen = Unseen::default();
        let clear = Mutation { key: key(""), position: Position::default(), effect: Effect::Clear(t.name.clone()) };
        unseen.add(7, vec![clear]);
        unseen.add(7, vec![put(&t, "2", &["2"], None)]);
        let rows = ["1", "2"].map(|name| put(&t, name, &[name], None));
        let should = unseen.over(&rows, &["1", "2"].into_iter().map(key).collect());
        assert_eq!(should.get(&key("1")), Some(&Should::BeGone));
        assert_eq!(should.get(&key("2")), Some(&have(&t, &["2"])));
    }

    #[test]
    fn a_transaction_too_large_to_be_kept_is_waited_for() {
        let mut unseen = Unseen::default();
        let fit = BYTES_MAX / bytes(&delete("1"));
        unseen.add(7, (0..fit).map(|_| delete("1")).collect());
        assert!(unseen.forget_seen(&sees("5:7:")), "it fits");
        unseen.add(9, vec![delete("2")]);
        assert!(!unseen.forget_seen(&sees("8:8:")), "one of the two is not seen, and neither was kept");
        unseen.add(10, vec![delete("3")]);
        assert!(!unseen.forget_seen(&sees("10:10:")), "nor what came behind");
        assert!(unseen.forget_seen(&sees("11:11:")));
        unseen.add(12, vec![delete("4")]);
        assert_eq!(unseen.over(&[], &HashSet::from([key("4")])).get(&key("4")), Some(&Should::BeGone));
    }
}
