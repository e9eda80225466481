//! Reading a segment frame by frame.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use rustix::io::{Errno, ReadWriteFlags};

use super::catalog::{Segment, open_file};
use super::format::{
    FORMAT, FRAME_HEADER_LEN, FrameKind, Header, SEGMENT_HEADER_LEN, SegmentHeader, frame_crc, parse_segment_header,
};
use super::preamble::Preamble;
use crate::log::LogError;

/// How much is read at once where frames are small.
const READ_AHEAD: u64 = 256 * 1024;

/// A place in a segment, and what is known of the frame before it.
#[derive(Debug)]
pub(super) struct Frames {
    pub(super) segment: Arc<Segment>,
    file: File,
    /// Byte in the file of the next frame.
    pub(super) byte: u64,
    /// Checksum of the frame before.
    pub(super) previous: u32,
    /// Bytes of the file from `byte` on.
    buffer: Bytes,
    /// Whether to wait for the disk. If not, what is not in the page cache is an error of kind `WouldBlock`, after which
    /// the same call can be made again.
    pub(super) wait: bool,
}

/// What stands at a place.
#[derive(Debug)]
pub(super) enum Next<T> {
    /// This.
    Frame(T),
    /// Nothing: the file ends here.
    End,
    /// Something that is not the next frame.
    Misfit(&'static str),
}

impl Frames {
    /// From the segment's first frame after the preamble.
    pub(super) fn open(segment: Arc<Segment>) -> Result<Self, LogError> {
        let file = open_file(&segment.path, false)?;
        let (byte, previous) = (segment.body, segment.crc);
        Ok(Frames { segment, file, byte, previous, buffer: Bytes::new(), wait: true })
    }

    /// From a place in the segment, given the checksum of the frame before it.
    pub(super) fn open_at(segment: Arc<Segment>, byte: u64, previous: u32) -> Result<Self, LogError> {
        Ok(Frames { byte, previous, ..Frames::open(segment)? })
    }

    /// Log byte of the next frame.
    pub(super) fn at(&self) -> u64 {
        self.segment.start.saturating_add(self.byte)
    }

    /// The file's length.
    pub(super) fn file_len(&self) -> Result<u64, LogError> {
        let path = &self.segment.path;
        Ok(self.file.metadata().map_err(LogError::io("stat", path))?.len())
    }

    /// An error that names this place.
    pub(super) fn corrupt(&self, detail: impl Into<String>) -> LogError {
        LogError::Corrupt { path: self.segment.path.clone(), at: self.byte, detail: detail.into() }
    }

    /// The next frame's header. Bytes of the log from `bound` on may still change: no more of them is read than the
    /// next frame, which the caller knows to be there for good.
    pub(super) fn peek(&mut self, bound: u64) -> Result<Next<Header>, LogError> {
        if self.buffer.len() < FRAME_HEADER_LEN {
            self.fill(FRAME_HEADER_LEN as u64, bound)?;
        }
        if self.buffer.is_empty() {
            return Ok(Next::End);
        }
        let Some(header) = self.buffer.get(..FRAME_HEADER_LEN).and_then(Header::parse) else {
            return Ok(Next::Misfit("no frame header"));
        };
        Ok(match header {
            Header { at, .. } if at != self.at() => Next::Misfit("a frame from another place"),
            Header { previous, .. } if previous != self.previous => {
                Next::Misfit("a frame that does not follow the last")
            }
            Header { kind: FrameKind::Preamble, .. } => Next::Misfit("a preamble in the middle"),
            Header { kind: FrameKind::Records, .. } => Next::Frame(header),
        })
    }

    /// Leaves out the frame just peeked at.
    pub(super) fn skip(&mut self, header: &Header) {
        let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
        self.buffer.advance(len.min(self.buffer.len()));
        self.advance(header);
    }

