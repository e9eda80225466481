//! Reading one chunk: one message to the server, and the rows as the stream would have sent them.
//!
//! Where the binary form of every column is known the rows come by a binary COPY, which costs the server two thirds of a text
//! one and needs nothing but a copy here; else as the text of a SELECT, whose values have lengths and no escapes.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use postgres_protocol::escape::escape_identifier;

use super::super::error::{CaptureError, ServerError};
use super::super::publication::quoted;
use super::look::{self, Look};
use super::window::key_texts;
use super::{Chunk, Part, Refusal, Room, Rows, Target, Ticket};
use crate::postgres::connection::{Connection, DataRow, unexpected};
use crate::postgres::literal::literal;
use crate::postgres::pace::Pace;
use crate::status::Code;

/// A chunk is meant to have so many bytes.
pub const BYTES_WANTED: usize = 2 << 20;
/// And never more than this, which is what memory is reckoned by; a single row may.
pub const BYTES_MAX: usize = 4 << 20;

/// One key column, and where its type's operators live. With `search_path` pinned, an extension type's `=` is not found by
/// name, and the fallback (text's `=` for `citext`, say) is another one.
#[derive(Clone, Debug)]
pub(super) struct KeyColumn {
    pub(super) name: String,
    pub(super) operator_schema: String,
}

/// Reads a chunk. After a refusal the connection is in order, unless the refusal says that it broke.
///
/// # Errors
/// Why there is no chunk.
pub async fn read(
    connection: &mut Connection,
    target: &Arc<Target>,
    publication: &str,
    ticket: Ticket,
    part: &Part,
    time_max: Option<Duration>,
    room: Room,
) -> Result<Chunk, Refusal> {
    let started = Instant::now();
    let millis = time_max.map_or(0, |time| time.as_millis());
    let sql = format!(
        "{}; SET LOCAL statement_timeout = {millis}; {}; {}; COMMIT",
        look::lock(&target.table),
        look::sql(&target.table, publication),
        select(target, part)
    );
    let alone = match part {
        Part::Places(places) => places.end.saturating_sub(places.start) == 1,
        Part::Keys(keys) => keys.len() == 1,
    };
    let answer = answer(connection, &sql, target, alone, room).await;
    match answer {
        Ok((look, reading)) => {
            let rows = judge(target, &look, reading)?;
            let Look { visibility, seen_upto, taken_at, .. } = look;
            Ok(Chunk { ticket, target: target.clone(), rows, visibility, seen_upto, taken_at, took: started.elapsed() })
        }
        Err(error) => {
            if !matches!(error, CaptureError::Unreachable { .. } | CaptureError::Protocol(_)) {
                // The next statement needs a clean session; if the connection is gone this fails too, unheard.
                let _ = connection.query("ending a chunk", "ROLLBACK").await;
            }
            Err(refusal(error))
        }
    }
}

fn judge(target: &Target, look: &Look, reading: Reading) -> Result<Rows, Refusal> {
    if !look.named || look.storage != target.storage || look.shape != target.shape {
        return Err(Refusal::Changed);
    }
    if reading.dropped {
        return Err(Refusal::TooLarge(reading.total));
    }
    Ok(Rows { bytes: Bytes::from(reading.bytes), ends: reading.ends })
}

pub(super) fn hides_rows(target: &Target) -> CaptureError {
    CaptureError::halt(
        Code::SnapshotPartialView,
        format!(
            "table {} hides rows from this role by row-level security, which the stream would show",
            target.table.name
        ),
        "ALTER ROLE … BYPASSRLS for the role in the url, or exclude it in `tables`",
    )
}

/// The table is locked, and `lock_timeout` is over.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// What the server's error calls for. 42P01 and 3F000: the name leads nowhere any more; 42703: a column does not.
pub(super) fn refusal(error: CaptureError) -> Refusal {
    match &error {
        CaptureError::Server { source, .. } => match &*source.sqlstate {
            "42P01" | "3F000" | "42703" => Refusal::Changed,
            "57014" => Refusal::TooSlow,
            LOCK_NOT_AVAILABLE => Refusal::Failed(CaptureError::wait(
                Code::SnapshotInterrupted,
                "its copy waits for a lock: somebody has locked the table",
                "It goes on when that is released; pg_locks tells whose it is",
            )),
            _ => Refusal::Failed(error),
        },
        _ => Refusal::Failed(error),
    }
}

/// The rows as they come in.
#[derive(Debug, Default)]
struct Reading {
    bytes: Vec<u8>,
    ends: Vec<u32>,
    total: usize,
    dropped: bool,
    /// The header of a binary COPY has been read.
    header: bool,
}

