//! `[sources.NAME]`: a PostgreSQL database and which of its tables.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use super::key::{Describe, Key, Section};
use super::messages::Messages;
use super::pattern::TablePatterns;
use super::policy::{Failover, OnHistoryBreak, OnSchemaChange, OnTableDrop, OnTruncate, OnWalBudget, TablesWithoutKey};
use super::reader::Item;
use super::value::{Bytes, Choice, Count, Limit, Patterns, Positive};
use crate::postgres::address::Address;

/// A database to capture.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its name: the log's directory, and a label wherever it is spoken of.
    pub name: String,
    /// Where it is and how to get in.
    pub address: Address,
    /// Its tables.
    pub tables: TablePatterns,
    /// The replication slot.
    pub slot: String,
    /// The publication.
    pub publication: String,
    /// Whether existing rows are copied.
    pub snapshot: SnapshotMode,
    /// What happens to tables without a primary key.
    pub tables_without_key: TablesWithoutKey,
    /// What happens when a table's definition changes.
    pub on_schema_change: OnSchemaChange,
    /// What happens to the documents of a table that is gone.
    pub on_table_drop: OnTableDrop,
    /// What happens when a table is truncated.
    pub truncate: OnTruncate,
    /// How often the catalog is looked at for changed definitions.
    pub watch_interval: Duration,
    /// How many workers copy them.
    pub snapshot_workers: usize,
    /// How many bytes a second they may read.
    pub snapshot_rate: Option<u64>,
    /// In which form values are asked for.
    pub values: Values,
    /// Whether copies of the slot are kept on standbys.
    pub failover: Failover,
    /// What a break of its history is answered with.
    pub on_history_break: OnHistoryBreak,
    /// How much WAL the server may keep for the slot.
    pub wal_budget: Option<u64>,
    /// And if it keeps more.
    pub on_wal_budget: OnWalBudget,
    /// Which logical messages become events.
    pub messages: Messages,
    /// Whether transactions that came to the database by replication become events.
    pub origin: OriginMode,
    /// Whether prepared transactions are sent when they are prepared.
    pub two_phase: bool,
}

/// Which transactions are taken, by where they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OriginMode {
    /// All.
    Any,
    /// Only those made in this database.
    None,
}

impl Choice for OriginMode {
    const WORDS: &'static [(&'static str, Self)] = &[("any", OriginMode::Any), ("none", OriginMode::None)];
}

/// What happens to the rows that a table has already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotMode {
    /// They are copied, once for each table.
    Initial,
    /// They are not; only changes from now on.
    Never,
}

impl Choice for SnapshotMode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("initial", SnapshotMode::Initial), ("never", SnapshotMode::Never)];
}

/// The form in which the stream carries values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Values {
    /// Binary as long as every type is known, else text.
    Auto,
    /// Text.
    Text,
}

impl Choice for Values {
    const WORDS: &'static [(&'static str, Self)] = &[("auto", Values::Auto), ("text", Values::Text)];
}

