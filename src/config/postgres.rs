//! The keys of a `postgres` sink.

use secrecy::SecretString;

use super::key::{Describe, Key, Section};
use super::source;
use crate::postgres::address::Address;

/// Where the database is, and what may be done there.
#[derive(Clone, Debug)]
pub struct Postgres {
    /// The database.
    pub address: Address,
    /// Tables may be made and altered.
    pub ddl: bool,
}

static URL: Key<SecretString> = Key::required(
    "url",
    "\"postgres://walbridge@replica.internal/shop\"",
    "The database, as in a source's `url`. Of the environment only `~/.pgpass` and `PGPASSFILE` are asked: `PGPASSWORD` is the source's.",
);
static DDL: Key<bool> = Key::default(
    "ddl",
    "true",
    "false",
    "Whether walbridge makes the tables there, and follows the source's when they change. With `false` it stops instead, and says which statements to run.",
);

pub(super) static KEYS: &[&dyn Describe] = &[&URL, &DDL];

/// Reads them.
pub(super) fn read(section: &Section<'_>) -> Option<Postgres> {
    let (url, ddl) = (section.get(&URL), section.get(&DDL));
    let address = source::parse_url(&section.item("url")?, &url?, &|_| None)?;
    // What the environment has of that kind is the source's.
    Some(Postgres { address: Address { asks_environment: false, ..address }, ddl: ddl? })
}
