//! What readers of the target find: a table's keys, page by page, and rows by their keys. On a connection of its own, for what is only being written is not
//! to be seen.

use super::sql;
use super::tables::{Table, Tables};
use super::write::{Record, Statement, Verb};
use super::{Options, error};
use crate::event::{Cell, TableName};
use crate::postgres::connection::{Connection, Purpose};
use crate::project::key::plain;
use crate::project::mutation::{Document, Key};
use crate::sink::{Image, KeyPage, SinkError};

/// Keys that are listed at once.
const KEYS_PER_PAGE: usize = 5_000;

/// See the module.
#[derive(Default)]
pub(super) struct Reader {
    connection: Option<Connection>,
    /// A list is open.
    lists: bool,
}

impl Reader {
    async fn connection(&mut self, options: &Options, target: &str) -> Result<&mut Connection, SinkError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let judge = |cause| error::judge(target, cause);
                let mut connection = Connection::open(&options.address, Purpose::Query).await.map_err(judge)?;
                connection.query("setting how long a list may rest", super::REST_MAX).await.map_err(judge)?;
                connection
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// See [`crate::sink::Sink::keys`]. The server keeps the list, of the moment in which it begins.
    pub(super) async fn keys(
        &mut self,
        options: &Options,
        table: &Table,
        from: Option<u64>,
        target: &str,
    ) -> Result<KeyPage, SinkError> {
        let was_listing = std::mem::replace(&mut self.lists, true);
        let connection = self.connection(options, target).await?;
        let judge = |cause| error::judge(target, cause);
        if from.is_none() {
            let end = if was_listing { "COMMIT; " } else { "" };
            let columns: Vec<String> = table.key.iter().map(|name| sql::identifier(name)).collect();
            let select = format!("SELECT {} FROM {}", columns.join(", "), sql::table(&table.place));
            let asked = format!("{end}BEGIN READ ONLY; DECLARE walbridge NO SCROLL CURSOR FOR {select}");
            connection.query("listing keys", &asked).await.map_err(judge)?;
        }
        let asked = format!("FETCH {KEYS_PER_PAGE} FROM walbridge");
        let rows = connection.query("listing keys", &asked).await.map_err(judge)?;
        let mut page = KeyPage::default();
        for row in &rows {
            let values: Option<Vec<&[u8]>> = row.iter().map(Option::as_deref).collect();
            page.keys.extend(values.map(|values| plain::write(&table.name, &values)));
        }
        if rows.len() == KEYS_PER_PAGE {
            page.next = Some(from.unwrap_or_default().saturating_add(1));
        } else {
            connection.query("ending a list of keys", "COMMIT").await.map_err(judge)?;
            self.lists = false;
        }
        Ok(page)
    }

    /// See [`crate::sink::Sink::read`].
    pub(super) async fn rows(
        &mut self,
        options: &Options,
        tables: &mut Tables,
        keys: &[Key],
        target: &str,
    ) -> Result<Vec<Option<Image>>, SinkError> {
        let mut images = vec![None; keys.len()];
        let mut by_table: Vec<(TableName, Vec<(usize, &[u8])>)> = Vec::new();
        for (at, key) in keys.iter().enumerate() {
            let Some((name, values)) = plain::table(key) else { continue };
            match by_table.iter_mut().find(|(table, _)| *table == name) {
                Some((_, keys)) => keys.push((at, values)),
                None => by_table.push((name, vec![(at, values)])),
            }
        }
        let connection = self.connection(options, target).await?;
        for (name, keys) in by_table {
            let Some(table) = tables.written(connection, &name, target).await? else { continue };
            let Some(columns) = table.key_columns() else { continue };
            let records = keys.into_iter().filter_map(|(at, text)| {
                let values = plain::values(text, table.key.len())?.into_iter().map(Some).collect();
                Some(Record { at, values })
            });
            let records: Vec<Record<'_>> = records.collect();
            let statement = Statement { verb: Verb::Delete, table: &table, columns };
            let asked = statement.select(&records, &table.columns);
            let rows = connection.query("reading rows", &asked).await;
            for row in rows.map_err(|cause| error::judge(target, cause))? {
                let Some((number, values)) = row.split_first() else { continue };
                let number = number.as_deref().and_then(|text| std::str::from_utf8(text).ok()?.parse::<usize>().ok());
                let record = number.and_then(|number| records.get(number.checked_sub(1)?));
                let Some(image) = record.and_then(|record| images.get_mut(record.at)) else { continue };
                let fields = table.columns.iter().zip(values);
                *image = Some(Image::of_fields(
                    fields.filter_map(|(name, value)| Some((name.as_bytes(), value.as_deref()?))),
                ));
            }
        }
        Ok(images)
    }
}

/// A row as it is read back once it has been put: the text of each value, and nothing for NULL.
pub(super) fn image(document: &Document) -> Option<Image> {
    let Document { relation, row } = document;
    if row.lacks_values() {
        return None;
    }
    let fields = relation.columns.iter().zip(row.cells()).filter_map(|(column, cell)| match cell {
        Cell::Text(value) | Cell::Binary(value) => Some((column.name.as_bytes(), value)),
        Cell::Null | Cell::Unchanged => None,
    });
    Some(Image::of_fields(fields))
}
