//! What happened between two looks at the catalog, and what each of it does to the rows that are in the sinks already.
//! Pure.
//!
//! The stream tells of rows, not of definitions. So what matters is one question: are there rows that are another than the
//! last event told of them? Where the catalog cannot tell, the answer is yes: a copy too many is work, one too few is a lie.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::fingerprint::{ColumnPrint, Fingerprint, Inventory, Member};
use crate::event::{ReplicaIdentity, TableName};

/// Something that happened to one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The table as it is now, or, if it is gone, as it was.
    pub print: Fingerprint,
    /// What happened.
    pub what: What,
}

/// What can happen to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// It is new, or is meant only now.
    Appeared,
    /// It is gone, or is no longer meant. Its rows are nobody's.
    Vanished,
    /// It goes by another name now; documents stand under the old one.
    Renamed {
        /// As it was.
        from: Box<Fingerprint>,
    },
    /// It is another table under the name of one that is gone; documents of that stand under it.
    Replaced {
        /// The one that is gone, or goes by another name.
        old: Box<Fingerprint>,
    },
    /// Rows are not what the stream has told: they must be read again.
    RowsDiffer {
        /// What made them differ, for people.
        why: String,
    },
    /// Its definition changed, and the stream tells all that follows from it.
    Followed {
        /// What changed, for people.
        what: String,
    },
}

impl Change {
    /// Whether a source that must not follow has to halt.
    #[must_use]
    pub fn alters_a_table(&self) -> bool {
        !matches!(self.what, What::Appeared)
    }

    /// One line for people.
    #[must_use]
    pub fn told(&self) -> String {
        let name = self.print.name();
        match &self.what {
            What::Appeared => format!("table {name} is new"),
            What::Vanished => format!("table {name} is gone, or no longer meant by `tables`"),
            What::Renamed { from } => format!("table {} is called {name} now", from.name()),
            What::Replaced { .. } => format!("table {name} is another one under the same name"),
            What::RowsDiffer { why } => format!("table {name}: {why}"),
            What::Followed { what } => format!("table {name}: {what}"),
        }
    }
}

/// Everything that happened, in an order in which it can be acted upon: first what makes names free.
#[must_use]
pub fn compare(then: &Inventory, now: &Inventory) -> Vec<Change> {
    let mut changes = Vec::new();
    let names_now: HashMap<TableName, u32> = now.tables.values().map(|print| (print.name(), print.oid)).collect();
    let names_then: HashMap<TableName, &Fingerprint> =
        then.tables.values().map(|print| (print.name(), print)).collect();
    for (oid, print) in &then.tables {
        // Under its name stands another table now: that one's copy removes what it does not have.
        let replaced = names_now.get(&print.name()).is_some_and(|other| other != oid);
        match now.tables.get(oid) {
            None if replaced => {}
            None => changes.push(Change { print: print.clone(), what: What::Vanished }),
            Some(new) if new.name() != print.name() => {
                let from = Box::new(print.clone());
                changes.push(Change { print: new.clone(), what: What::Renamed { from } });
            }
            Some(_) => {}
        }
    }
    for (oid, new) in &now.tables {
        match then.tables.get(oid) {
            None if let Some(old) = names_then.get(&new.name()) => {
                let old = Box::new((*old).clone());
                changes.push(Change { print: new.clone(), what: What::Replaced { old } });
            }
            None => changes.push(Change { print: new.clone(), what: What::Appeared }),
            // A rename copies the rows in any case.
            Some(old) if old.name() != new.name() => {}
            Some(old) => changes.extend(table(old, new).map(|what| Change { print: new.clone(), what })),
        }
    }
    changes
}

/// What happened to a table that is the same one under the same name.
fn table(then: &Fingerprint, now: &Fingerprint) -> Option<What> {
    let mut differ = Vec::new();
    let mut followed = Vec::new();
    let rewritten = was_rewritten(then, now);
    columns(then, now, rewritten, &mut differ, &mut followed);
    if !then.logged && now.logged {
        differ.push("it was unlogged for a while, when nothing was sent".to_owned());
    }
    if !then.named {
        differ.push("for a while its rows could not be named by its key".to_owned());
    }
    published(then, now, &mut differ);
    members(then, now, &mut differ);
    if then.key() != now.key() {
        let list = |names: &[String]| if names.is_empty() { "the whole row".to_owned() } else { names.join(", ") };
        // Every document has another name.
        differ.push(format!("its key was {}, and is {}", list(then.key()), list(now.key())));
    } else if then.identity != now.identity {
        followed.push(format!("its replica identity is {} now", word(now.replica_identity())));
    }
    if !differ.is_empty() {
        return Some(What::RowsDiffer { why: differ.join("; ") });
    }
    (!followed.is_empty()).then(|| What::Followed { what: followed.join("; ") })
}