static URL: Key<SecretString> = Key::required(
    "url",
    "\"postgres://walbridge@db.internal/shop\"",
    "Where the database is, as libpq's connection URLs have it. Without `sslmode`, a host that is not this machine must prove itself (`verify-full`).",
);
static PASSWORD_FILE: Key<PathBuf> = Key::optional(
    "password_file",
    "the password in the URL, else `PGPASSWORD`, else `~/.pgpass`",
    "\"/run/secrets/postgres-password\"",
    "A file that holds the password and nothing else; a newline at its end does not count.",
);
static TABLES: Key<Patterns> = Key::required(
    "tables",
    "[\"public.*\", \"!public.audit\"]",
    "The tables to capture, `schema.table` each. `*` stands for any run of characters, `?` for one; `!` in front leaves tables out.",
);
static SLOT: Key<String> = Key::optional(
    "slot",
    "`walbridge_NAME`, with `_` for `-`",
    "\"walbridge_shop\"",
    "The replication slot; made if it is not there. Only one program may use a slot.",
);
static PUBLICATION: Key<String> = Key::optional(
    "publication",
    "`walbridge_NAME`, with `_` for `-`",
    "\"walbridge_shop\"",
    "The publication; made for the configured tables if it is not there.",
);
static SNAPSHOT: Key<SnapshotMode> = Key::default(
    "snapshot",
    "\"initial\"",
    "\"never\"",
    "`initial` copies the rows that are there already, once for each table; `never` takes only changes from now on.",
);
static VALUES: Key<Values> = Key::default(
    "values",
    "\"auto\"",
    "\"text\"",
    "The form in which PostgreSQL sends values: `auto` is binary while every captured type is known, which makes the log smaller, and text otherwise; the outcome is the same.",
);
static MESSAGES: Key<Messages> = Key::default(
    "messages",
    "true",
    "[\"outbox\", \"audit.*\"]",
    "Which messages of `pg_logical_emit_message` become events: `true` all, `false` none, or those with these prefixes, `*` at the end standing for any more.",
);
static ORIGIN: Key<OriginMode> = Key::default(
    "origin",
    "\"any\"",
    "\"none\"",
    "`none` leaves out transactions that came to this database by replication from elsewhere (those with a replication origin); `any` takes them, and tells the origin's name with their events.",
);
static TWO_PHASE: Key<bool> = Key::default(
    "two_phase",
    "false",
    "true",
    "Has the server send prepared transactions when they are prepared rather than when they are committed. They become events only when they are committed, either way. Once on, it stays on for the slot.",
);

static SNAPSHOT_WORKERS: Key<Count> = Key::default(
    "snapshot_workers",
    "2",
    "4",
    "How many connections copy existing rows at the same time; several may work at one table.",
);
static SNAPSHOT_RATE: Key<Limit<Bytes>> = Key::default(
    "snapshot_rate",
    "\"unlimited\"",
    "\"50MiB\"",
    "How many bytes a second they may copy together, on average; and how many a verification may read.",
);

static TABLES_WITHOUT_KEY: Key<TablesWithoutKey> = Key::default(
    "tables_without_key",
    "\"refuse\"",
    "\"full\"",
    "What to do with tables that have no primary key: `refuse` to start, naming them, or with `full` take the whole row as the key, for which they need `REPLICA IDENTITY FULL`.",
);
static ON_SCHEMA_CHANGE: Key<OnSchemaChange> = Key::default(
    "on_schema_change",
    "\"follow\"",
    "\"halt\"",
    "What to do when a table is redefined: `follow`, copying it again where no event tells what became of its rows, or `halt`.",
);
static ON_TABLE_DROP: Key<OnTableDrop> = Key::default(
    "on_table_drop",
    "\"clear\"",
    "\"keep\"",
    "What becomes of the documents of a table that was dropped, or renamed to something that `tables` does not mean: `clear` removes them, `keep` leaves them.",
);
static TRUNCATE: Key<OnTruncate> = Key::default(
    "truncate",
    "\"apply\"",
    "\"ignore\"",
    "What to do when a table is truncated: `apply` removes its documents, `ignore` leaves them and tells no sink, `halt` stops the source before it.",
);
static WATCH_INTERVAL: Key<Positive> = Key::default(
    "watch_interval",
    "\"2s\"",
    "\"10s\"",
    "How often the catalog is looked at for what the stream does not tell: rewritten tables, partitions, the publication. Looks that take long come less often.",
);
static FAILOVER: Key<Failover> = Key::default(
    "failover",
    "\"auto\"",
    "\"never\"",
    "Whether the slot is made a failover slot, of which standbys keep copies: `auto` where the server can (PostgreSQL 17 and newer), `never` not.",
);
static ON_HISTORY_BREAK: Key<OnHistoryBreak> = Key::default(
    "on_history_break",
    "\"halt\"",
    "\"copy_again\"",
    "What happens when changes are proved to be lost to the stream, or the server's history is another: `halt` until an operator decides, or `copy_again`: all tables are copied, and what is gone is removed from the sinks.",
);
static WAL_BUDGET: Key<Limit<Bytes>> = Key::default(
    "wal_budget",
    "\"unlimited\"",
    "\"10GiB\"",
    "How much WAL the server may keep for the slot. From half of it on, `walbridge status` says why it is kept.",
);
static ON_WAL_BUDGET: Key<OnWalBudget> = Key::default(
    "on_wal_budget",
    "\"warn\"",
    "\"protect_source\"",
    "What happens beyond `wal_budget`: `warn`, and nothing else; `protect_source` drops the slot, so that the server's disk does not fill, and the source halts; `protect_data` keeps the slot and says so loudly.",
);

