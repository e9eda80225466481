//! The first statements of every transaction of a copy: the lock, then the snapshot, and whether the table is still the one that
//! was surveyed.

use postgres_protocol::escape::escape_literal;

use super::super::catalog::Table;
use super::super::error::CaptureError;
use super::super::publication::quoted;
use super::super::slot::{CLOCK_MICROS, END_OF_WAL, parsed, text};
use super::visibility::Visibility;
use crate::event::{Lsn, Timestamp};
use crate::postgres::connection::TextRow;

/// What [`sql`] tells.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) visibility: Visibility,
    pub(super) seen_upto: Lsn,
    pub(super) taken_at: Timestamp,
    /// The name still leads to the table.
    pub(super) named: bool,
    /// Row-level security hides rows.
    pub(super) hides_rows: bool,
    pub(super) storage: u64,
    pub(super) shape: i64,
}

/// Of a row of `pg_locks`, as an SQL condition: a lock on a table of this database that only a writer to it takes.
pub(in crate::capture) const IS_WRITERS_LOCK: &str = "locktype = 'relation' AND granted \
     AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')";

/// Opens the transaction and locks the table: before the snapshot, so that nothing rewrites it under that.
pub(super) fn lock(table: &Table) -> String {
    format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE {} IN ACCESS SHARE MODE", quoted(&table.name))
}

/// The tables that hold the rows: the table itself, or the leaves of its partitions.
pub(super) fn leaves(table: &Table) -> String {
    if table.partitioned {
        format!("(SELECT relid::oid AS oid FROM pg_partition_tree({}) WHERE isleaf)", table.oid)
    } else {
        format!("(SELECT {}::oid AS oid)", table.oid)
    }
}

/// One row. Taking the snapshot comes first and asking for the WAL's end after it, so that end lies behind every commit that the
/// snapshot sees.
pub(super) fn sql(table: &Table, publication: &str) -> String {
    let (oid, leaves) = (table.oid, leaves(table));
    let (name, publication) = (escape_literal(&quoted(&table.name)), escape_literal(publication));
    format!(
        "SELECT pg_current_snapshot(), {END_OF_WAL}, {CLOCK_MICROS}, \
         to_regclass({name}) = {oid}::oid, row_security_active({oid}::oid), \
         (SELECT hashtextextended(string_agg(oid || ':' || coalesce(pg_relation_filenode(oid), 0), ',' ORDER BY oid), 0) \
          FROM {leaves} leaf), \
         hashtextextended(concat_ws('|', \
          (SELECT string_agg(concat_ws(':', attnum, attname, atttypid, atttypmod, attgenerated), ',' ORDER BY attnum) \
           FROM pg_attribute WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped), \
          (SELECT relreplident FROM pg_class WHERE oid = {oid}), \
          (SELECT concat_ws(':', p.oid, prattrs, prqual) FROM pg_publication p \
           LEFT JOIN pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = {oid} WHERE pubname = {publication})), 0)"
    )
}

/// Reads the row.
pub(super) fn read(row: &TextRow) -> Result<Look, CaptureError> {
    let whole = || {
        let is = |index| text(row, index).as_deref() == Some("t");
        Some(Look {
            visibility: Visibility::parse(&text(row, 0)?).ok()?,
            seen_upto: without_page_header(parsed(row, 1)?),
            taken_at: Timestamp::from_unix_micros(parsed(row, 2)?),
            named: is(3),
            hides_rows: is(4),
            storage: parsed::<i64>(row, 5)?.cast_unsigned(),
            shape: parsed(row, 6)?,
        })
    };
    whole().ok_or_else(|| CaptureError::Protocol("a snapshot was told in a way that cannot be read".to_owned()))
}

/// At a page's start the insert position stands behind the page's header, which nothing has been written after; the
/// stream, which knows only what is written, would never be seen to get there (`XLogBytePosToRecPtr`).
pub(in crate::capture) fn without_page_header(lsn: Lsn) -> Lsn {
    const PAGE_BYTES: u64 = 8192;
    const LONG_HEADER_BYTES: u64 = 40;
    let into_page = lsn.get() % PAGE_BYTES;
    if into_page <= LONG_HEADER_BYTES { Lsn::new(lsn.get() - into_page) } else { lsn }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_behind_a_page_header_is_the_pages_start() {
        // On an idle server whose WAL ends at a page's edge a chunk would otherwise wait for ever.
        assert_eq!(without_page_header(Lsn::new(8192 * 5 + 24)), Lsn::new(8192 * 5));
        assert_eq!(without_page_header(Lsn::new(8192 * 5 + 40)), Lsn::new(8192 * 5));
        assert_eq!(without_page_header(Lsn::new(8192 * 5 + 48)), Lsn::new(8192 * 5 + 48));
    }
}
