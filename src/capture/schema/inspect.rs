//! What is wrong with the captured tables as they are: what keeps changes from being sent, or rows from being read. Pure;
//! an alarm stands as long as its cause does.

use std::collections::HashSet;

use super::super::publication::quoted;
use super::fingerprint::{Fingerprint, Inventory, Published};
use crate::event::{ReplicaIdentity, TableName};
use crate::status::Code;

/// What the configuration wants of the tables.
#[derive(Clone, Debug)]
pub struct Expected {
    /// The publication's name, quoted.
    pub publication: String,
    /// Whether partitions are sent as their root's rows: as it was when the source was first captured.
    pub via_root: bool,
    /// The whole row may be a table's key.
    pub whole_rows: bool,
    /// Existing rows are copied.
    pub copies: bool,
}

/// Something that is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// The public code.
    pub code: Code,
    /// The table; `None` if it is about all.
    pub table: Option<TableName>,
    /// Cause and remedy, for people.
    pub message: String,
}

/// Looks at everything.
#[must_use]
pub fn inspect(now: &Inventory, expected: &Expected) -> Vec<Alarm> {
    let name = &expected.publication;
    let whole = |message: String| Alarm { code: Code::SourcePublication, table: None, message };
    let Some(publication) = &now.publication else {
        return vec![whole(format!(
            "publication {name} is gone: the server sends nothing. Make it again, or restart walbridge, which does; \
             changes made meanwhile are lost to the stream"
        ))];
    };
    let mut alarms = Vec::new();
    if !publication.complete {
        alarms.push(whole(format!(
            "publication {name} leaves out some kinds of changes. Run ALTER PUBLICATION {name} SET (publish = 'insert, \
             update, delete, truncate'); and move the log away to start over, for what it left out is not known"
        )));
    }
    if publication.via_root != expected.via_root {
        alarms.push(whole(format!(
            "publish_via_partition_root of {name} was changed: changes of partitions come under other names, and are left \
             out. Run ALTER PUBLICATION {name} SET (publish_via_partition_root = {}); the tables are then copied again",
            expected.via_root
        )));
    }
    for print in now.tables.values() {
        alarms.extend(table(print, expected, publication.counts_generated));
    }
    alarms
}

fn table(print: &Fingerprint, expected: &Expected, counts_generated: bool) -> Option<Alarm> {
    let name = print.name();
    let sql = quoted(&name);
    let alarm = |code, message: String| Some(Alarm { code, table: Some(name.clone()), message });
    if !print.logged {
        return alarm(
            Code::SourcePublication,
            format!(
                "table {name} is unlogged: its changes are not in the WAL, and none will come. Run ALTER TABLE {sql} SET \
                 LOGGED; it is then copied again. Or leave it out of `tables`"
            ),
        );
    }
    if let Some(message) = identity(print, &sql, expected) {
        return alarm(Code::SourceIdentity, message);
    }
    let Some(published) = &print.published else {
        if print.filenode == 0 && !expected.via_root {
            return None;
        }
        return alarm(
            Code::SourcePublication,
            format!(
                "table {name} is not in publication {}: its changes do not come. Run ALTER PUBLICATION {} ADD TABLE {sql}; \
                 it is then copied again. Or leave it out of `tables`",
                expected.publication, expected.publication
            ),
        );
    };
    if let Some(columns) = unsent_identity(print, published, counts_generated) {
        return alarm(
            Code::SourceIdentity,
            format!(
                "the publication does not send {columns} of table {name}, which its replica identity needs: the server \
                 refuses UPDATE and DELETE. Publish these columns, or run ALTER TABLE {sql} REPLICA IDENTITY DEFAULT;"
            ),
        );
    }
    if expected.copies && !print.readable {
        return alarm(
            Code::SourcePrivilege,
            format!(
                "table {name} may not be read by this role, so it cannot be copied. Run GRANT SELECT ON {sql} TO the role"
            ),
        );
    }
    if expected.copies && print.hides_rows {
        return alarm(
            Code::SnapshotPartialView,
            format!(
                "row-level security hides rows of table {name} from this role, which the stream shows. Run ALTER ROLE … \
                 BYPASSRLS for the role in the url, or leave the table out of `tables`"
            ),
        );
    }
    None
}

/// What is wrong with how its rows are named.
fn identity(print: &Fingerprint, sql: &str, expected: &Expected) -> Option<String> {
    let name = print.name();
    let refused = "the server refuses UPDATE and DELETE on it as long as it is published";
    let mend = if print.primary_key.is_empty() {
        format!(
            "Give it a primary key, or run ALTER TABLE {sql} REPLICA IDENTITY FULL; with tables_without_key = \"full\""
        )
    } else {
        format!("Run ALTER TABLE {sql} REPLICA IDENTITY DEFAULT;")
    };
    match print.replica_identity() {
        ReplicaIdentity::Nothing => Some(format!("table {name} has REPLICA IDENTITY NOTHING: {refused}. {mend}")),
        ReplicaIdentity::Index if print.identity_index.is_empty() => {
            Some(format!("the index that is table {name}'s replica identity is gone: {refused}. {mend}"))
        }
        ReplicaIdentity::Default if print.primary_key.is_empty() => {
            Some(format!("table {name} has no primary key: it is not captured, and if published, {refused}. {mend}"))
        }
        ReplicaIdentity::Full if print.primary_key.is_empty() && !expected.whole_rows => Some(format!(
            "table {name} has no primary key, so its rows cannot be named: it is not captured. Give it one, set \
             tables_without_key = \"full\", or leave it out of `tables`"
        )),
        ReplicaIdentity::Default | ReplicaIdentity::Index | ReplicaIdentity::Full => None,
    }
}

/// Columns of the replica identity that are not sent: then `UPDATE` and `DELETE` fail.
fn unsent_identity(print: &Fingerprint, published: &Published, counts_generated: bool) -> Option<String> {
    let sent: HashSet<&str> = published.columns.iter().map(String::as_str).collect();
    let whole = print.replica_identity() == ReplicaIdentity::Full;
    let columns = print.columns.iter().filter(|column| counts_generated || column.generated.is_empty());
    let needed: Vec<&str> = match whole {
        true => columns.map(|column| column.name.as_str()).collect(),
        false => print.key().iter().map(String::as_str).collect(),
    };
    let unsent: Vec<&str> = needed.into_iter().filter(|name| !sent.contains(name)).collect();
    (!unsent.is_empty()).then(|| unsent.join(", "))
}
