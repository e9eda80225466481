//! What the target's catalog says of a table.

use super::sql;
use super::types::Type;
use crate::event::TableName;
use crate::postgres::connection::Connection;
use crate::postgres::{PostgresError, ServerError};

/// A table of the target, as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) oid: u32,
    /// In their order.
    pub(super) columns: Vec<FoundColumn>,
    /// The columns of each unique index that names whole rows, in no order.
    pub(super) unique: Vec<Vec<String>>,
}

/// One of its columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundColumn {
    pub(super) name: String,
    pub(super) is: Type,
    /// The type as SQL has it, with its modifier.
    pub(super) written: String,
    /// The same without: a cast to it cuts nothing off.
    pub(super) cast: String,
    /// A row that does not give it a value is refused.
    pub(super) wants_value: bool,
    /// The server computes it.
    pub(super) generated: bool,
}

impl Found {
    /// Looks at a table; `None` if there is none of that name.
    pub(super) async fn look(connection: &mut Connection, name: &TableName) -> Result<Option<Self>, PostgresError> {
        let sql = format!(
            "SELECT c.oid, a.attname, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod), format_type(a.atttypid, -1), \
                a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', a.attgenerated <> '' \
             FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
             WHERE n.nspname = {} AND c.relname = {} ORDER BY a.attnum",
            sql::text(&name.schema),
            sql::text(&name.table)
        );
        let rows = connection.query("looking at a table", &sql).await?;
        let mut found = Found::default();
        for row in &rows {
            let [oid, name, number, modifier, written, cast, wants, generated] = row.as_slice() else {
                return Err(unread());
            };
            let text =
                |value: &Option<bytes::Bytes>| value.as_deref().map(|text| String::from_utf8_lossy(text).into_owned());
            found.oid = parsed(oid)?;
            // A table may have no columns.
            let Some(name) = text(name) else { continue };
            found.columns.push(FoundColumn {
                name,
                is: Type { oid: parsed(number)?, modifier: parsed(modifier)? },
                written: text(written).ok_or_else(unread)?,
                cast: text(cast).ok_or_else(unread)?,
                wants_value: wants.as_deref() == Some(b"t"),
                generated: generated.as_deref() == Some(b"t"),
            });
        }
        if rows.is_empty() {
            return Ok(None);
        }
        found.unique = unique(connection, found.oid).await?;
        Ok(Some(found))
    }

    /// The column of that name.
    pub(super) fn column(&self, name: &str) -> Option<&FoundColumn> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Its indexes go with it.
    pub(super) fn rename(&mut self, old: &str, new: &str) {
        let columns = self.columns.iter_mut().map(|column| &mut column.name);
        columns
            .chain(self.unique.iter_mut().flatten())
            .filter(|name| *name == old)
            .for_each(|name| new.clone_into(name));
    }

    /// So do they here.
    pub(super) fn drop(&mut self, name: &str) {
        self.columns.retain(|column| column.name != name);
        self.unique.retain(|columns| !columns.iter().any(|column| column == name));
    }
}

async fn unique(connection: &mut Connection, oid: u32) -> Result<Vec<Vec<String>>, PostgresError> {
    let sql = format!(
        "SELECT i.indexrelid, a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
            AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1]) \
         WHERE i.indrelid = {oid} AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL \
         ORDER BY i.indexrelid"
    );
    let mut indexes: Vec<(u32, Vec<String>)> = Vec::new();
    for row in connection.query("looking at a table's indexes", &sql).await? {
        let [index, column] = row.as_slice() else { return Err(unread()) };
        let (index, column) =
            (parsed(index)?, String::from_utf8_lossy(column.as_deref().unwrap_or_default()).into_owned());
        match indexes.last_mut().filter(|(last, _)| *last == index) {
            Some((_, columns)) => columns.push(column),
            None => indexes.push((index, vec![column])),
        }
    }
    Ok(indexes.into_iter().map(|(_, columns)| columns).collect())
}

/// How the target writes these types.
pub(super) async fn write_types(connection: &mut Connection, types: &[Type]) -> Result<Vec<String>, PostgresError> {
    if types.is_empty() {
        return Ok(Vec::new());
    }
    let calls: Vec<String> =
        types.iter().map(|Type { oid, modifier }| format!("format_type({oid}, {modifier})")).collect();
    let rows = connection.query("asking for the names of types", &format!("SELECT {}", calls.join(", "))).await?;
    let texts = rows.first().map(|row| {
        row.iter().map(|value| String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned()).collect()
    });
    let texts: Vec<String> = texts.unwrap_or_default();
    // What it does not know it calls so.
    match types.iter().zip(&texts).find(|(_, text)| text.contains("???")) {
        Some((Type { oid, .. }, _)) => Err(PostgresError::Server {
            doing: "asking for the names of types",
            source: ServerError {
                sqlstate: "42704".to_owned(),
                message: format!("this server has no type number {oid}, which a column of the source has"),
                detail: "a newer server has it; or make the table there yourself, with another type".to_owned(),
            },
        }),
        None if texts.len() == types.len() => Ok(texts),
        None => Err(unread()),
    }
}

fn parsed<T: std::str::FromStr>(value: &Option<bytes::Bytes>) -> Result<T, PostgresError> {
    let text = value.as_deref().and_then(|text| std::str::from_utf8(text).ok());
    text.and_then(|text| text.parse().ok()).ok_or_else(unread)
}

fn unread() -> PostgresError {
    PostgresError::Protocol("the catalog gave an answer that cannot be read".to_owned())
}