pub(super) static KEYS: &[&dyn Describe] = &[
    &URL,
    &PASSWORD_FILE,
    &TABLES,
    &SLOT,
    &PUBLICATION,
    &SNAPSHOT,
    &TABLES_WITHOUT_KEY,
    &ON_SCHEMA_CHANGE,
    &ON_TABLE_DROP,
    &TRUNCATE,
    &WATCH_INTERVAL,
    &SNAPSHOT_WORKERS,
    &SNAPSHOT_RATE,
    &VALUES,
    &FAILOVER,
    &ON_HISTORY_BREAK,
    &WAL_BUDGET,
    &ON_WAL_BUDGET,
    &MESSAGES,
    &ORIGIN,
    &TWO_PHASE,
];

/// PostgreSQL's limit for names (`NAMEDATALEN - 1`).
const NAME_BYTES_MAX: usize = 63;

/// Reads one.
pub(super) fn read(name: &str, section: &Section<'_>) -> Option<Source> {
    section.refuse_others(KEYS, |key| {
        let is_password = key.contains("pass") || key.contains("pasw") || key == "pwd";
        is_password.then(|| {
            "a password comes from the environment (`${NAME}` in the url, or PGPASSWORD) or from a file (password_file)"
                .to_owned()
        })
    });
    let url = section.get(&URL);
    let password_file = section.get(&PASSWORD_FILE);
    let tables = section.get(&TABLES);
    let snapshot = section.get(&SNAPSHOT);
    let policies = (
        section.get(&TABLES_WITHOUT_KEY),
        section.get(&ON_SCHEMA_CHANGE),
        section.get(&ON_TABLE_DROP),
        section.get(&TRUNCATE),
        section.get(&WATCH_INTERVAL),
    );
    let snapshot_workers = section.get(&SNAPSHOT_WORKERS);
    let snapshot_rate = section.get(&SNAPSHOT_RATE);
    let values = section.get(&VALUES);
    let (failover, on_history_break) = (section.get(&FAILOVER), section.get(&ON_HISTORY_BREAK));
    let (wal_budget, on_wal_budget) = (section.get(&WAL_BUDGET), section.get(&ON_WAL_BUDGET));
    if snapshot == Some(SnapshotMode::Never) && on_history_break == Some(OnHistoryBreak::CopyAgain) {
        section.complain(
            "on_history_break = \"copy_again\" cannot be with snapshot = \"never\": nothing is ever copied".to_owned(),
            "take one of the two out".to_owned(),
        );
    }
    let (messages, origin, two_phase) = (section.get(&MESSAGES), section.get(&ORIGIN), section.get(&TWO_PHASE));
    let default_name = format!("walbridge_{}", name.replace('-', "_"));
    let slot = server_name(section, &SLOT, &default_name, is_slot_name, "1 to 63 lower-case letters, digits and _");
    let publication = server_name(
        section,
        &PUBLICATION,
        &default_name,
        is_publication_name,
        "1 to 63 bytes without control characters",
    );
    let item = section.item("url")?;
    let mut address = parse_url(&item, &url?, item.reader.environment())?;
    if let Some(path) = password_file {
        address.password = Some(read_password(&section.item("password_file")?, &path)?);
    }
    let tables = tables?.0.into_iter().map(|(pattern, _)| pattern).collect();
    Some(Source {
        name: name.to_owned(),
        address,
        tables,
        slot: slot?,
        publication: publication?,
        snapshot: snapshot?,
        tables_without_key: policies.0?,
        on_schema_change: policies.1?,
        on_table_drop: policies.2?,
        truncate: policies.3?,
        watch_interval: policies.4?.0,
        snapshot_workers: snapshot_workers?.0,
        snapshot_rate: snapshot_rate?.0.map(|bytes| bytes.0),
        values: values?,
        failover: failover?,
        on_history_break: on_history_break?,
        wal_budget: wal_budget?.0.map(|bytes| bytes.0),
        on_wal_budget: on_wal_budget?,
        messages: messages?,
        origin: origin?,
        two_phase: two_phase?,
    })
}

