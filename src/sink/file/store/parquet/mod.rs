//! Events as Apache Parquet: the fields of a JSON line (`project::line`), with `key`, `before` and `after` as groups of the table's own columns and types.
//!
//! A value that its column's type cannot hold (a `NaN` among decimals, `infinity`, 24 o'clock) is null there, and stands in `as_text`: a JSON object with
//! the groups in which there are such, each with the columns and PostgreSQL's own texts. So nothing is rounded, and nothing is lost.

mod leaf;
mod rows;
mod value;

use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{self, LogicalType, Repetition, TimeUnit, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::{Type, TypePtr};

use self::leaf::{Leaf, Values, group, list, primitive};
use self::rows::{Rows, Texts};
use super::Compression;
use super::spool::Records;
use crate::decode::json;
use crate::event::{COPY_PREFIX, Change, Event, OldRow, Relation, Row};

/// Events are gathered up to this many bytes, and then written as a row group: what a reader has to hold, and what this costs in memory.
const GROUP_BYTES_MAX: usize = 16 << 20;
/// And up to this many.
const GROUP_EVENTS_MAX: usize = 100_000;

/// Writes a whole file.
pub(super) fn write(source: &str, mut events: Records, compression: Compression, out: &File) -> io::Result<()> {
    let Some(first) = events.next_event()? else { return Ok(()) };
    let mut table = Table::of(first.change.relation());
    let mut writer =
        SerializedFileWriter::new(out, table.schema().map_err(into_io)?, properties(compression)).map_err(into_io)?;
    let mut next = Some(first);
    while next.is_some() {
        let (mut bytes, mut count) = (0_usize, 0_usize);
        while let Some(event) = next.take() {
            table.push(source, &event);
            bytes = bytes.saturating_add(event.change.bytes());
            count = count.saturating_add(1);
            next = events.next_event()?;
            if bytes >= GROUP_BYTES_MAX || count >= GROUP_EVENTS_MAX {
                break;
            }
        }
        table.write_group(&mut writer).map_err(into_io)?;
    }
    writer.close().map(drop).map_err(into_io)
}

fn properties(compression: Compression) -> WriterPropertiesPtr {
    let codec = match compression {
        Compression::None => basic::Compression::UNCOMPRESSED,
        Compression::Gzip => basic::Compression::GZIP(Default::default()),
        Compression::Zstd => {
            basic::Compression::ZSTD(ZstdLevel::try_new(super::finish::ZSTD_LEVEL).unwrap_or_default())
        }
    };
    let created_by = concat!("walbridge ", env!("CARGO_PKG_VERSION")).to_owned();
    Arc::new(WriterProperties::builder().set_compression(codec).set_created_by(created_by).build())
}

/// An error of the disk stays what it was.
fn into_io(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}

/// The columns of one version of a table, with what is gathered in them.
struct Table {
    head: Head,
    key: Option<Rows>,
    before: Option<Rows>,
    before_is_whole: Leaf,
    after: Option<Rows>,
    tail: Tail,
}

/// What every event has.
struct Head {
    source: Leaf,
    epoch: Leaf,
    commit_lsn: Leaf,
    ordinal: Leaf,
    xid: Leaf,
    commit_time: Leaf,
    origin: Leaf,
    op: Leaf,
    schema: Leaf,
    table: Leaf,
}

/// What few have.
struct Tail {
    unchanged: Leaf,
    copy: Leaf,
    prefix: Leaf,
    content: Leaf,
    as_text: Leaf,
}

impl Table {
    /// Of a table's events, or of those that have none.
    fn of(relation: Option<&Arc<Relation>>) -> Self {
        let all = |name| relation.and_then(|relation| Rows::of(name, relation, 0..relation.columns.len()));
        Table {
            head: Head::new(),
            key: relation.and_then(|relation| Rows::of("key", relation, relation.key.iter().copied())),
            before: all("before"),
            before_is_whole: Leaf::optional(Values::Boolean(Vec::new())),
            after: all("after"),
            tail: Tail::new(),
        }
    }

    fn schema(&self) -> Result<TypePtr, ParquetError> {
        let mut fields = Head::fields()?;
        for rows in self.key.iter().chain(&self.before) {
            fields.push(rows.field()?);
        }
        fields.push(primitive("before_is_whole", basic::Type::BOOLEAN, None, Repetition::OPTIONAL)?);
        fields.extend(self.after.as_ref().map(Rows::field).transpose()?);
        fields.extend(Tail::fields()?);
        Ok(Arc::new(Type::group_type_builder("event").with_fields(fields).build()?))
    }

    /// Every column, in the schema's order.
    fn leaves(&mut self) -> impl Iterator<Item = &mut Leaf> {
        let Table { head, key, before, before_is_whole, after, tail } = self;
        let rows = |rows: Option<_>| rows.into_iter().flat_map(Rows::leaves);
        let old = rows(key.as_mut()).chain(rows(before.as_mut())).chain(std::iter::once(before_is_whole));
        head.leaves().into_iter().chain(old).chain(rows(after.as_mut())).chain(tail.leaves())
    }

    /// Gathers an event.
    fn push(&mut self, source: &str, event: &Event) {
        self.head.push(source, event);
        let (old, new) = rows_of(&event.change);
        let mut texts = Texts::default();
        if let Some(rows) = &mut self.key {
            // As a JSON line: the new row's, and what an update left alone of it is the old one's.
            rows.push(new.or(old.map(OldRow::row)), new.and(old.map(OldRow::row)), &mut texts);
        }
        if let Some(rows) = &mut self.before {
            rows.push(old.map(OldRow::row), None, &mut texts);
        }
        self.before_is_whole.push_boolean(old.map(|old| matches!(old, OldRow::Full(_))));
        if let Some(rows) = &mut self.after {
            rows.push(new, None, &mut texts);
        }
        self.tail.push(event, new, texts);
    }

    fn write_group(&mut self, writer: &mut SerializedFileWriter<&File>) -> Result<(), ParquetError> {
        let mut group = writer.next_row_group()?;
        for leaf in self.leaves() {
            let mut column =
                group.next_column()?.ok_or_else(|| ParquetError::General("a column too many".to_owned()))?;
            leaf.write(&mut column)?;
            column.close()?;
        }
        group.close().map(drop)
    }
}

fn rows_of(change: &Change) -> (Option<&OldRow>, Option<&Row>) {
    match change {
        Change::Insert { new: row, .. } | Change::Read { row, .. } => (None, Some(row)),
        Change::Update { old, new, .. } => (old.as_ref(), Some(new)),
        Change::Delete { old, .. } => (Some(old), None),
        Change::Truncate { .. } | Change::Message { .. } | Change::CopyBegun { .. } | Change::CopyDone { .. } => {
            (None, None)
        }
    }
}

const fn texts() -> Option<LogicalType> {
    Some(LogicalType::String)
}

impl Head {
    fn new() -> Self {
        let (text, number) = (|| Values::Bytes(Vec::new()), || Values::Int64(Vec::new()));
        Head {
            source: Leaf::required(text()),
            epoch: Leaf::required(number()),
            commit_lsn: Leaf::required(number()),
            ordinal: Leaf::required(number()),
            xid: Leaf::required(number()),
            commit_time: Leaf::required(number()),
            origin: Leaf::optional(text()),
            op: Leaf::required(text()),
            schema: Leaf::optional(text()),
            table: Leaf::optional(text()),
        }
    }

    fn fields() -> Result<Vec<TypePtr>, ParquetError> {
        use basic::Type::{BYTE_ARRAY, INT64};
        const OPTIONAL: Repetition = Repetition::OPTIONAL;
        const REQUIRED: Repetition = Repetition::REQUIRED;
        let number = |name| primitive(name, INT64, Some(LogicalType::integer(64, false)), REQUIRED);
        let position = vec![number("epoch")?, number("commit_lsn")?, number("ordinal")?];
        let time = Some(LogicalType::timestamp(true, TimeUnit::MICROS));
        Ok(vec![
            primitive("source", BYTE_ARRAY, texts(), REQUIRED)?,
            group("position", position, REQUIRED)?,
            number("xid")?,
            primitive("commit_time", INT64, time, REQUIRED)?,
            primitive("origin", BYTE_ARRAY, texts(), OPTIONAL)?,
            primitive("op", BYTE_ARRAY, texts(), REQUIRED)?,
            primitive("schema", BYTE_ARRAY, texts(), OPTIONAL)?,
            primitive("table", BYTE_ARRAY, texts(), OPTIONAL)?,
        ])
    }

    fn leaves(&mut self) -> [&mut Leaf; 10] {
        let Head { source, epoch, commit_lsn, ordinal, xid, commit_time, origin, op, schema, table } = self;
        [source, epoch, commit_lsn, ordinal, xid, commit_time, origin, op, schema, table]
    }

    fn push(&mut self, source: &str, event: &Event) {
        let (transaction, position) = (&event.transaction, event.position());
        let name = event.change.relation().map(|relation| &relation.name);
        self.source.push_text(Some(source));
        self.epoch.push_number(i64::from(position.epoch));
        self.commit_lsn.push_number(position.commit_lsn.get().cast_signed());
        self.ordinal.push_number(position.ordinal.cast_signed());
        self.xid.push_number(i64::from(transaction.xid));
        self.commit_time.push_number(transaction.commit_time.unix_micros());
        self.origin.push_text(transaction.origin.as_deref());
        self.op.push_text(Some(event.change.op().as_str()));
        self.schema.push_text(name.map(|name| &*name.schema));
        self.table.push_text(name.map(|name| &*name.table));
    }
}

impl Tail {
    fn new() -> Self {
        let text = || Values::Bytes(Vec::new());
        Tail {
            unchanged: Leaf::optional(text()),
            copy: Leaf::optional(text()),
            prefix: Leaf::optional(text()),
            content: Leaf::optional(text()),
            as_text: Leaf::optional(text()),
        }
    }

    fn fields() -> Result<Vec<TypePtr>, ParquetError> {
        let optional = |name, logical| primitive(name, basic::Type::BYTE_ARRAY, logical, Repetition::OPTIONAL);
        Ok(vec![
            list("unchanged")?,
            optional("copy", texts())?,
            optional("prefix", texts())?,
            optional("content", None)?,
            optional("as_text", Some(LogicalType::Json))?,
        ])
    }

    fn leaves(&mut self) -> [&mut Leaf; 5] {
        let Tail { unchanged, copy, prefix, content, as_text } = self;
        [unchanged, copy, prefix, content, as_text]
    }

    fn push(&mut self, event: &Event, new: Option<&Row>, texts: Texts) {
        let relation = event.change.relation().zip(new);
        self.unchanged
            .push_list(relation.into_iter().flat_map(|(relation, row)| json::unchanged_columns(relation, row)));
        let (mut copy, mut prefix, mut content) = (None, None, None);
        match &event.change {
            Change::CopyBegun { .. } => copy = Some("begun"),
            Change::CopyDone { since, .. } => {
                (prefix, content) = (Some(COPY_PREFIX), Some(Bytes::from(format!("done since {since}"))));
            }
            Change::Message { prefix: said, content: what } => (prefix, content) = (Some(&**said), Some(what.clone())),
            Change::Insert { .. }
            | Change::Update { .. }
            | Change::Delete { .. }
            | Change::Truncate { .. }
            | Change::Read { .. } => {}
        }
        self.copy.push_text(copy);
        self.prefix.push_text(prefix);
        self.content.push_bytes(content);
        self.as_text.push_text(texts.finish().as_deref());
    }
}
