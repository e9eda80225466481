//! The tables that a sink has met in the log, and what their documents are called. A sink needs nobody else to tell: each event
//! brings its table as it was.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::key::{KeyTemplate, Misnamed, Naming};
use crate::event::{Relation, TableName};

/// Shared by a projection, which learns, and its sink, which asks.
#[derive(Debug, Default)]
pub struct KnownTables {
    naming: Naming,
    /// Versions of each table whose keys look different.
    versions: Mutex<HashMap<TableName, Vec<Arc<Relation>>>>,
}

impl KnownTables {
    /// None yet.
    #[must_use]
    pub fn new(naming: impl Into<Naming>) -> Self {
        KnownTables { naming: naming.into(), versions: Mutex::default() }
    }

    /// Learns a version of a table, and returns the template of its documents. `determined` are columns besides the key's that are known
    /// of a deleted row, too.
    ///
    /// # Errors
    /// What is configured does not fit it.
    pub fn learn(&self, relation: &Arc<Relation>, determined: &[String]) -> Result<KeyTemplate, Misnamed> {
        let template = self.naming.of(relation, determined)?;
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let versions = versions.entry(relation.name.clone()).or_default();
        if self.naming.template.is_none() {
            return Ok(template);
        }
        let shapes = |relation: &Relation| relation.key_columns().map(|column| column.shape).collect::<Vec<_>>();
        if !versions.iter().any(|known| shapes(known) == shapes(relation)) {
            versions.push(relation.clone());
        }
        Ok(template)
    }

    /// The tables that were met.
    #[must_use]
    pub fn tables(&self) -> Vec<TableName> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// A glob, as Redis has them, that matches every document of a table, and perhaps other keys.
    #[must_use]
    pub fn glob(&self, table: &TableName) -> Vec<u8> {
        self.naming.template.as_ref().map_or_else(|| KeyTemplate::default_glob(table), KeyTemplate::glob)
    }

    /// Whether a key that the glob matches could be a document of this table, as it is or ever was.
    #[must_use]
    pub fn may_be_ours(&self, table: &TableName, key: &[u8]) -> bool {
        let Some(template) = &self.naming.template else { return KeyTemplate::is_default_of(table, key) };
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        // One that was never met has no documents.
        versions.get(table).is_some_and(|known| known.iter().any(|relation| template.may_be_ours(relation, key)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::relation;
    use super::*;
    use crate::event::{Scalar, Shape};

    #[test]
    fn keys_of_every_version_met_are_ours() {
        let known = KnownTables::new(Some(KeyTemplate::parse("user:{id}").expect("valid")));
        let text = Arc::new(relation("t", &["id"], &[0]));
        let mut number = relation("t", &["id"], &[0]);
        number.columns[0].shape = Shape::Scalar(Scalar::Integer);
        let table = text.name.clone();
        assert!(!known.may_be_ours(&table, b"user:1"), "not met");
        known.learn(&Arc::new(number), &[]).expect("fits");
        assert!(known.may_be_ours(&table, b"user:1") && !known.may_be_ours(&table, b"user:abc"));
        known.learn(&text, &[]).expect("fits");
        assert!(known.may_be_ours(&table, b"user:abc"));
        assert!(known.learn(&Arc::new(relation("t", &["other"], &[0])), &[]).is_err());
        assert!(KnownTables::new(None).may_be_ours(&table, b"public.t:1"), "its name is enough");
    }
}
