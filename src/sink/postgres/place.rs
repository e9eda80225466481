//! Where the tables of a sink stand: under their own names; of one that is built beside another, in schemas of its own. Pure.

use sha2::{Digest, Sha256};

use super::Options;
use crate::event::TableName;

impl Options {
    /// The name under which its checkpoint and its tables are noted. No sink of the configuration can be called so, for the space.
    pub(super) fn noted_as(&self) -> String {
        if self.is_beside { format!("{} beside", self.name) } else { self.name.clone() }
    }

    /// Where rows of this table of the source go.
    pub(super) fn place(&self, name: &TableName) -> TableName {
        if !self.is_beside {
            return name.clone();
        }
        TableName { schema: own_schema(&[&self.name, &name.schema], "beside"), table: name.table.clone() }
    }
}

/// A schema of ours for tables of one of the source's. PostgreSQL cuts a name after 63 bytes, so what could be longer stands in it as a hash.
pub(super) fn own_schema(of: &[&str], what: &str) -> String {
    let hash = of.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part).chain_update([0]));
    let hash: String = hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("walbridge_{what}_{hash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_of_one_sink_are_apart_and_short_enough() {
        let long = "s".repeat(63);
        let names =
            [own_schema(&["a", &long], "beside"), own_schema(&["a", "s"], "beside"), own_schema(&["as", ""], "beside")];
        assert!(names.iter().all(|name| name.len() <= 63) && names[0] != names[1] && names[1] != names[2], "{names:?}");
    }
}
