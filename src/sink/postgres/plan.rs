//! What is to be done to a table of the target before rows of the source's can go there. Pure.
//!
//! Each version of the source's table is compared with the one before, as it was noted down, and with what is there. A change that keeps every value is
//! made; of all others the exact statement is told, and the sink waits for somebody to run it. Whatever changes, the source's table is copied
//! again behind it, so a column that is added here, or one that changed its name where that cannot be told from a new one, is filled by that.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::found::{Found, FoundColumn};
use super::sql::{self, identifier};
use super::types::{self, Type};
use crate::event::Relation;

/// A version of the source's table, as it is noted in the target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Definition {
    /// The columns in their order: name, type, modifier.
    pub(super) columns: Vec<(String, u32, i32)>,
    /// The names of those that name a row, in the order of the keys.
    pub(super) key: Vec<String>,
}

impl Definition {
    pub(super) fn of(relation: &Relation) -> Self {
        let columns = relation.columns.iter();
        Definition {
            columns: columns.map(|column| (column.name.clone(), column.type_oid, column.type_modifier)).collect(),
            key: relation.key_columns().map(|column| column.name.clone()).collect(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.columns.iter().any(|(column, ..)| column == name)
    }
}

/// Why rows cannot go there, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    pub(super) detail: String,
    pub(super) remedy: String,
}

/// Whether rows of this table have a name that the target can hold them by. Of a table whose rows are named by all their columns those with NULLs are
/// refused one by one.
pub(super) fn check_key(relation: &Relation) -> Result<(), Complaint> {
    if !relation.key.is_empty() {
        return Ok(());
    }
    let name = sql::table(&relation.name);
    Err(Complaint {
        detail: format!("table {} has no key, and rows that cannot be told apart cannot be kept", relation.name),
        remedy: format!(
            "Run at the source: ALTER TABLE {name} ADD PRIMARY KEY (…); or leave the table out of the sink's `from`"
        ),
    })
}

/// The statements that make a table for these rows. `written`: the columns' types as the target writes them.
pub(super) fn create(relation: &Relation, written: &[String]) -> String {
    let columns = relation.columns.iter().zip(written);
    let columns: Vec<String> =
        columns.map(|(column, written)| format!("{} {written}", identifier(&column.name))).collect();
    let key = sql::names(relation.key_columns().map(|column| column.name.as_str()));
    format!("CREATE TABLE {} ({}, PRIMARY KEY ({key}))", sql::table(&relation.name), columns.join(", "))
}

/// The statements that fit the table that is there to the version of these rows, in order. `noted`: the version before.
pub(super) fn fit(
    relation: &Relation,
    written: &[String],
    noted: Option<&Definition>,
    found: &Found,
) -> Result<Vec<String>, Complaint> {
    let table = sql::table(&relation.name);
    let (mut alters, mut after) = (Vec::new(), found.clone());
    if let Some(noted) = noted {
        follow(noted, &Definition::of(relation), &table, &mut after, &mut alters);
    }
    for (column, written) in relation.columns.iter().zip(written) {
        let name = identifier(&column.name);
        match after.column(&column.name) {
            None => alters.push(format!("ALTER TABLE {table} ADD COLUMN {name} {written}")),
            Some(there) if types::holds(there.is, column) || there.generated => {}
            Some(there) => {
                let alter = format!("ALTER TABLE {table} ALTER COLUMN {name} TYPE {written} USING {name}::{written}");
                if !types::takes(types::of(column), there.is) {
                    let (column, is) = (&column.name, &there.written);
                    return Err(Complaint {
                        detail: format!(
                            "column {column} of table {} is {is} there, which cannot hold {written}",
                            relation.name
                        ),
                        remedy: format!("Run there: {alter}"),
                    });
                }
                alters.push(alter);
            }
        }
    }
    demands(relation, &after)?;
    Ok(alters)
}

/// Columns that were renamed or dropped.
fn follow(noted: &Definition, new: &Definition, table: &str, after: &mut Found, alters: &mut Vec<String>) {
    for (old, name) in renames(noted, new) {
        if after.column(&old).is_some() && after.column(&name).is_none() {
            alters.push(format!("ALTER TABLE {table} RENAME COLUMN {} TO {}", identifier(&old), identifier(&name)));
            after.rename(&old, &name);
        }
    }
    for (name, ..) in noted.columns.iter().filter(|(name, ..)| !new.has(name)) {
        if after.column(name).is_some() {
            alters.push(format!("ALTER TABLE {table} DROP COLUMN {}", identifier(name)));
            after.drop(name);
        }
    }
}

/// Whether the table asks for something that rows of the source do not have.
fn demands(relation: &Relation, after: &Found) -> Result<(), Complaint> {
    let (name, table) = (&relation.name, sql::table(&relation.name));
    let key: BTreeSet<&str> = relation.key_columns().map(|column| column.name.as_str()).collect();
    let is_key = |columns: &Vec<String>| columns.iter().map(String::as_str).collect::<BTreeSet<_>>() == key;
    if !after.unique.iter().any(is_key) {
        let key = sql::names(relation.key_columns().map(|column| column.name.as_str()));
        return Err(Complaint {
            detail: format!(
                "table {name} has no primary key or unique index there of exactly ({key}), by which its rows are named"
            ),
            remedy: format!("Run there: ALTER TABLE {table} ADD PRIMARY KEY ({key})"),
        });
    }
    let others = after.columns.iter().filter(|column| relation.column_index(&column.name).is_none());
    match others.into_iter().find(|column| column.wants_value) {
        None => Ok(()),
        Some(FoundColumn { name: column, .. }) => Err(Complaint {
            detail: format!(
                "column {column} of table {name} must not be null there, and the source has no such column"
            ),
            remedy: format!("Run there: ALTER TABLE {table} ALTER COLUMN {} DROP NOT NULL", identifier(column)),
        }),
    }
}

/// Columns that have another name now, old and new. A new column stands behind all others, so one that stands before others and differs in its name
/// alone was renamed. The last ones could as well have been dropped and others added.
fn renames(old: &Definition, new: &Definition) -> Vec<(String, String)> {
    if old.columns.len() != new.columns.len() {
        return Vec::new();
    }
    let pairs: Vec<_> = old.columns.iter().zip(&new.columns).collect();
    let last_same = pairs.iter().rposition(|(old, new)| old.0 == new.0).unwrap_or(0);
    let differing = pairs.iter().take(last_same).filter(|(old, new)| old.0 != new.0);
    let is_rename = |(old_column, new_column): &&(&(String, u32, i32), &(String, u32, i32))| {
        old_column.1 == new_column.1
            && old_column.2 == new_column.2
            && !new.has(&old_column.0)
            && !old.has(&new_column.0)
    };
    differing.filter(|pair| is_rename(pair)).map(|(old, new)| (old.0.clone(), new.0.clone())).collect()
}

/// What the types of these columns are in the target.
pub(super) fn types(relation: &Relation) -> Vec<Type> {
    relation.columns.iter().map(types::of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Column, ReplicaIdentity, Shape, TableName};

    const BOOL: u32 = 16;
    const INT4: u32 = 23;
    const INT8: u32 = 20;
    const TEXT: u32 = 25;

    fn relation(columns: &[(&str, u32)]) -> Relation {
        let column = |&(name, type_oid): &(&str, u32)| Column {
            name: name.to_owned(),
            type_oid,
            type_modifier: -1,
            shape: Shape::TEXT,
        };
        Relation {
            oid: 1,
            name: TableName { schema: "public".into(), table: "t".into() },
            identity: ReplicaIdentity::Default,
            columns: columns.iter().map(column).collect(),
            key: vec![0],
        }
    }

    /// A table that was made for this version.
    fn found(relation: &Relation) -> Found {
        let column = |column: &Column| FoundColumn {
            name: column.name.clone(),
            is: types::of(column),
            written: format!("t{}", column.type_oid),
            cast: format!("t{}", column.type_oid),
            wants_value: column.name == "id",
            generated: false,
        };
        let unique = vec![vec!["id".to_owned()]];
        Found { oid: 7, columns: relation.columns.iter().map(column).collect(), unique }
    }

    /// The statements between two versions of a table, without what they all begin with.
    fn between(old: &[(&str, u32)], new: &[(&str, u32)]) -> Result<Vec<String>, Complaint> {
        let (old, new) = (relation(old), relation(new));
        let written: Vec<String> = new.columns.iter().map(|column| format!("t{}", column.type_oid)).collect();
        let alters = fit(&new, &written, Some(&Definition::of(&old)), &found(&old))?;
        Ok(alters.iter().map(|alter| alter.replace("ALTER TABLE \"public\".\"t\" ", "")).collect())
    }

    #[test]
    fn what_keeps_every_value_is_followed() {
        let id = ("id", INT4);
        for (old, new, alters) in [
            (vec![id], vec![id], vec![]),
            (vec![id], vec![id, ("a", TEXT)], vec!["ADD COLUMN \"a\" t25"]),
            (vec![id, ("a", TEXT)], vec![id], vec!["DROP COLUMN \"a\""]),
            (vec![id], vec![("id", INT8)], vec!["ALTER COLUMN \"id\" TYPE t20 USING \"id\"::t20"]),
            (vec![("id", INT8)], vec![id], vec![]),
            (
                vec![id, ("a", TEXT), ("z", TEXT)],
                vec![id, ("b", TEXT), ("z", TEXT)],
                vec!["RENAME COLUMN \"a\" TO \"b\""],
            ),
            // Renamed, or dropped and another added: who can tell.
            (vec![id, ("a", TEXT)], vec![id, ("b", TEXT)], vec!["DROP COLUMN \"a\"", "ADD COLUMN \"b\" t25"]),
            (vec![id, ("a", TEXT), ("z", TEXT)], vec![id, ("z", TEXT), ("a", INT4)], vec![]),
        ] {
            assert_eq!(between(&old, &new).expect("followed"), alters, "{old:?} {new:?}");
        }
    }

    #[test]
    fn what_does_not_is_left_to_somebody_with_the_statement() {
        let refused = |old: &[(&str, u32)], new: &[(&str, u32)]| between(old, new).expect_err("refused").remedy;
        let remedy = refused(&[("id", INT4), ("a", BOOL)], &[("id", INT4), ("a", INT4)]);
        assert!(
            remedy.ends_with("ALTER TABLE \"public\".\"t\" ALTER COLUMN \"a\" TYPE t23 USING \"a\"::t23"),
            "{remedy}"
        );
        assert!(refused(&[("id", INT4)], &[("key", INT4)]).contains("ADD PRIMARY KEY (\"key\")"));
    }

    #[test]
    fn a_table_that_somebody_made_is_asked_for_what_rows_need() {
        let new = relation(&[("id", INT4)]);
        let mut there = found(&relation(&[("id", INT8), ("more", TEXT)]));
        assert_eq!(fit(&new, &["t23".into()], None, &there), Ok(vec![]), "a wider column and one more do no harm");
        if let Some(more) = there.columns.last_mut() {
            more.wants_value = true;
        }
        let refused = fit(&new, &["t23".into()], None, &there).expect_err("refused");
        assert!(refused.remedy.contains("ALTER COLUMN \"more\" DROP NOT NULL"), "{refused:?}");
    }

    #[test]
    fn rows_without_a_key_are_refused_before_anything_is_made() {
        let keyless = Relation { key: Vec::new(), ..relation(&[("a", TEXT)]) };
        assert!(check_key(&keyless).expect_err("refused").remedy.contains("ADD PRIMARY KEY"));
    }
}
