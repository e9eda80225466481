//! A file that is full gets its final form and its name.
//!
//! Done again after any crash it comes to the same: what was appended is removed only when the finished file has its name durably, and where it is gone there is
//! nothing left to do.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use flate2::write::GzEncoder;

use super::manifest::{Entry, Root};
use super::spool::{Records, length_of};
use super::{Compression, Format, parquet};
use crate::sink::SinkError;
use crate::sink::disk::{failed, no_follow, sync_directory, unusable};

/// Zstandard's own default.
pub(super) const ZSTD_LEVEL: i32 = 3;

/// Finishes it, unless it is.
pub(super) fn finish(root: &Root, source: &str, entry: &Entry) -> Result<(), SinkError> {
    let (spool, finished) = (root.spool(entry.number), root.finished(entry));
    let Some(length) = length_of(&spool)? else { return Ok(()) };
    if length != entry.length {
        return Err(lost(root, entry, length));
    }
    let is_plain = entry.format == Format::Jsonl && entry.compression == Compression::None;
    let is_named = length_of(&finished)?.is_some();
    if is_named && is_plain {
        let remedy = "Move it away; files there are walbridge's alone to make";
        return Err(unusable(&finished, "something else has made a file of this name", remedy));
    }
    if !is_named {
        if let Some(directory) = finished.parent() {
            make_directories(directory).map_err(|error| failed(directory, "make", &error))?;
        }
        let ready = if is_plain { spool.clone() } else { draft(root, source, entry)? };
        fs::rename(&ready, &finished).map_err(|error| failed(&finished, "rename a file to", &error))?;
        sync_directory(&finished).map_err(|error| failed(&finished, "fsync the directory of", &error))?;
    }
    if !is_plain {
        fs::remove_file(&spool).map_err(|error| failed(&spool, "remove", &error))?;
    }
    sync_directory(&spool).map_err(|error| failed(&spool, "fsync the directory of", &error))?;
    Ok(())
}

/// Less is there than was committed.
pub(super) fn lost(root: &Root, entry: &Entry, found: u64) -> SinkError {
    let path = root.spool(entry.number);
    let detail = format!("{} has {found} bytes where {} were committed", path.display(), entry.length);
    let remedy = "Restore it; or move the sink's whole directory away, and all of it is written anew from the log";
    unusable(&root.0, &detail, remedy)
}

/// Writes the final form, durably, beside its place.
fn draft(root: &Root, source: &str, entry: &Entry) -> Result<std::path::PathBuf, SinkError> {
    let (spool, draft) = (root.spool(entry.number), root.draft(entry.number));
    let input = File::open(&spool).map_err(|error| failed(&spool, "read", &error))?;
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).custom_flags(no_follow());
    let out = options.open(&draft).map_err(|error| failed(&draft, "open", &error))?;
    let written = match entry.format {
        Format::Jsonl => compress(input, entry, &out),
        Format::Parquet => parquet::write(source, Records::of(input, entry.length), entry.compression, &out),
    };
    written.and_then(|()| out.sync_all()).map_err(|error| failed(&draft, "write", &error))?;
    Ok(draft)
}

fn compress(input: File, entry: &Entry, out: &File) -> io::Result<()> {
    let mut input = BufReader::with_capacity(1 << 18, input.take(entry.length));
    if entry.compression == Compression::Gzip {
        let mut encoder = GzEncoder::new(out, flate2::Compression::default());
        io::copy(&mut input, &mut encoder)?;
        return encoder.finish()?.flush();
    }
    let mut encoder = zstd::Encoder::new(out, ZSTD_LEVEL)?;
    encoder.include_checksum(true)?;
    io::copy(&mut input, &mut encoder)?;
    encoder.finish()?.flush()
}

/// Makes what is missing, each durably.
pub(super) fn make_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directories(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    sync_directory(directory)
}