    /// The next frame's records, its checksum verified. For `bound` see [`Frames::peek`].
    pub(super) fn next(&mut self, bound: u64) -> Result<Next<(Header, Bytes)>, LogError> {
        let header = match self.peek(bound)? {
            Next::Frame(header) => header,
            Next::End => return Ok(Next::End),
            Next::Misfit(why) => return Ok(Next::Misfit(why)),
        };
        let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
        if self.buffer.len() < len {
            if self.byte.saturating_add(header.frame_len()) > self.file_len()? {
                return Ok(Next::Misfit("a frame longer than the file"));
            }
            self.fill(header.frame_len(), bound)?;
        }
        let Some(frame) = self.buffer.get(..len) else { return Ok(Next::Misfit("a frame longer than the file")) };
        if frame_crc(frame) != header.crc {
            return Ok(Next::Misfit("a wrong checksum"));
        }
        let mut frame = self.buffer.split_to(len);
        frame.advance(FRAME_HEADER_LEN);
        self.advance(&header);
        Ok(Next::Frame((header, frame)))
    }

    fn advance(&mut self, header: &Header) {
        self.byte = self.byte.saturating_add(header.frame_len());
        self.previous = header.crc;
    }

    /// Reads `wanted` bytes, and if that is safe the next header too, or many small frames at once. Fewer if the file ends.
    fn fill(&mut self, wanted: u64, bound: u64) -> Result<(), LogError> {
        let safe = bound.saturating_sub(self.at());
        let ahead = wanted.saturating_add(FRAME_HEADER_LEN as u64).max(READ_AHEAD);
        let len = usize::try_from(wanted.max(safe.min(ahead))).unwrap_or(usize::MAX);
        let path = &self.segment.path;
        let bytes = if self.wait { self.read(self.byte, len) } else { read_cached(&self.file, path, self.byte, len) };
        self.buffer = Bytes::from(bytes?);
        Ok(())
    }

    /// As many of `len` bytes at `byte` as there are.
    fn read(&self, byte: u64, len: usize) -> Result<Vec<u8>, LogError> {
        read_at(&self.file, &self.segment.path, byte, len)
    }

    /// Whether any whole frame further on says that the log was fsynced beyond the next frame's place: then what is
    /// there was once good, and has been damaged since. Returns the byte of that frame.
    pub(super) fn find_witness(&self) -> Result<Option<u64>, LogError> {
        let misfit = self.at();
        Ok(self.find_frame(|header| header.synced > misfit)?.map(|(byte, _)| byte))
    }

    /// Goes to the next whole frame further on, whatever it follows. Returns whether there is one.
    pub(super) fn resynchronise(&mut self) -> Result<bool, LogError> {
        let found = self.find_frame(|_| true)?;
        if let Some((byte, header)) = found {
            (self.byte, self.previous) = (byte, header.previous);
            self.buffer = Bytes::new();
        }
        Ok(found.is_some())
    }

    /// The first whole frame beyond the next one's first byte that stands where it says, and that is `wanted`.
    fn find_frame(&self, wanted: impl Fn(&Header) -> bool) -> Result<Option<(u64, Header)>, LogError> {
        let end = self.file_len()?;
        let mut byte = self.byte.saturating_add(1);
        while byte.saturating_add(FRAME_HEADER_LEN as u64) <= end {
            let window = self.read(byte, usize::try_from(READ_AHEAD).unwrap_or(usize::MAX))?;
            for (index, bytes) in window.windows(FRAME_HEADER_LEN).enumerate() {
                let place = byte.saturating_add(index as u64);
                let header = self.header_at(bytes, place, end).filter(&wanted);
                if let Some(header) = header.filter(|header| self.is_whole(place, header)) {
                    return Ok(Some((place, header)));
                }
            }
            byte = byte.saturating_add((window.len().saturating_sub(FRAME_HEADER_LEN - 1)).max(1) as u64);
        }
        Ok(None)
    }

    fn header_at(&self, bytes: &[u8], place: u64, end: u64) -> Option<Header> {
        // The place first: eight bytes that almost never fit by chance.
        let at = self.segment.start.saturating_add(place).to_le_bytes();
        if bytes.get(16..24) != Some(at.as_slice()) {
            return None;
        }
        Header::parse(bytes).filter(|header| place.saturating_add(header.frame_len()) <= end)
    }

