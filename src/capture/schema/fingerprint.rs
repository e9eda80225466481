//! What the catalog says of the captured tables at one moment, as far as it decides what the stream carries.
//!
//! It is kept beside the log from run to run, so that what was changed while walbridge was down is found out too.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::catalog::Table;
use crate::event::{Column, Relation, ReplicaIdentity, Shape, TableName};

/// All captured tables, by OID, and the publication.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The publication; `None` if it is not there.
    pub publication: Option<Publication>,
    /// The tables that the configuration means, whether or not the publication sends them.
    pub tables: BTreeMap<u32, Fingerprint>,
    /// Names that nobody has any more, whose documents stay until a copy under another name is done.
    #[serde(default)]
    pub left: Vec<Left>,
}

/// A name that a table has left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// The table as it was under that name.
    pub print: Fingerprint,
    /// What it is copied for: `pg_class.oid`.
    pub table: u32,
}

/// A publication.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publication {
    /// `pg_publication.oid`: another one under the same name is another publication.
    pub oid: u32,
    /// `publish_via_partition_root`.
    pub via_root: bool,
    /// It sends inserts, updates, deletes and truncates.
    pub complete: bool,
    /// Generated columns count as part of the whole row, and can be sent (PostgreSQL 18 and newer).
    pub counts_generated: bool,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// `pg_class.oid`.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name in it.
    pub table: String,
    /// Its changes are in the WAL: it is not unlogged.
    pub logged: bool,
    /// `pg_class.relreplident`.
    pub identity: String,
    /// The primary key's columns, unless it is deferrable.
    pub primary_key: Vec<String>,
    /// The columns of the identity's index, if there is one that may serve.
    pub identity_index: Vec<String>,
    /// Its rows have always been named by this key since it was last acted upon.
    #[serde(default = "always")]
    pub named: bool,
    /// The columns in their order.
    pub columns: Vec<ColumnPrint>,
    /// The types that the columns' values are made of, as far as users made them and may change them.
    #[serde(default)]
    pub types: BTreeMap<u32, TypePrint>,
    /// The file that holds its rows; 0 for a partitioned table. Another one after a rewrite, `TRUNCATE`, `VACUUM FULL`.
    pub filenode: u32,
    /// Below a partitioned table: its partitions, and theirs.
    pub members: Vec<Member>,
    /// How the publication sends it; `None` if it does not.
    pub published: Option<Published>,
    /// This role may read it.
    pub readable: bool,
    /// Row-level security hides rows from this role.
    pub hides_rows: bool,
}

const fn always() -> bool {
    true
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnPrint {
    /// `pg_attribute.attnum`, which survives a rename and is not used again.
    pub number: i16,
    /// Its name.
    pub name: String,
    /// Its type.
    pub type_oid: u32,
    /// Its type's modifier.
    pub type_modifier: i32,
    /// Empty, or how it is generated: `pg_attribute.attgenerated` and a hash of the expression.
    pub generated: String,
    /// Rows from before it was added have its default without having been touched (`pg_attribute.atthasmissing`).
    pub has_missing: bool,
    /// The transaction that last changed its definition (`pg_attribute.xmin`). Equal or not, never earlier or later.
    pub version: u32,
}

/// A type, as far as the text of its values hangs on the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypePrint {
    /// The types that it is made of: of its elements, its attributes, its bounds, or that it is a domain over.
    pub made_of: Vec<u32>,
    /// An enum's labels, by `pg_enum.oid`, which survives a rename.
    pub labels: BTreeMap<u32, String>,
    /// A composite's attributes: `pg_attribute.attnum`.
    pub attributes: Vec<i16>,
}

impl TypePrint {
    /// Whether values from then may be other words now. A label that was added is in no value from then.
    #[must_use]
    pub fn reworded(&self, now: &TypePrint) -> bool {
        let renamed = |(oid, label): (&u32, &String)| now.labels.get(oid).is_some_and(|now| now != label);
        self.attributes != now.attributes || self.labels.iter().any(renamed)
    }
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// `pg_class.oid`.
    pub oid: u32,
    /// The file that holds its rows; 0 if it is partitioned itself.
    pub filenode: u32,
    /// The transaction that made it a partition (`pg_inherits.xmin`).
    pub since: u32,
    /// It was made as a partition, so that it never held a row that was not sent; otherwise it was attached.
    pub born: bool,
}