/// Sends the statements and reads the answers: the look's row, then the table's rows.
async fn answer(
    connection: &mut Connection,
    sql: &str,
    target: &Target,
    alone: bool,
    room: Room,
) -> Result<(Look, Reading), CaptureError> {
    let columns = target.published.relation.columns.len();
    connection.start_query(sql).await?;
    let (mut sets, mut look, mut failure) = (0, None, None);
    let mut reading = Reading { bytes: room.bytes, ends: room.ends, ..Reading::default() };
    let mut pace = Pace::of(connection.is_unix(), Instant::now());
    loop {
        let Some(message) = connection.buffered_message()? else {
            connection.gulp(&mut pace).await?;
            continue;
        };
        match message {
            (b'd', body) => reading.take_copied(body, columns, alone)?,
            (b'D', body) if sets == 2 => reading.take(b't', body, columns, alone)?,
            (b'D', body) => {
                let row: Vec<_> = DataRow::new(body)?.values().map(|value| value.map(Bytes::copy_from_slice)).collect();
                look = Some(look::read(&row)?);
            }
            (b'T', _) => sets += 1,
            (b'C' | b'H' | b'c', _) => {}
            (b'E', body) => failure = Some(ServerError::parse(body)),
            (b'Z', _) => break,
            (tag, _) => return Err(unexpected(tag).into()),
        }
    }
    if let Some(source) = failure {
        if look.is_some_and(|look| look.hides_rows) {
            return Err(hides_rows(target));
        }
        return Err(CaptureError::Server { doing: "reading a chunk", source });
    }
    let look = look.ok_or_else(|| CaptureError::Protocol("no snapshot was told".to_owned()))?;
    Ok((look, reading))
}

impl Reading {
    /// Adds what a binary COPY sent: a message is a row, the first one with the header before it, the last one is the end
    /// (manual, "COPY", file formats; "Message Formats", CopyData).
    #[inline]
    fn take_copied(&mut self, mut bytes: &[u8], columns: usize, alone: bool) -> Result<(), CaptureError> {
        const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0";
        if !self.header {
            let rest = bytes.strip_prefix(SIGNATURE).and_then(|rest| rest.get(4..));
            let extension = rest.and_then(|rest| rest.split_first_chunk::<4>());
            let after = extension.and_then(|(len, rest)| rest.get(usize::try_from(u32::from_be_bytes(*len)).ok()?..));
            bytes = after.ok_or_else(lies)?;
            self.header = true;
        }
        match bytes {
            [] | [0xff, 0xff] => Ok(()),
            row => self.take(b'b', row, columns, alone),
        }
    }

    /// Adds a row, as pgoutput would have sent it: the text is the same, the session's settings being the same.
    #[inline]
    fn take(&mut self, kind: u8, row: &[u8], columns: usize, alone: bool) -> Result<(), CaptureError> {
        self.total = self.total.saturating_add(row.len());
        if self.dropped || (self.total > BYTES_MAX && !alone) {
            // Read to the end, to be asked for in smaller parts.
            (self.dropped, self.bytes, self.ends) = (true, Vec::new(), Vec::new());
            return Ok(());
        }
        append_row(&mut self.bytes, kind, row, columns).ok_or_else(lies)?;
        self.ends.push(u32::try_from(self.bytes.len()).map_err(|_| lies())?);
        Ok(())
    }
}

fn lies() -> CaptureError {
    CaptureError::Protocol("a row does not hold as many values as it claims".to_owned())
}

/// A row of a `DataRow` or a binary COPY as a change's body: `N`, the count, and each value behind its kind.
#[inline]
fn append_row(out: &mut Vec<u8>, kind: u8, row: &[u8], columns: usize) -> Option<()> {
    let (count, mut rest) = row.split_first_chunk::<2>()?;
    if usize::from(u16::from_be_bytes(*count)) != columns {
        return None;
    }
    out.reserve(row.len() + columns + 1);
    out.push(b'N');
    out.extend_from_slice(count);
    for _ in 0..columns {
        let (length, after) = rest.split_first_chunk::<4>()?;
        rest = match usize::try_from(i32::from_be_bytes(*length)) {
            Ok(length) => {
                let (value, _) = rest.split_at_checked(length + 4)?;
                out.push(kind);
                out.extend_from_slice(value);
                rest.get(length + 4..)?
            }
            Err(_) => {
                out.push(b'n');
                after
            }
        };
    }
    rest.is_empty().then_some(())
}