    fn is_whole(&self, place: u64, header: &Header) -> bool {
        let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
        self.read(place, len).is_ok_and(|frame| frame_crc(&frame) == header.crc)
    }
}

/// Reads a segment's first bytes.
pub(super) fn read_preamble(
    file: &File,
    path: &Path,
    sequence: u64,
    base: u64,
) -> Result<(Segment, Preamble), LogError> {
    let corrupt =
        |at: usize, detail: &str| LogError::Corrupt { path: path.to_owned(), at: at as u64, detail: detail.to_owned() };
    let front = read_at(file, path, 0, SEGMENT_HEADER_LEN + FRAME_HEADER_LEN)?;
    let format = match parse_segment_header(&front) {
        SegmentHeader::Ours(format) => format,
        SegmentHeader::Newer(found) => {
            return Err(LogError::Format { path: path.to_owned(), found, supported: FORMAT });
        }
        SegmentHeader::Damaged => return Err(corrupt(0, "not a segment's header")),
    };
    let header = front.get(SEGMENT_HEADER_LEN..).and_then(Header::parse);
    let header = header.filter(|header| header.kind == FrameKind::Preamble);
    let header = header.ok_or_else(|| corrupt(SEGMENT_HEADER_LEN, "no preamble"))?;
    let body = (SEGMENT_HEADER_LEN as u64).saturating_add(header.frame_len());
    if body > file.metadata().map_err(LogError::io("stat", path))?.len() {
        return Err(corrupt(SEGMENT_HEADER_LEN, "a preamble longer than the file"));
    }
    let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
    let frame = read_at(file, path, SEGMENT_HEADER_LEN as u64, len)?;
    if frame_crc(&frame) != header.crc {
        return Err(corrupt(SEGMENT_HEADER_LEN, "a preamble with a wrong checksum"));
    }
    let preamble = frame.get(FRAME_HEADER_LEN..).and_then(Preamble::parse);
    let preamble = preamble.ok_or_else(|| corrupt(SEGMENT_HEADER_LEN, "a preamble that cannot be read"))?;
    let start = header.at.checked_sub(SEGMENT_HEADER_LEN as u64);
    let fits = preamble.sequence == sequence && header.offset == base && preamble.history.next_offset().0 == base;
    let Some(start) = start.filter(|_| fits) else {
        return Err(corrupt(SEGMENT_HEADER_LEN, "the preamble of another segment: the file was renamed"));
    };
    let history = &preamble.history;
    let crcs = [header.previous, header.crc];
    let segment = Segment { format, ..Segment::new(path.to_owned(), sequence, start, body, crcs, history) };
    Ok((segment, preamble))
}

fn read_at(file: &File, path: &Path, byte: u64, len: usize) -> Result<Vec<u8>, LogError> {
    read_by(path, byte, len, |rest, at| file.read_at(rest, at))
}

/// As [`read_at`], but only what is in the page cache (`RWF_NOWAIT`).
fn read_cached(file: &File, path: &Path, byte: u64, len: usize) -> Result<Vec<u8>, LogError> {
    read_by(path, byte, len, |rest, at| {
        let read = rustix::io::preadv2(file, &mut [IoSliceMut::new(rest)], at, ReadWriteFlags::NOWAIT);
        read.map_err(|error| match error {
            // Some file systems cannot tell.
            Errno::OPNOTSUPP | Errno::NOSYS => io::Error::from(io::ErrorKind::WouldBlock),
            other => io::Error::from(other),
        })
    })
}

fn read_by(
    path: &Path,
    byte: u64,
    len: usize,
    read: impl Fn(&mut [u8], u64) -> io::Result<usize>,
) -> Result<Vec<u8>, LogError> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read(rest, byte.saturating_add(filled as u64)) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LogError::io("read", path)(error)),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}
