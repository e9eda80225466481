//! Within one batch, only the last effect on a key need reach the target. Pure.
//!
//! Order between keys means nothing inside a batch that becomes visible at once, so each key keeps the place of its last
//! effect. What may not be lost on the way:
//! - a later row's unchanged TOAST values, which an earlier row of the batch may hold: they are taken over, along moved keys
//!   too (`UPDATE t SET id = id + 1` reuses keys within one statement);
//! - a row that was deleted and is there again without its unchanged values has none of what it had before: it ceased to be the sink's
//!   for a while (`shape`), and changed unseen. Its delete is kept, to be staged first ([`take_deletes_of_returned`]);
//! - a truncate is a barrier: what came before it is gone, what comes after stays behind it;
//! - history is never coalesced.

use std::collections::{HashMap, HashSet};

use super::mutation::{Document, Effect, Key, Mutation};
use crate::event::{Cell, RowBuilder};

/// The shortest run of mutations with the same outcome.
#[must_use]
pub fn coalesce(mutations: Vec<Mutation>) -> Vec<Mutation> {
    if mutations.len() < 2 {
        return mutations;
    }
    let most = mutations.len();
    let mut run = Run { kept: Vec::with_capacity(most), places: HashMap::with_capacity(most) };
    for mutation in mutations {
        run.add(mutation);
    }
    run.kept.into_iter().flatten().collect()
}

/// Takes the deletes out whose keys have a later effect: they are to be staged before all else, so that what stood under those keys is
/// not taken for theirs.
#[must_use]
pub fn take_deletes_of_returned(mutations: &mut Vec<Mutation>) -> Vec<Mutation> {
    let is_delete = |mutation: &&Mutation| mutation.effect == Effect::Delete;
    let deleted: HashSet<&Key> = mutations.iter().filter(is_delete).map(|mutation| &mutation.key).collect();
    if deleted.is_empty() {
        return Vec::new();
    }
    let mut last = HashMap::new();
    for (at, mutation) in mutations.iter().enumerate() {
        let is_an_effect = matches!(mutation.effect, Effect::Put { .. } | Effect::Delete);
        if is_an_effect && deleted.contains(&mutation.key) {
            last.insert(mutation.key.clone(), at);
        }
    }
    let is_early = |at: usize, mutation: &Mutation| {
        mutation.effect == Effect::Delete && last.get(&mutation.key).is_some_and(|&last| last > at)
    };
    let mut at = 0;
    let taken = mutations.extract_if(.., |mutation| {
        at += 1;
        is_early(at - 1, mutation)
    });
    taken.collect()
}

struct Run {
    kept: Vec<Option<Mutation>>,
    /// Where each key's effect stands in `kept`; and for deleted keys, the document it had, which a moved row may need.
    places: HashMap<Key, Place>,
}

struct Place {
    at: usize,
    was: Option<Origin>,
}

/// A document of this batch, and the key in the target under which the values that it lacks stand, if not its own.
#[derive(Clone)]
struct Origin {
    document: Document,
    key: Option<Key>,
}

impl Run {
    fn add(&mut self, mut mutation: Mutation) {
        let mut returns = false;
        match &mut mutation.effect {
            Effect::Append(_) => {
                self.kept.push(Some(mutation));
                return;
            }
            Effect::Sweep { .. } => {
                // What came before it must be there when it is carried out.
                self.places.clear();
                self.kept.push(Some(mutation));
                return;
            }
            Effect::Clear(table) => {
                let gone = |document: &Document| document.relation.name == *table;
                for kept in &mut self.kept {
                    kept.take_if(|kept| matches!(&kept.effect, Effect::Put { document, .. } if gone(document)));
                }
                let kept = &self.kept;
                self.places.retain(|_, place| {
                    place.was.take_if(|was| gone(&was.document));
                    kept.get(place.at).is_some_and(Option::is_some)
                });
                self.kept.push(Some(mutation));
                return;
            }
            Effect::Put { document, moved_from } => {
                returns = moved_from.is_none() && document.row.lacks_values() && self.is_deleted(&mutation.key);
                let source = moved_from.as_ref().unwrap_or(&mutation.key);
                if let Some(before) = self.document_of(source).filter(|_| !returns) {
                    complete(document, &before.document);
                    // What is still lacking stands in the target under the key that the batch's first row came from.
                    *moved_from = before.key.or_else(|| moved_from.take());
                }
                if moved_from.as_ref() == Some(&mutation.key) || !document.row.lacks_values() {
                    *moved_from = None;
                }
            }
            Effect::Delete => {}
        }
        let was = match &mutation.effect {
            Effect::Delete => self.document_of(&mutation.key),
            Effect::Put { .. } | Effect::Clear(_) | Effect::Sweep { .. } | Effect::Append(_) => None,
        };
        let at = self.kept.len();
        let earlier = self.places.insert(mutation.key.clone(), Place { at, was });
        if let Some(slot) = earlier.filter(|_| !returns).and_then(|earlier| self.kept.get_mut(earlier.at)) {
            *slot = None;
        }
        self.kept.push(Some(mutation));
    }

