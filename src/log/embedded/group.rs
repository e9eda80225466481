//! The buffer in which frames are gathered until they are written together.

use super::format::{BEGINS_INSIDE, DEFINES_RELATIONS, ENDS_INSIDE, FRAME_HEADER_LEN, FrameKind, Header};
use super::preamble::write_header;
use crate::log::input::{TooLong, len32};

/// Frames that share one write and one fsync.
#[derive(Debug)]
pub(super) struct Group {
    /// Sealed frames, then the open one.
    pub(super) bytes: Vec<u8>,
    /// Log byte of the first byte. Everything before it is fsynced before this group is written.
    pub(super) start: u64,
    /// Checksum of the last sealed frame.
    pub(super) previous: u32,
    frame: Option<OpenFrame>,
}

/// The frame being filled: its header's place is left free.
#[derive(Clone, Copy, Debug)]
struct OpenFrame {
    at: usize,
    offset: u64,
    events: u32,
    flags: u8,
}

/// The buffer at the moment a unit began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    /// Where the unit's first frame stands, or will if its frame is split.
    pub(super) at: usize,
    /// Checksum of the frame before that.
    pub(super) previous: u32,
    /// The frame, if it held other units already.
    shared: Option<OpenFrame>,
}

impl Group {
    /// Gathers in `bytes`, which is empty.
    pub(super) fn new(bytes: Vec<u8>, start: u64, previous: u32) -> Self {
        Group { bytes, start, previous, frame: None }
    }

    /// Log byte after what is in the buffer.
    pub(super) fn end(&self) -> u64 {
        self.start.saturating_add(self.bytes.len() as u64)
    }

    pub(super) fn has_open_frame(&self) -> bool {
        self.frame.is_some()
    }

    /// Bytes in the open frame.
    pub(super) fn frame_len(&self) -> usize {
        self.frame.map_or(0, |frame| self.bytes.len().saturating_sub(frame.at))
    }

    /// Whether the open frame began inside a unit, and so must end with it.
    pub(super) fn begins_inside(&self) -> bool {
        self.frame.is_some_and(|frame| frame.flags & BEGINS_INSIDE != 0)
    }

    /// Opens a frame, of which `offset` is the first event.
    pub(super) fn open_frame(&mut self, offset: u64, flags: u8) {
        self.frame = Some(OpenFrame { at: self.bytes.len(), offset, events: 0, flags });
        self.bytes.resize(self.bytes.len() + FRAME_HEADER_LEN, 0);
    }

    /// Counts an event appended to the open frame.
    #[inline]
    pub(super) fn count_event(&mut self) {
        if let Some(frame) = &mut self.frame {
            frame.events = frame.events.saturating_add(1);
        }
    }

    /// Says that a relation was appended to the open frame.
    pub(super) fn mark_relation(&mut self) {
        if let Some(frame) = &mut self.frame {
            frame.flags |= DEFINES_RELATIONS;
        }
    }

    /// A unit is about to begin in the open frame.
    pub(super) fn mark(&mut self) -> Mark {
        let fresh = self.frame_len() <= FRAME_HEADER_LEN;
        let shared = self.frame.filter(|_| !fresh);
        let at = match self.frame {
            Some(frame) if fresh => frame.at,
            _ => self.bytes.len(),
        };
        if let Some(frame) = self.frame.as_mut().filter(|_| !fresh) {
            frame.flags = 0;
        }
        Mark { at, previous: self.previous, shared }
    }

    /// The unit that began at `mark` ended in the same frame.
    pub(super) fn keep(&mut self, mark: &Mark) {
        if let (Some(frame), Some(before)) = (&mut self.frame, mark.shared) {
            frame.flags |= before.flags;
        }
    }

    /// Undoes everything since `mark`, sealed frames included.
    pub(super) fn cut(&mut self, mark: &Mark) {
        self.bytes.truncate(mark.at);
        self.frame = mark.shared;
        self.previous = mark.previous;
    }

    /// Seals the open frame.
    pub(super) fn seal(&mut self) -> Result<(), TooLong> {
        match self.frame.take() {
            Some(frame) => self.seal_range(frame, self.bytes.len()),
            None => Ok(()),
        }
    }

    /// Seals the open frame in the middle of the unit that began at `mark`, after parting it from the units before it:
    /// the unit must be something that can be cut off the file.
    pub(super) fn seal_inside(&mut self, mark: &mut Mark) -> Result<(), TooLong> {
        if let (Some(frame), Some(before)) = (self.frame, mark.shared.take()) {
            self.seal_range(before, mark.at)?;
            mark.previous = self.previous;
            let end = self.bytes.len();
            self.bytes.resize(end + FRAME_HEADER_LEN, 0);
            self.bytes.copy_within(mark.at..end, mark.at + FRAME_HEADER_LEN);
            let events = frame.events.saturating_sub(before.events);
            let offset = before.offset.saturating_add(u64::from(before.events));
            self.frame = Some(OpenFrame { at: mark.at, offset, events, flags: frame.flags });
        }
        self.seal_continued()
    }

    /// Seals the open frame in the middle of a unit that began in an earlier one.
    pub(super) fn seal_continued(&mut self) -> Result<(), TooLong> {
        if let Some(frame) = &mut self.frame {
            frame.flags |= ENDS_INSIDE;
        }
        self.seal()
    }

    fn seal_range(&mut self, frame: OpenFrame, end: usize) -> Result<(), TooLong> {
        let OpenFrame { at, offset, events, flags } = frame;
        let mut header = Header {
            crc: 0,
            len: len32(end.saturating_sub(at + FRAME_HEADER_LEN))?,
            previous: self.previous,
            kind: FrameKind::Records,
            flags,
            at: self.start.saturating_add(at as u64),
            synced: self.start,
            offset,
            events,
        };
        if let Some(frame) = self.bytes.get_mut(at..end) {
            write_header(frame, &mut header);
        }
        self.previous = header.crc;
        Ok(())
    }
}
