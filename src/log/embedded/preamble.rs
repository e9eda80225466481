//! The preamble: what a segment must be told before its first record, so that it can be read without any other.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::format::{FRAME_HEADER_LEN, FrameKind, Header, SEGMENT_HEADER_LEN, frame_crc, segment_header};
use crate::event::{Lsn, Offset, Position, Timestamp};
use crate::log::history::{CopyMark, History, Unit};
use crate::log::input::{Input, TooLong, len32};
use crate::log::record::{put_epoch, put_snapshot, put_transaction, read_epoch, read_snapshot, read_transaction};
use crate::log::{Durable, LogId, TableSnapshot};

/// Where a unit's first frame stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The segment.
    pub(super) sequence: u64,
    /// Byte in its file.
    pub(super) byte: u64,
}

/// A segment's first frame.
#[derive(Clone, Debug)]
pub(super) struct Preamble {
    /// The log it belongs to.
    pub(super) log: LogId,
    /// The segment it belongs to.
    pub(super) sequence: u64,
    /// Everything before the segment, the open unit included.
    pub(super) history: History,
    /// Where the open unit begins, if there is one.
    pub(super) unit_place: Option<Place>,
}

impl Preamble {
    /// The first bytes of the segment, its header and this frame, and the frame's checksum. `start` is the segment's first log byte.
    pub(super) fn encode(&self, start: u64, previous: u32) -> Result<(Vec<u8>, u32), TooLong> {
        let mut out = segment_header().to_vec();
        out.resize(SEGMENT_HEADER_LEN + FRAME_HEADER_LEN, 0);
        self.put_body(&mut out)?;
        let mut header = Header {
            crc: 0,
            len: len32(out.len() - SEGMENT_HEADER_LEN - FRAME_HEADER_LEN)?,
            previous,
            kind: FrameKind::Preamble,
            flags: 0,
            at: start.saturating_add(SEGMENT_HEADER_LEN as u64),
            synced: start,
            offset: self.history.next_offset().0,
            events: 0,
        };
        if let Some(frame) = out.get_mut(SEGMENT_HEADER_LEN..) {
            write_header(frame, &mut header);
        }
        Ok((out, header.crc))
    }

    fn put_body(&self, out: &mut Vec<u8>) -> Result<(), TooLong> {
        let History { epoch, closed, commit_time_max, snapshots, copies, unit } = &self.history;
        out.extend_from_slice(&self.log.0.to_le_bytes());
        out.extend_from_slice(&self.sequence.to_le_bytes());
        out.extend_from_slice(&closed.offset.0.to_le_bytes());
        out.extend_from_slice(&closed.bytes.to_le_bytes());
        put_option(out, closed.position, |out, position| {
            out.extend_from_slice(&position.epoch.to_le_bytes());
            out.extend_from_slice(&position.commit_lsn.get().to_le_bytes());
            out.extend_from_slice(&position.ordinal.to_le_bytes());
        });
        let put_time = |out: &mut Vec<u8>, time: Timestamp| out.extend_from_slice(&time.unix_micros().to_le_bytes());
        put_option(out, closed.commit_time, put_time);
        put_option(out, *commit_time_max, put_time);
        out.extend_from_slice(&closed.end_lsn.get().to_le_bytes());
        out.push(u8::from(epoch.is_some()));
        epoch.as_ref().map_or(Ok(()), |epoch| put_epoch(out, epoch))?;
        put_snapshots(out, snapshots.len(), snapshots.values())?;
        out.push(u8::from(unit.is_some()));
        if let (Some(unit), Some(place)) = (unit, self.unit_place) {
            put_transaction(out, &unit.transaction);
            out.extend_from_slice(&unit.next_ordinal.to_le_bytes());
            out.extend_from_slice(&place.sequence.to_le_bytes());
            out.extend_from_slice(&place.byte.to_le_bytes());
            put_snapshots(out, unit.staged.len(), unit.staged.iter())?;
        }
        let closed = copies.iter().map(|(&oid, &offset)| CopyMark { oid, begun: Some(offset) });
        put_copies(out, closed)?;
        put_copies(out, unit.iter().flat_map(|unit| unit.copies.iter().copied()))
    }