/// A name on the server, or the default. These names go into SQL and replication commands, so nothing but what PostgreSQL
/// itself takes gets past here.
fn server_name(
    section: &Section<'_>,
    key: &Key<String>,
    default: &str,
    valid: fn(&str) -> bool,
    rule: &str,
) -> Option<String> {
    let item = section.item(key.name());
    let name = if item.is_some() { section.get(key)? } else { default.to_owned() };
    if valid(&name) {
        return Some(name);
    }
    match item {
        Some(item) => {
            item.complain(format!("`{}` cannot be the name of a {}", item.written(), key.name()), Some(rule.to_owned()))
        }
        // What else could be wrong with it is wrong with the source's name, and has been said.
        None if default.len() > NAME_BYTES_MAX => {
            let message = format!("`{default}` is too long for a {}", key.name());
            section.complain(message, format!("set {} yourself: {rule}", key.name()));
        }
        None => {}
    }
    None
}

/// As `ReplicationSlotValidateName` has it.
fn is_slot_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(allowed)
}

fn is_publication_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// `environment`: whom to ask for what the url leaves out.
pub(super) fn parse_url(
    item: &Item<'_>,
    url: &SecretString,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Option<Address> {
    let url = url.expose_secret();
    if password_splits_url(url) {
        let help = "in a url write %2F for /, %3F for ?, %23 for #, %40 for @; or use password_file".to_owned();
        item.complain("the password seems to have a character in it that ends the host's part".to_owned(), Some(help));
        return None;
    }
    Address::parse_in(url, environment)
        .inspect_err(|error| item.complain(format!("`{}` is not usable", item.path), Some(error.to_string())))
        .ok()
}

/// Whether a `/`, `?` or `#` stands before the `@` of the login. Taken at its word, such a url has half of its password in the
/// port, the database or a parameter, all of which are shown in messages.
fn password_splits_url(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let Some(cut) = rest.find(['/', '?', '#']) else { return false };
    let (authority, rest) = rest.split_at(cut);
    let path = rest.split('?').next().unwrap_or_default();
    let opens_password = !authority.contains('@')
        && authority.split_once(':').is_some_and(|(_, port)| !port.bytes().all(|byte| byte.is_ascii_digit()));
    path.contains('@') || (opens_password && rest.contains('@'))
}

fn read_password(item: &Item<'_>, path: &std::path::Path) -> Option<SecretString> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let password = text.strip_suffix('\n').unwrap_or(&text);
            Some(SecretString::from(password.strip_suffix('\r').unwrap_or(password)))
        }
        Err(error) => {
            let help = "the file must be there, and readable for the user that runs walbridge".to_owned();
            item.complain(format!("cannot read {}: {error}", item.written()), Some(help));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_password_is_never_taken_for_a_database_or_a_parameter() {
        for (url, split) in [
            ("postgres://u:pa/ss@db/x", true),
            ("postgres://u:12/34@db/x", true),
            ("postgres://u:pa?ss=word@db/x", true),
            ("postgres://u:pa#ss@db/x", true),
            ("postgres://u:pa@ss@db/x", false),
            ("postgres://u:p%2Fw@db:5432/x?sslmode=disable", false),
            ("postgres://db:5432/x?user=a@b", false),
            ("postgres://db?user=a@b", false),
            ("postgres:///x?host=/run/postgresql", false),
        ] {
            assert_eq!(password_splits_url(url), split, "{url}");
        }
    }

    #[test]
    fn slot_names_are_those_that_postgres_takes() {
        for (name, valid) in [
            ("walbridge_shop_2", true),
            (&"a".repeat(63), true),
            (&"a".repeat(64), false),
            ("Walbridge", false),
            ("a-b", false),
            ("a b", false),
            ("x\" (SNAPSHOT 'nothing')", false),
            ("", false),
            ("é", false),
        ] {
            assert_eq!(is_slot_name(name), valid, "{name}");
        }
    }
}
