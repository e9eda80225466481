//! A table as it was when its rows were written.

use std::fmt;
use std::sync::Arc;

use super::Shape;

/// `schema.table`, unquoted, as the catalog has the names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The schema (`pg_namespace.nspname`).
    pub schema: String,
    /// The table (`pg_class.relname`).
    pub table: String,
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// Which tables something is about.
pub type TableFilter = Arc<dyn Fn(&TableName) -> bool + Send + Sync>;

/// Which logical messages something is about, by their prefix.
pub type MessageFilter = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What PostgreSQL logs of the old row on `UPDATE` and `DELETE` (`pg_class.relreplident`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReplicaIdentity {
    /// The primary key, and on `UPDATE` only if it changed.
    Default = b'd',
    /// Nothing: PostgreSQL refuses `UPDATE` and `DELETE` on a published table.
    Nothing = b'n',
    /// All columns.
    Full = b'f',
    /// The columns of a chosen unique index.
    Index = b'i',
}

impl ReplicaIdentity {
    /// From the catalog's and the protocol's letter.
    #[must_use]
    pub const fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'd' => ReplicaIdentity::Default,
            b'n' => ReplicaIdentity::Nothing,
            b'f' => ReplicaIdentity::Full,
            b'i' => ReplicaIdentity::Index,
            _ => return None,
        })
    }
}

/// A published column.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Column {
    /// Its name, unquoted.
    pub name: String,
    /// `pg_attribute.atttypid`.
    pub type_oid: u32,
    /// `pg_attribute.atttypmod`; -1 for none.
    pub type_modifier: i32,
    /// How its text is to be read.
    pub shape: Shape,
}

/// One version of a table: what a `Relation` message announced, completed from the catalog. Immutable; rows are always
/// read with the version they were written with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Relation {
    /// `pg_class.oid`, which survives a rename.
    pub oid: u32,
    /// Its name when the rows were written.
    pub name: TableName,
    /// What old rows hold.
    pub identity: ReplicaIdentity,
    /// The published columns in the order of the tuples.
    pub columns: Vec<Column>,
    /// The columns that name a row, as indexes into `columns`, in the order of those: the replica identity's, or under
    /// [`ReplicaIdentity::Full`] the primary key's, or where there is none all of them.
    pub key: Vec<usize>,
}

impl Relation {
    /// The index of the column with this name.
    #[must_use]
    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// The key's columns in their order.
    pub fn key_columns(&self) -> impl Iterator<Item = &Column> {
        self.key.iter().filter_map(|&index| self.columns.get(index))
    }
}
