//! Where PostgreSQL's programs are.

use std::fs;
use std::path::{Path, PathBuf};

/// Debian keeps them here, a folder for each major version, out of the search path.
const DEBIAN: &str = "/usr/lib/postgresql";
/// `scripts/setup` puts here the versions that the distribution does not have: servers without clients.
const OURS: &str = "/var/cache/walbridge/postgresql";

/// What tests run on unless they say otherwise: 15, the oldest that is supported, else the newest of the distribution's.
/// Its clients (`psql`, `pg_recvlogical`, `pgbench`) speak to all.
pub(crate) fn default_major() -> u32 {
    let has = |major: &u32| Path::new(DEBIAN).join(major.to_string()).join("bin/postgres").is_file();
    let folders = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let majors = folders.filter_map(|folder| folder.file_name().to_str()?.parse::<u32>().ok()).filter(has);
    let found = majors.max_by_key(|&major| (major == 15, major));
    assert!(found.is_some(), "PostgreSQL is not under {DEBIAN}; run `make setup`");
    found.unwrap_or_default()
}

/// The path of `psql`, `pg_recvlogical`, `postgres`… of the default version.
pub(crate) fn program(name: &str) -> PathBuf {
    program_of(default_major(), name)
}

/// The path of `initdb` or `postgres` of a major version.
pub(crate) fn program_of(major: u32, name: &str) -> PathBuf {
    let places = [DEBIAN, OURS].map(|place| Path::new(place).join(major.to_string()).join("bin").join(name));
    let found = places.iter().find(|path| path.is_file());
    assert!(found.is_some(), "PostgreSQL {major}'s {name} is at none of {places:?}; run `make setup`");
    found.cloned().unwrap_or_default()
}
