//! Which version of its table a row is of: exactly what pgoutput takes us to know. Pure.
//!
//! It announces a table before its first row, and then again only after a change. A streamed transaction is announced its tables
//! by itself; when it is committed, what it announced counts for all, unless the table was announced to all since. A
//! transaction that is assembled from the spill is therefore read *apart*, with its own announcements first.

use std::collections::HashMap;
use std::sync::Arc;

use crate::event::Relation;

/// The versions in use.
#[derive(Debug, Default)]
pub(super) struct Versions {
    current: HashMap<u32, Version>,
    apart: Option<HashMap<u32, Version>>,
    /// Counts announcements, to tell which came later.
    announcements: u64,
}

#[derive(Debug, Default)]
struct Version {
    /// `None` if nobody wants the table.
    relation: Option<Arc<Relation>>,
    announced: u64,
    /// As it was announced.
    message: Box<[u8]>,
}

impl Versions {
    /// A table was announced, by this message; [`Versions::set`] says as what, before the next message.
    pub(super) fn announced(&mut self, oid: u32, message: &[u8]) {
        let version = Version { relation: None, announced: self.count(), message: message.into() };
        self.apart.as_mut().unwrap_or(&mut self.current).insert(oid, version);
    }

    /// The announced table, complete.
    pub(super) fn set(&mut self, oid: u32, relation: Option<Arc<Relation>>) {
        self.apart.as_mut().unwrap_or(&mut self.current).entry(oid).or_default().relation = relation;
    }

    /// A table was announced in a streamed transaction. Gives the announcement's number.
    pub(super) fn count(&mut self) -> u64 {
        self.announcements += 1;
        self.announcements
    }

    /// The table's version, `Some(None)` if nobody wants it; `None` if it was never announced.
    #[inline]
    pub(super) fn get(&self, oid: u32) -> Option<&Option<Arc<Relation>>> {
        let apart = self.apart.as_ref().and_then(|apart| apart.get(&oid));
        apart.or_else(|| self.current.get(&oid)).map(|version| &version.relation)
    }

    /// The message by which a table was last announced to all.
    pub(super) fn message(&self, oid: u32) -> Option<&[u8]> {
        self.current.get(&oid).map(|version| &*version.message)
    }

    /// What is announced from here on counts for one transaction.
    pub(super) fn step_apart(&mut self) {
        self.apart = Some(HashMap::new());
    }

    /// That transaction is over. What it announced counts for all where `announced` has the number of that announcement, and
    /// none to all came later.
    pub(super) fn step_back(&mut self, announced: &HashMap<u32, u64>) {
        for (oid, version) in self.apart.take().into_iter().flatten() {
            let Some(&number) = announced.get(&oid) else { continue };
            if self.current.get(&oid).is_none_or(|current| current.announced < number) {
                self.current.insert(oid, Version { announced: number, ..version });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ReplicaIdentity, TableName};

    fn relation(name: &str) -> Option<Arc<Relation>> {
        let name = TableName { schema: "public".into(), table: name.into() };
        let (identity, columns, key) = (ReplicaIdentity::Default, Vec::new(), Vec::new());
        Some(Arc::new(Relation { oid: 1, name, identity, columns, key }))
    }

    fn announce(versions: &mut Versions, name: &str) {
        versions.announced(1, name.as_bytes());
        versions.set(1, relation(name));
    }

    fn name(versions: &Versions) -> Option<String> {
        versions.get(1).cloned().flatten().map(|relation| relation.name.table.clone())
    }

    #[test]
    fn what_a_committed_transaction_announced_counts_for_all_unless_something_newer_does() {
        for (announced_to_all_since, wanted) in [(false, "streamed"), (true, "newer")] {
            let mut versions = Versions::default();
            announce(&mut versions, "old");
            let number = versions.count();
            if announced_to_all_since {
                announce(&mut versions, "newer");
            }
            versions.step_apart();
            announce(&mut versions, "streamed");
            assert_eq!(name(&versions).as_deref(), Some("streamed"), "its own rows");
            versions.step_back(&HashMap::from([(1, number)]));
            assert_eq!(name(&versions).as_deref(), Some(wanted));
            assert_eq!(versions.message(1), Some(wanted.as_bytes()));
        }
    }

    #[test]
    fn what_a_prepared_transaction_announced_again_is_forgotten_with_its_end() {
        let mut versions = Versions::default();
        versions.step_apart();
        announce(&mut versions, "then");
        versions.step_back(&HashMap::new());
        assert_eq!(name(&versions), None);
        announce(&mut versions, "now");
        versions.step_apart();
        assert_eq!(name(&versions).as_deref(), Some("now"), "until it announces its own");
        announce(&mut versions, "then");
        versions.step_back(&HashMap::new());
        assert_eq!(name(&versions).as_deref(), Some("now"));
    }
}
