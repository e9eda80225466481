//! pgoutput messages made by hand, as the manual has them ("Logical Replication Message Formats").

pub(super) fn frame(letter: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[letter][..], &parts.concat()].concat()
}

/// Puts the (sub)transaction's id where it stands inside a streamed block.
pub(super) fn of(xid: u32, message: Vec<u8>) -> Vec<u8> {
    frame(message[0], &[&xid.to_be_bytes(), &message[1..]])
}

/// Table 7 under this name, with one column.
pub(super) fn table(name: &str) -> Vec<u8> {
    let column = [&[1][..], b"id\0", &25_u32.to_be_bytes(), &(-1_i32).to_be_bytes()].concat();
    frame(b'R', &[&7_u32.to_be_bytes(), b"public\0", name.as_bytes(), b"\0d", &1_u16.to_be_bytes(), &column])
}

/// A row of table 7.
pub(super) fn row(value: &str) -> Vec<u8> {
    let length = u32::try_from(value.len()).expect("short").to_be_bytes();
    frame(b'I', &[&7_u32.to_be_bytes(), b"N", &1_u16.to_be_bytes(), b"t", &length, value.as_bytes()])
}

pub(super) fn begin(xid: u32, commit: u64) -> Vec<u8> {
    frame(b'B', &[&commit.to_be_bytes(), &0_u64.to_be_bytes(), &xid.to_be_bytes()])
}

/// The commit's LSN, the end sixteen bytes further on, and a time.
pub(super) fn places(lsn: u64) -> Vec<u8> {
    [lsn.to_be_bytes(), (lsn + 16).to_be_bytes(), 0_u64.to_be_bytes()].concat()
}

pub(super) fn commit(lsn: u64) -> Vec<u8> {
    frame(b'C', &[&[0], &places(lsn)])
}

pub(super) fn start(xid: u32, first: bool) -> Vec<u8> {
    frame(b'S', &[&xid.to_be_bytes(), &[u8::from(first)]])
}

pub(super) fn stop() -> Vec<u8> {
    b"E".to_vec()
}

pub(super) fn stream_commit(xid: u32, lsn: u64) -> Vec<u8> {
    frame(b'c', &[&xid.to_be_bytes(), &[0], &places(lsn)])
}

pub(super) fn abort(xid: u32, part: u32) -> Vec<u8> {
    frame(b'A', &[&xid.to_be_bytes(), &part.to_be_bytes()])
}

pub(super) fn prepared(letter: u8, xid: u32, lsn: u64) -> Vec<u8> {
    let flags: &[u8] = if letter == b'b' { &[] } else { &[0] };
    frame(letter, &[flags, &places(lsn), &xid.to_be_bytes(), b"gid\0"])
}

pub(super) fn rollback_prepared(xid: u32, lsn: u64) -> Vec<u8> {
    frame(b'r', &[&[0], &places(lsn), &0_u64.to_be_bytes(), &xid.to_be_bytes(), b"gid\0"])
}

pub(super) fn origin(name: &str) -> Vec<u8> {
    frame(b'O', &[&1_u64.to_be_bytes(), name.as_bytes(), &[0]])
}

pub(super) fn message(transactional: bool, lsn: u64, prefix: &str) -> Vec<u8> {
    let flags = [u8::from(transactional)];
    frame(b'M', &[&flags, &lsn.to_be_bytes(), prefix.as_bytes(), &[0], &2_u32.to_be_bytes(), b"hi"])
}