/// How a table is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Published {
    /// What makes it so: the OID of its own entry, its schema's, or the publication itself. Another one if it was taken out
    /// and put in again.
    pub membership: u32,
    /// The columns that are sent.
    pub columns: Vec<String>,
    /// Which rows are sent: a hash of the filter as the catalog keeps it.
    pub row_filter: Option<String>,
}

impl Fingerprint {
    /// `schema.table`.
    #[must_use]
    pub fn name(&self) -> TableName {
        TableName { schema: self.schema.clone(), table: self.table.clone() }
    }

    /// What old rows hold.
    #[must_use]
    pub fn replica_identity(&self) -> ReplicaIdentity {
        let letter = self.identity.bytes().next().and_then(ReplicaIdentity::from_letter);
        letter.unwrap_or(ReplicaIdentity::Nothing)
    }

    /// The columns by which documents are named; empty if there are none but the row as a whole. Without an identity that
    /// is still the primary key: rows go on being inserted.
    #[must_use]
    pub fn key(&self) -> &[String] {
        match self.replica_identity() {
            ReplicaIdentity::Index if !self.identity_index.is_empty() => &self.identity_index,
            ReplicaIdentity::Index | ReplicaIdentity::Default | ReplicaIdentity::Full | ReplicaIdentity::Nothing => {
                &self.primary_key
            }
        }
    }

    /// Whether `UPDATE` and `DELETE` tell which row they are about. If not, the server refuses them while they are published.
    #[must_use]
    pub fn has_identity(&self) -> bool {
        match self.replica_identity() {
            ReplicaIdentity::Default => !self.primary_key.is_empty(),
            ReplicaIdentity::Index => !self.identity_index.is_empty(),
            ReplicaIdentity::Full => true,
            ReplicaIdentity::Nothing => false,
        }
    }

    /// Whether it can be captured. `whole_rows`: the whole row may be the key.
    #[must_use]
    pub fn is_capturable(&self, whole_rows: bool) -> bool {
        self.logged && self.has_identity() && (!self.key().is_empty() || whole_rows)
    }

    /// The table as the snapshot wants it.
    #[must_use]
    pub fn to_table(&self) -> Table {
        Table {
            oid: self.oid,
            name: self.name(),
            identity: self.replica_identity(),
            primary_key: self.primary_key.clone(),
            identity_index: self.identity_index.clone(),
            partitioned: self.filenode == 0,
            logged: self.logged,
            hides_rows: self.hides_rows,
            readable: self.readable,
            rows_estimate: None,
        }
    }

    /// The columns that the publication sends.
    pub fn sent_columns(&self) -> impl Iterator<Item = &ColumnPrint> {
        let sent = self.published.as_ref().map_or(&[][..], |published| &published.columns);
        self.columns.iter().filter(|column| sent.contains(&column.name))
    }

    /// Whether values of this type, or of what it is made of, may be other words now than they were.
    #[must_use]
    pub fn rewords(&self, now: &Fingerprint, type_oid: u32) -> bool {
        let (Some(then), Some(found)) = (self.types.get(&type_oid), now.types.get(&type_oid)) else { return false };
        // No type contains itself.
        then.reworded(found) || found.made_of.iter().any(|part| self.rewords(now, *part))
    }

    /// The table as the stream would have announced it, types aside. For events that are about the table as a whole.
    #[must_use]
    pub fn relation(&self) -> Relation {
        let column = |column: &ColumnPrint| Column {
            name: column.name.clone(),
            type_oid: column.type_oid,
            type_modifier: column.type_modifier,
            shape: Shape::TEXT,
        };
        let columns: Vec<Column> = self.sent_columns().map(column).collect();
        let index = |name: &String| columns.iter().position(|column| column.name == *name);
        let mut key: Vec<usize> = self.key().iter().filter_map(index).collect();
        if key.is_empty() {
            key = (0..columns.len()).collect();
        }
        Relation { oid: self.oid, name: self.name(), identity: self.replica_identity(), columns, key }
    }
}
