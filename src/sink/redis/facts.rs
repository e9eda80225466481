//! What a server says of itself (`INFO`): for those who want to know before anything goes wrong.

use std::collections::HashMap;

use super::connect::{Address, Connection};
use super::reply::Reply;
use crate::sink::SinkError;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its version.
    pub version: String,
    /// `master` or `slave`, in its own words.
    pub role: String,
    /// What it takes now, in bytes.
    pub memory: u64,
    /// `maxmemory` in bytes; 0: no limit.
    pub memory_max: u64,
    /// `maxmemory-policy`.
    pub policy: String,
    /// It writes what it has to its disk.
    pub keeps: bool,
}

/// Asks the server; where keys are spread over a cluster, each master, with its name.
///
/// # Errors
/// One cannot be reached, or does not answer.
pub(super) async fn look(address: &Address, is_spread: bool) -> Result<Vec<(Option<String>, Facts)>, SinkError> {
    if !is_spread {
        return Ok(vec![(None, ask(address, &mut address.connect().await?).await?)]);
    }
    let mut found: Vec<(Option<String>, Facts)> = Vec::new();
    for (slots, info) in address.masters().await? {
        if !found.iter().any(|(host, _)| host.as_ref() == Some(&slots.host)) {
            let facts = ask(address, &mut address.connect_to(info).await?).await?;
            found.push((Some(slots.host), facts));
        }
    }
    Ok(found)
}

async fn ask(address: &Address, connection: &mut Connection) -> Result<Facts, SinkError> {
    let reply = connection.ask_one(redis::cmd("INFO")).await?.accepted(address.shown(), "INFO")?;
    let text =
        if let Reply::Bytes(bytes) = reply { String::from_utf8_lossy(&bytes).into_owned() } else { String::new() };
    let mut facts = read(&text);
    // Whether it saves now and then, `INFO` does not tell. A server that does not tell it either is run by somebody who knows.
    if !facts.keeps {
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg("save");
        facts.keeps = match connection.ask_one(command).await?.strings() {
            Some(setting) => setting.get(1).is_some_and(|points| !points.is_empty()),
            None => true,
        };
    }
    Ok(facts)
}

fn read(info: &str) -> Facts {
    let fields: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
    let field = |name: &str| fields.get(name).copied().unwrap_or_default().to_owned();
    let number = |name: &str| field(name).parse().unwrap_or(0);
    Facts {
        version: field("redis_version"),
        role: field("role"),
        memory: number("used_memory"),
        memory_max: number("maxmemory"),
        policy: field("maxmemory_policy"),
        keeps: field("aof_enabled") == "1",
    }
}