    /// Whether a key's last effect in this batch is its delete.
    fn is_deleted(&self, key: &Key) -> bool {
        let last = self.places.get(key).and_then(|place| self.kept.get(place.at)?.as_ref());
        last.is_some_and(|last| last.effect == Effect::Delete)
    }

    /// The document that a key has in this batch, or had before it was deleted in this batch.
    fn document_of(&self, key: &Key) -> Option<Origin> {
        let place = self.places.get(key)?;
        if place.was.is_some() {
            return place.was.clone();
        }
        match &self.kept.get(place.at)?.as_ref()?.effect {
            Effect::Put { document, moved_from } => {
                Some(Origin { document: document.clone(), key: moved_from.clone() })
            }
            Effect::Delete | Effect::Clear(_) | Effect::Sweep { .. } | Effect::Append(_) => None,
        }
    }
}

/// Fills a row's unchanged cells from an older row, by column name: the table may have changed in between.
fn complete(document: &mut Document, before: &Document) {
    if !document.row.lacks_values() {
        return;
    }
    let mut builder = RowBuilder::default();
    for (column, cell) in document.relation.columns.iter().zip(document.row.cells()) {
        let older = || before.relation.column_index(&column.name).and_then(|index| before.row.cell(index));
        builder.push(if cell == Cell::Unchanged { older().unwrap_or(cell) } else { cell });
    }
    document.row = builder.finish();
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::testing::{relation, row};
    use super::*;
    use crate::event::{Position, Relation};

    /// A target: each key's document as (id, small, big).
    type Target = BTreeMap<Key, Vec<String>>;

    fn key(id: u8) -> Key {
        Key(bytes::Bytes::from(id.to_string()))
    }

    fn put(relation: &Arc<Relation>, id: u8, values: [&str; 2], moved_from: Option<u8>) -> Mutation {
        let document = Document { relation: relation.clone(), row: row(&[&id.to_string(), values[0], values[1]]) };
        let effect = Effect::Put { document, moved_from: moved_from.map(key) };
        Mutation { key: key(id), position: Position::default(), effect }
    }

    fn delete(id: u8) -> Mutation {
        Mutation { key: key(id), position: Position::default(), effect: Effect::Delete }
    }

    /// As a sink does it: what is lacking is read from the target as it was before the batch.
    fn apply(target: &Target, mutations: &[Mutation], before: impl Fn(&Target, &Key) -> Vec<String>) -> Target {
        let mut now = target.clone();
        for mutation in mutations {
            match &mutation.effect {
                Effect::Put { document, moved_from } => {
                    let older = before(&now, moved_from.as_ref().unwrap_or(&mutation.key));
                    let cells = document.row.cells().zip(0..).map(|(cell, index): (Cell<'_>, usize)| match cell {
                        Cell::Text(text) => String::from_utf8_lossy(text).into_owned(),
                        Cell::Null | Cell::Unchanged | Cell::Binary(_) => {
                            older.get(index).cloned().unwrap_or_else(|| "lost".to_owned())
                        }
                    });
                    now.insert(mutation.key.clone(), cells.collect());
                }
                Effect::Delete => _ = now.remove(&mutation.key),
                Effect::Clear(_) => now.clear(),
                Effect::Sweep { .. } | Effect::Append(_) => {}
            }
        }
        now
    }

    #[derive(Clone, Debug)]
    enum Statement {
        Insert(u8),
        Update(u8),
        UpdateBig(u8),
        Move(u8, u8),
        Delete(u8),
        Truncate,
    }

    fn statement() -> impl Strategy<Value = Statement> {
        let id = || 0u8..4;
        prop_oneof![
            3 => id().prop_map(Statement::Insert),
            4 => id().prop_map(Statement::Update),
            2 => id().prop_map(Statement::UpdateBig),
            4 => (id(), id()).prop_map(|(from, to)| Statement::Move(from, to)),
            2 => id().prop_map(Statement::Delete),
            1 => Just(Statement::Truncate),
        ]
    }

    /// What PostgreSQL would send for those statements that are possible.
    fn mutations(target: &Target, statements: &[Statement]) -> Vec<Mutation> {
        let relation = Arc::new(relation("t", &["id", "small", "big"], &[0]));
        let mut exists: Vec<bool> = (0..4).map(|id| target.contains_key(&key(id))).collect();
        let mut out = Vec::new();
        for (n, statement) in statements.iter().enumerate() {
            let (small, big) = (format!("s{n}"), format!("b{n}"));
            match *statement {
                Statement::Insert(id) if !exists[usize::from(id)] => {
                    out.push(put(&relation, id, [&small, &big], None));
                    exists[usize::from(id)] = true;
                }
                Statement::Update(id) if exists[usize::from(id)] => out.push(put(&relation, id, [&small, "~"], None)),
                Statement::UpdateBig(id) if exists[usize::from(id)] => {
                    out.push(put(&relation, id, [&small, &big], None))
                }
                Statement::Move(from, to) if exists[usize::from(from)] && !exists[usize::from(to)] => {
                    out.extend([delete(from), put(&relation, to, [&small, "~"], Some(from))]);
                    exists[usize::from(from)] = false;
                    exists[usize::from(to)] = true;
                }
                Statement::Delete(id) if exists[usize::from(id)] => {
                    out.push(delete(id));
                    exists[usize::from(id)] = false;
                }
                Statement::Truncate => {
                    let effect = Effect::Clear(relation.name.clone());
                    out.push(Mutation { key: Key(bytes::Bytes::new()), position: Position::default(), effect });
                    exists.fill(false);
                }
                // Not possible in this state: PostgreSQL would refuse it, or match no row.
                Statement::Insert(_)
                | Statement::Update(_)
                | Statement::UpdateBig(_)
                | Statement::Move(..)
                | Statement::Delete(_) => {}
            }
        }
        out
    }

    proptest! {
        /// One by one, each move reads the document just deleted; coalesced, only the target before the batch is read.
        #[test]
        fn a_coalesced_batch_ends_like_its_mutations_one_by_one(statements in prop::collection::vec(statement(), 0..24)) {
            let target: Target =
                [0, 1].map(|id| (key(id), vec![id.to_string(), "old".into(), format!("big{id}")])).into();
            let all = mutations(&target, &statements);
            let graveyard = std::cell::RefCell::new(target.clone());
            let one_by_one = all.iter().fold(target.clone(), |now, mutation| {
                let next = apply(&now, std::slice::from_ref(mutation), |_, key| {
                    graveyard.borrow().get(key).cloned().unwrap_or_default()
                });
                graveyard.borrow_mut().extend(next.clone());
                next
            });
            let coalesced = coalesce(all);
            let read_before = |_: &Target, key: &Key| target.get(key).cloned().unwrap_or_default();
            prop_assert_eq!(apply(&target, &coalesced, read_before), one_by_one);
        }
    }

    /// A row left the sink's rows, got another large value meanwhile, and came back in an update that left that alone. It was completed
    /// from the document it had before, and the old value stood there for good.
    #[test]
    fn a_row_that_comes_back_takes_nothing_of_what_it_was() {
        let relation = Arc::new(relation("t", &["id", "small", "big"], &[0]));
        let whole = put(&relation, 1, ["a", "old"], None);
        let back = put(&relation, 1, ["b", "~"], None);
        let mut out = coalesce(vec![whole, delete(1), delete(1), back.clone()]);
        assert_eq!(take_deletes_of_returned(&mut out), [delete(1)]);
        assert_eq!(out.as_slice(), std::slice::from_ref(&back));
        let moved = put(&relation, 2, ["c", "~"], Some(1));
        let mut out = coalesce(vec![delete(1), back, delete(1), moved.clone()]);
        assert_eq!(take_deletes_of_returned(&mut out), [delete(1)]);
        assert_eq!(out, [delete(1), moved]);
    }

    #[test]
    fn keys_reused_within_one_statement_end_right() {
        // UPDATE t SET id = id + 1, in descending order: grouping deletes before puts, or after, loses rows.
        let relation = Arc::new(relation("t", &["id", "small", "big"], &[0]));
        let moves = [2, 1, 0].into_iter().flat_map(|id: u8| [delete(id), put(&relation, id + 1, ["s", "~"], Some(id))]);
        let out = coalesce(moves.collect());
        let effects: Vec<_> = out.iter().map(|m| (m.key.to_string(), matches!(m.effect, Effect::Delete))).collect();
        assert_eq!(
            effects,
            [("3".to_owned(), false), ("2".to_owned(), false), ("0".to_owned(), true), ("1".to_owned(), false)]
        );
    }
}
