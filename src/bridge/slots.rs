//! `walbridge slots` and `walbridge teardown`: what walbridge has on the servers, and taking it away again.

use super::{Administrator, resolve};
use crate::capture::slot::{self, END_OF_WAL, Slot, parsed};
use crate::capture::{CaptureError, continuity, publication};
use crate::config;
use crate::event::Lsn;
use crate::postgres::connection::{Connection, Purpose};

/// A source's slot, as the server has it.
#[derive(Clone, Debug)]
pub struct SlotReport {
    /// Whose.
    pub source: String,
    /// Its name.
    pub name: String,
    /// What is there, if anything.
    pub slot: Option<Slot>,
    /// WAL that the server keeps for it.
    pub retained_bytes: u64,
    /// What is wrong with it and what to do; `None` if nothing is.
    pub problem: Option<String>,
}

/// Looks at the slot of one source.
///
/// # Errors
/// The server cannot be asked.
pub async fn slots(source: &config::Source) -> Result<SlotReport, CaptureError> {
    let source = resolve(source);
    let mut replication = Connection::open(&source.address, Purpose::Replication).await?;
    let server = slot::identify(&mut replication, true).await?;
    let found = slot::inspect(&mut replication, &source.slot).await?;
    let rows = replication.query("asking for the end of the WAL", &format!("SELECT {END_OF_WAL}")).await?;
    let end: Lsn = rows.first().and_then(|row| parsed(row, 0)).unwrap_or_default();
    replication.close().await;
    let problem = match &found {
        None => Some("there is none; walbridge makes it when it first starts".to_owned()),
        Some(slot) => continuity::judge(&server, None, &source.slot, Some(slot)).err().map(|error| error.to_string()),
    };
    let restart = found.as_ref().and_then(|slot| slot.restart_lsn);
    Ok(SlotReport {
        source: source.name,
        name: source.slot,
        slot: found,
        retained_bytes: restart.map_or(0, |restart| end.bytes_since(restart)),
        problem,
    })
}

/// Something that walbridge has on a server.
#[derive(Clone, Debug)]
pub struct Leftover {
    /// Whose.
    pub source: String,
    /// For people: `replication slot "walbridge_shop"`.
    pub what: String,
    /// Removes it. `None`: it stays, for the reason that `what` tells.
    pub sql: Option<String>,
}

/// What a source has on its server.
///
/// # Errors
/// The server cannot be asked.
pub async fn find_leftovers(
    source: &config::Source,
    administrator: Option<&Administrator>,
) -> Result<Vec<Leftover>, CaptureError> {
    let source = resolve(source);
    let address = administrator.map_or(&source.address, |Administrator(address)| address);
    let mut connection = Connection::open(address, Purpose::Query).await?;
    let mut found = Vec::new();
    let mut add = |what: String, sql: Option<String>| found.push(Leftover { source: source.name.clone(), what, sql });
    let name = &source.slot;
    match slot::inspect(&mut connection, name).await? {
        None => {}
        Some(slot) if slot.plugin != "pgoutput" || slot.database != slot.connected_database => {
            add(format!("replication slot \"{name}\" is not one of walbridge's, and stays"), None);
        }
        Some(Slot { active_pid: Some(pid), .. }) => {
            // A bridge at work must not lose its publication.
            add(format!("replication slot \"{name}\" is in use by process {pid}: stop walbridge first"), None);
            return Ok(found);
        }
        Some(_) => add(format!("replication slot \"{name}\""), Some(slot::release_statement(name))),
    }
    let name = &source.publication;
    match publication::is_ours(&mut connection, name).await? {
        None => {}
        Some(true) => add(format!("publication \"{name}\""), Some(publication::drop_statement(name))),
        Some(false) => add(format!("publication \"{name}\" was not made by walbridge, and stays"), None),
    }
    connection.close().await;
    Ok(found)
}

/// Removes what was found and listed.
///
/// # Errors
/// The server refused; what came before is removed.
pub async fn remove(
    source: &config::Source,
    administrator: Option<&Administrator>,
    leftovers: &[Leftover],
) -> Result<(), CaptureError> {
    let source = resolve(source);
    let address = administrator.map_or(&source.address, |Administrator(address)| address);
    let mut connection = Connection::open(address, Purpose::Query).await?;
    for sql in
        leftovers.iter().filter(|leftover| leftover.source == source.name).filter_map(|leftover| leftover.sql.as_ref())
    {
        connection.query("removing what walbridge has made", sql).await?;
    }
    connection.close().await;
    Ok(())
}