    /// Reads a preamble frame's body.
    pub(super) fn parse(body: &[u8]) -> Option<Preamble> {
        let mut input = Input::new(body);
        let log = LogId(input.u128()?);
        let sequence = input.u64()?;
        let (offset, bytes) = (Offset(input.u64()?), input.u64()?);
        let position = read_option(&mut input, |input| {
            Some(Position { epoch: input.u32()?, commit_lsn: Lsn::new(input.u64()?), ordinal: input.u64()? })
        })?;
        let commit_time = read_option(&mut input, read_time)?;
        let commit_time_max = read_option(&mut input, read_time)?;
        let closed = Durable { offset, bytes, position, commit_time, end_lsn: Lsn::new(input.u64()?) };
        let epoch = read_option(&mut input, read_epoch)?;
        let snapshots = read_snapshots(&mut input)?.into_iter().map(|snapshot| (snapshot.oid, snapshot)).collect();
        let unit = read_option(&mut input, |input| {
            let transaction = Arc::new(read_transaction(input)?);
            let next_ordinal = input.u64()?;
            let place = Place { sequence: input.u64()?, byte: input.u64()? };
            let unit = Unit { transaction, next_ordinal, staged: read_snapshots(input)?, copies: Vec::new() };
            Some((unit, place))
        })?;
        let (mut unit, unit_place) = unit.unzip();
        let mut copies = BTreeMap::new();
        // In format 1 a preamble ends here.
        if input.len() > 0 {
            copies = read_copies(&mut input)?.iter().filter_map(|mark| Some((mark.oid, mark.begun?))).collect();
            let open = read_copies(&mut input)?;
            unit.iter_mut().for_each(|unit| unit.copies.clone_from(&open));
        }
        let history = History { epoch, closed, commit_time_max, snapshots, copies, unit };
        (input.len() == 0).then_some(Preamble { log, sequence, history, unit_place })
    }
}

/// Fills in a frame's header and checksum, given the whole frame; `header.crc` as well.
pub(super) fn write_header(frame: &mut [u8], header: &mut Header) {
    put_front(frame, &header.encode());
    header.crc = frame_crc(frame);
    put_front(frame, &header.crc.to_le_bytes());
}

fn put_front(bytes: &mut [u8], front: &[u8]) {
    if let Some(place) = bytes.get_mut(..front.len()) {
        place.copy_from_slice(front);
    }
}

fn put_option<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(out, value);
    }
}

fn read_option<'a, T>(input: &mut Input<'a>, read: impl FnOnce(&mut Input<'a>) -> Option<T>) -> Option<Option<T>> {
    if input.bool()? { read(input).map(Some) } else { Some(None) }
}

fn read_time(input: &mut Input<'_>) -> Option<Timestamp> {
    input.i64().map(Timestamp::from_unix_micros)
}

fn put_snapshots<'a>(
    out: &mut Vec<u8>,
    count: usize,
    mut snapshots: impl Iterator<Item = &'a TableSnapshot>,
) -> Result<(), TooLong> {
    out.extend_from_slice(&len32(count)?.to_le_bytes());
    snapshots.try_for_each(|snapshot| put_snapshot(out, snapshot))
}

fn read_snapshots(input: &mut Input<'_>) -> Option<Vec<TableSnapshot>> {
    (0..input.u32()?).map(|_| read_snapshot(input)).collect()
}

fn put_copies(out: &mut Vec<u8>, marks: impl Iterator<Item = CopyMark> + Clone) -> Result<(), TooLong> {
    out.extend_from_slice(&len32(marks.clone().count())?.to_le_bytes());
    for mark in marks {
        out.extend_from_slice(&mark.oid.to_le_bytes());
        put_option(out, mark.begun, |out, offset| out.extend_from_slice(&offset.0.to_le_bytes()));
    }
    Ok(())
}

fn read_copies(input: &mut Input<'_>) -> Option<Vec<CopyMark>> {
    let mark = |input: &mut Input<'_>| {
        let oid = input.u32()?;
        Some(CopyMark { oid, begun: read_option(input, |input| input.u64().map(Offset))? })
    };
    (0..input.u32()?).map(|_| mark(input)).collect()
}
