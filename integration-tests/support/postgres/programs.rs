//! Where PostgreSQL's programs are.

use std::fs;
use std::path::{Path, PathBuf};

/// Debian keeps them here, a folder for each major version, out of the search path.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The path of `initdb`, `postgres`, `psql`, `pg_recvlogical`…: of version 15, else of the newest there is.
pub(crate) fn program(name: &str) -> PathBuf {
    let fifteen = Path::new(DEBIAN).join("15/bin").join(name);
    if fifteen.is_file() {
        return fifteen;
    }
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let found = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse::<u32>().ok()?, entry.path())))
        .map(|(version, folder)| (version, folder.join("bin").join(name)))
        .filter(|(_, path)| path.is_file())
        .max();
    assert!(found.is_some(), "PostgreSQL's {name} is not under {DEBIAN}; run `make setup`");
    found.unwrap_or_default().1
}
