//! The directories that walbridge keeps: whether it may write there, and how much room there is.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{Access, access, statvfs};

use super::Report;
use crate::config::{Config, Target};
use crate::status::bytes;

/// With less than this left, the next burst of writes may find a full disk.
const FREE_BYTES_MIN: u64 = 1 << 30;

/// Looks at all of them.
pub(super) fn look(config: &Config) -> Report {
    let mut report = Report::of("log");
    writable(&mut report, &config.log.path);
    let wanted = config.log.retain.size_bytes.map(|bytes| bytes.saturating_mul(config.sources.len() as u64));
    space(&mut report, &config.log.path, wanted.filter(|_| config.log.kafka.is_none()));
    for sink in &config.sinks {
        report.subject = format!("sink {}", sink.name);
        match &sink.target {
            Target::File(file) if file.files.is_some() => {
                writable(&mut report, &file.path);
                space(&mut report, &file.path, None);
            }
            Target::File(file) => {
                let path = &file.path;
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                let directory = directory.unwrap_or(Path::new("."));
                if directory.is_dir() {
                    writable(&mut report, directory);
                } else {
                    report.fail("directory", format!("there is no directory {}", directory.display()), "Make it");
                }
                space(&mut report, directory, None);
            }
            Target::Tantivy(index) => {
                writable(&mut report, &index.path);
                space(&mut report, &index.path, None);
            }
            Target::Redis(_)
            | Target::OpenSearch(_)
            | Target::Postgres(_)
            | Target::Webhook(_)
            | Target::Exec(_)
            | Target::Kafka(_) => {}
        }
    }
    report
}

/// The directory, or what will be its parent.
fn existing(path: &Path) -> &Path {
    let mut there = path;
    while !there.exists() {
        match there.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => there = parent,
            _ => return Path::new("."),
        }
    }
    there
}

fn writable(report: &mut Report, path: &Path) {
    const CHECK: &str = "directory";
    let there = existing(path);
    let metadata = match fs::metadata(there) {
        Ok(metadata) => metadata,
        Err(error) => return report.fail(CHECK, format!("{}: {error}", there.display()), "Make it readable"),
    };
    if !metadata.is_dir() {
        return report.fail(CHECK, format!("{} is not a directory", there.display()), "Move it away");
    }
    if let Err(error) = access(there, Access::WRITE_OK | Access::EXEC_OK) {
        let message = format!("{} cannot be written to: {}", there.display(), io::Error::from(error));
        let user = rustix::process::geteuid().as_raw();
        return report.fail(CHECK, message, format!("Give it to the user that walbridge runs as (now {user})"));
    }
    if there == path {
        let owner = metadata.uid();
        report.ok(CHECK, format!("{} is there, of user {owner}, and can be written to", path.display()));
    } else {
        report.ok(CHECK, format!("{} will be made in {}", path.display(), there.display()));
    }
}

/// `wanted`: what is going to be kept there at the most.
fn space(report: &mut Report, path: &Path, wanted: Option<u64>) {
    const CHECK: &str = "space";
    let there = existing(path);
    let free = match statvfs(there) {
        Ok(found) => found.f_bavail.saturating_mul(found.f_frsize),
        Err(error) => return report.fail(CHECK, format!("{}: {}", there.display(), io::Error::from(error)), ""),
    };
    let used = used(path).unwrap_or(0);
    let left = format!("{} are left for {}", bytes(free), path.display());
    if free < FREE_BYTES_MIN {
        report.warn(CHECK, left, "Make room");
    } else if let Some(wanted) = wanted.filter(|&wanted| wanted.saturating_sub(used) > free) {
        let message = format!("{left}, and the log may grow to {} (retain.size, by source)", bytes(wanted));
        report.warn(CHECK, message, "Make room, or keep less: retain = { size = … }");
    } else {
        report.ok(CHECK, left);
    }
}

/// What the logs' segments take by now.
fn used(path: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { used(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