/// Its rows were written anew because their definition changed. `VACUUM FULL`, `CLUSTER`, `TRUNCATE`, another tablespace,
/// access method or persistence change the file too, but not the columns' entries in the catalog, save for making the
/// missing values real.
fn was_rewritten(then: &Fingerprint, now: &Fingerprint) -> bool {
    let files = |print: &Fingerprint| -> BTreeMap<u32, u32> {
        let members = print.members.iter().map(|member| (member.oid, member.filenode));
        members.chain([(print.oid, print.filenode)]).collect()
    };
    let files_now = files(now);
    let moved = files(then).iter().any(|(oid, file)| files_now.get(oid).is_some_and(|now| now != file));
    let known: HashMap<i16, &ColumnPrint> = then.columns.iter().map(|column| (column.number, column)).collect();
    let touched = |column: &ColumnPrint| match known.get(&column.number) {
        Some(old) => old.version != column.version && old.has_missing == column.has_missing,
        None => true,
    };
    moved && now.columns.iter().any(touched)
}

fn columns(
    then: &Fingerprint,
    now: &Fingerprint,
    rewritten: bool,
    differ: &mut Vec<String>,
    followed: &mut Vec<String>,
) {
    let before = differ.len();
    let sent = |print: &Fingerprint| -> BTreeMap<i16, ColumnPrint> {
        print.sent_columns().map(|column| (column.number, column.clone())).collect()
    };
    let (old, new) = (sent(then), sent(now));
    if then.published.is_none() || now.published.is_none() {
        return;
    }
    for (number, column) in &new {
        let name = &column.name;
        match old.get(number) {
            // One that was there, and is sent only now, has values.
            None if then.columns.iter().any(|known| known.number == *number) => {
                differ.push(format!("column {name} is published now"));
            }
            None if column.has_missing || rewritten => differ.push(format!("column {name} was added with a default")),
            // Documents from before it came lack it, where `SELECT` has null.
            None => differ.push(format!("column {name} was added")),
            Some(known) if known.name != *name => {
                differ.push(format!("column {} is called {name} now", known.name));
            }
            Some(known) if known.type_oid != column.type_oid => {
                differ.push(format!("column {name} has another type"));
            }
            Some(known) if known.generated != column.generated => {
                differ.push(format!("column {name} is generated in another way"));
            }
            Some(known) if then.rewords(now, known.type_oid) => {
                differ.push(format!("the type of column {name} has other words for the same values"));
            }
            Some(known) if known.type_modifier != column.type_modifier && !rewritten => {
                followed.push(format!("column {name} has another type modifier"));
            }
            Some(_) => {}
        }
    }
    let gone = old.iter().filter(|(number, _)| !new.contains_key(*number));
    differ.extend(gone.map(|(_, column)| format!("column {} is gone", column.name)));
    if rewritten && differ.len() == before {
        differ.push("its rows were written anew".to_owned());
    }
}

fn published(then: &Fingerprint, now: &Fingerprint, differ: &mut Vec<String>) {
    match (&then.published, &now.published) {
        (Some(old), Some(new)) => {
            if old.membership != new.membership {
                differ.push("it was taken out of the publication and put in again".to_owned());
            }
            if old.row_filter != new.row_filter {
                differ.push("its row filter was changed".to_owned());
            }
        }
        (None, Some(_)) => differ.push("it is published again".to_owned()),
        (_, None) => {}
    }
}

/// No event tells of partitions that come or go with their rows, nor, with `publish_via_partition_root`, of the `TRUNCATE`
/// of one.
fn members(then: &Fingerprint, now: &Fingerprint, differ: &mut Vec<String>) {
    let by_oid = |print: &Fingerprint| -> BTreeMap<u32, Member> {
        print.members.iter().map(|member| (member.oid, member.clone())).collect()
    };
    let (old, new) = (by_oid(then), by_oid(now));
    let attached = new.values().filter(|member| match old.get(&member.oid) {
        None => !member.born,
        Some(known) => known.since != member.since,
    });
    let attached = attached.count();
    let gone = old.keys().collect::<BTreeSet<_>>().difference(&new.keys().collect()).count();
    let other_file = |member: &&Member| old.get(&member.oid).is_some_and(|known| known.filenode != member.filenode);
    let truncated = new.values().filter(other_file).count();
    for (count, what) in [(attached, "attached"), (gone, "detached or dropped"), (truncated, "truncated, or rewritten")]
    {
        if count > 0 {
            let partitions = if count == 1 { "partition was" } else { "partitions were" };
            differ.push(format!("{count} {partitions} {what}"));
        }
    }
}

const fn word(identity: ReplicaIdentity) -> &'static str {
    match identity {
        ReplicaIdentity::Default => "the primary key",
        ReplicaIdentity::Full => "the whole row",
        ReplicaIdentity::Index => "an index",
        ReplicaIdentity::Nothing => "nothing",
    }
}