fn select(target: &Target, part: &Part) -> String {
    let relation = &target.published.relation;
    let columns = relation.columns.iter().map(|column| escape_identifier(&column.name)).collect::<Vec<_>>().join(", ");
    let condition = match part {
        Part::Places(places) => within(places),
        Part::Keys(keys) => {
            let keys: Vec<_> = keys.iter().map(|key| equals(&target.key, key)).collect();
            if keys.is_empty() { "false".to_owned() } else { keys.join(" OR ") }
        }
    };
    let filter = target.published.row_filter.as_ref().map_or_else(String::new, |filter| format!(" AND ({filter})"));
    // ONLY: a parent's stream carries its own rows, not its inheritance children's. A partitioned table has none of its own.
    let only = if target.table.partitioned { "" } else { "ONLY " };
    let rows = format!("SELECT {columns} FROM {only}{} WHERE ({condition}){filter}", quoted(&target.table.name));
    if target.binary { format!("COPY ({rows}) TO STDOUT (FORMAT binary)") } else { rows }
}

/// A range of places, in all partitions if there are any.
fn within(places: &Range<u64>) -> String {
    let place = |at: u64| format!("'({},{})'::tid", at >> 16, at & 0xFFFF);
    format!("ctid >= {} AND ctid < {}", place(places.start), place(places.end))
}

fn equals(columns: &[KeyColumn], key: &[u8]) -> String {
    let one = |(column, text): (&KeyColumn, &[u8])| {
        format!(
            "{} OPERATOR({}.=) {}",
            escape_identifier(&column.name),
            escape_identifier(&column.operator_schema),
            literal(text)
        )
    };
    let pairs: Vec<_> = columns.iter().zip(key_texts(key)).map(one).collect();
    format!("({})", pairs.join(" AND "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_blocks_and_lines() {
        assert_eq!(within(&(0..3 << 16)), "ctid >= '(0,0)'::tid AND ctid < '(3,0)'::tid");
        assert_eq!(within(&((7 << 16 | 5)..(7 << 16 | 9))), "ctid >= '(7,5)'::tid AND ctid < '(7,9)'::tid");
    }

    #[test]
    fn names_and_values_are_quoted_and_extension_types_compare_by_their_own_operators() {
        let columns = ["a", "b\"c"].map(|name| KeyColumn { name: name.into(), operator_schema: "ext".into() });
        let key = [&1_u32.to_be_bytes()[..], b"1", &4_u32.to_be_bytes(), b"it's"].concat();
        assert_eq!(equals(&columns, &key), r#"("a" OPERATOR("ext".=) '1' AND "b""c" OPERATOR("ext".=) 'it''s')"#);
    }

    #[test]
    fn a_row_becomes_the_body_that_the_stream_would_have_sent() {
        let row = [&[0, 2][..], &3_i32.to_be_bytes(), b"abc", &(-1_i32).to_be_bytes()].concat();
        let mut out = Vec::new();
        assert_eq!(append_row(&mut out, b't', &row, 2), Some(()));
        assert_eq!(out, [&b"N\0\x02t"[..], &3_u32.to_be_bytes(), b"abcn"].concat());
        for end in 0..row.len() {
            assert_eq!(append_row(&mut Vec::new(), b't', &row[..end], 2), None, "cut at {end}");
        }
        assert_eq!(append_row(&mut Vec::new(), b't', &row, 3), None);
        // The same from a binary COPY.
        let mut reading = Reading::default();
        let header = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";
        reading.take_copied(&[&header[..], &row].concat(), 2, false).expect("header and row");
        reading.take_copied(&row, 2, false).expect("a row");
        reading.take_copied(&[0xff, 0xff], 2, false).expect("the end");
        let expected = [&b"N\0\x02b"[..], &3_u32.to_be_bytes(), b"abcn"].concat();
        assert_eq!((reading.bytes, reading.ends), (expected.repeat(2), vec![12, 24]));
        assert!(Reading::default().take_copied(&row, 2, false).is_err(), "no header");
    }

    #[test]
    fn beyond_the_limit_rows_are_counted_and_not_kept_unless_there_is_only_one() {
        let row =
            [&[0, 1][..], &i32::try_from(BYTES_MAX).expect("small").to_be_bytes(), &vec![b'x'; BYTES_MAX]].concat();
        let mut reading = Reading::default();
        reading.take(b't', &row, 1, false).expect("sound");
        assert!(reading.dropped && reading.bytes.is_empty() && reading.total > BYTES_MAX);
        let mut reading = Reading::default();
        reading.take(b't', &row, 1, true).expect("sound");
        assert_eq!((reading.dropped, reading.ends.len()), (false, 1));
    }
}
