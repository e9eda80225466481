//! A log whose last frame holds any bytes, its checksum right or not, is opened or refused, verified and read to its
//! end: nothing panics, nothing allocates by a length it has not checked, and what is opened once opens again the same.

#![no_main]

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use walbridge::log::embedded::{Options, ReadOnly, open, verify};
use walbridge::log::{Limit, LogError};

const NAME: &str = "0000000000-00000000000000000000.wlog";
const HEADER: usize = 44;

/// An empty log's only segment.
static EMPTY: OnceLock<Vec<u8>> = OnceLock::new();

fuzz_target!(|input: (bool, u8, u8, &[u8])| {
    let (sound, flags, events, records) = input;
    let root = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { "/dev/shm" } else { "/tmp" }).expect("a place");
    let path = root.path().join("log");
    let mut bytes = EMPTY.get_or_init(|| empty(root.path())).clone();
    let frame = if sound { frame(&bytes, flags, events, records) } else { records.to_vec() };
    bytes.extend(frame);
    fs::DirBuilder::new().mode(0o700).create(&path).expect("a directory");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path.join(NAME)).expect("a file");
    file.write_all(&bytes).expect("room");
    drop(file);

    verify(&path, |_, _| {}).expect("a report, whatever it says");
    let outside = read(&path);
    // The writer is dropped here, and with it the lock.
    match open(&path, Options::default()).map(|(_, _, recovered)| recovered) {
        Err(LogError::Corrupt { .. }) => {}
        Err(error) => panic!("{error}"),
        Ok(recovered) => {
            let durable = recovered.durable;
            let again = open(&path, Options::default()).expect("what opened once opens again").2;
            assert_eq!((again.durable, again.truncated_bytes), (durable, 0));
            if let Ok(count) = outside {
                assert_eq!(count, durable.offset.0);
            }
        }
    }
});

fn read(path: &Path) -> Result<u64, LogError> {
    let log = ReadOnly::open(path)?;
    let mut reader = log.reader(log.start())?;
    let mut count = 0;
    while let Some(batch) = reader.next(&log, Limit { events: 3, bytes: 100 })? {
        count += batch.events.len() as u64;
    }
    Ok(count)
}

fn empty(root: &Path) -> Vec<u8> {
    let path = root.join("empty");
    drop(open(&path, Options::default()).expect("a new log"));
    fs::read(path.join(NAME)).expect("its segment")
}

/// A frame that fits behind `before` (docs/log-format.md).
fn frame(before: &[u8], flags: u8, events: u8, records: &[u8]) -> Vec<u8> {
    // The preamble is the last frame, and its checksum stands behind the segment's header.
    let previous = &before[16..20];
    let mut frame = vec![0; 4];
    frame.extend(u32::try_from(records.len()).expect("a short input").to_le_bytes());
    frame.extend(previous);
    frame.extend([2, flags & 7, 0, 0]);
    frame.extend((before.len() as u64).to_le_bytes());
    frame.extend((before.len() as u64).to_le_bytes());
    frame.extend(0_u64.to_le_bytes());
    frame.extend(u32::from(events).to_le_bytes());
    assert_eq!(frame.len(), HEADER);
    frame.extend(records);
    let crc = crc_fast::crc32_iscsi(&frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
    frame
}
