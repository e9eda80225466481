//! The role that walbridge runs as in the tests: as weak as the one that `walbridge setup --print-sql` makes.
//!
//! A test makes its tables as the superuser. Just before walbridge starts, `support` does what an administrator
//! would: it runs what that command prints, for the tables there are then. A test that is about other rights uses
//! another role's url.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::super::process;
use super::program;

/// Its name.
pub(crate) const ROLE: &str = "walbridge";
/// Its password; asked for only where `PgOptions::auth` says so.
pub(crate) const ROLE_PASSWORD: &str = "least-privilege";

/// Makes it. A test compares this with what the command prints.
pub(crate) const CREATE_ROLE: &str = "CREATE ROLE \"walbridge\" LOGIN REPLICATION";

/// Where the sockets of the running clusters are, by port.
static SOCKETS: Mutex<BTreeMap<u16, PathBuf>> = Mutex::new(BTreeMap::new());
/// What is behind each proxy's port.
static PROXIES: Mutex<BTreeMap<u16, u16>> = Mutex::new(BTreeMap::new());

/// A cluster runs.
pub(super) fn register(port: u16, socket: PathBuf) {
    SOCKETS.lock().unwrap_or_else(PoisonError::into_inner).insert(port, socket);
}

/// It has gone.
pub(super) fn unregister(port: u16) {
    SOCKETS.lock().unwrap_or_else(PoisonError::into_inner).remove(&port);
}

/// This port is a proxy's, to that one.
pub(crate) fn proxied(port: u16, target: u16) {
    PROXIES.lock().unwrap_or_else(PoisonError::into_inner).insert(port, target);
}

/// The superuser's url, by the Unix socket, for the database that `url` is for: if that is the weak role's, of a cluster
/// that runs.
pub(crate) fn administrator_of(url: &str) -> Option<String> {
    let rest = url.strip_prefix(&format!("postgres://{ROLE}"))?;
    let (login, place) = rest.split_once('@')?;
    if !login.is_empty() && !login.starts_with(':') {
        return None;
    }
    let (host, path) = place.split_once('/')?;
    let (database, parameters) = path.split_once('?').unwrap_or((path, ""));
    let named = |text: &str| text.strip_prefix("port=").and_then(|port| port.parse::<u16>().ok());
    let port = host.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let port = port.or_else(|| parameters.split('&').find_map(named))?;
    let port = PROXIES.lock().unwrap_or_else(PoisonError::into_inner).get(&port).copied().unwrap_or(port);
    let socket = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner).get(&port).cloned()?;
    Some(format!("postgres://postgres@/{database}?host={}&port={port}", socket.display()))
}

/// Runs SQL as that administrator; what psql said if it failed.
pub(crate) fn run_as(administrator: &str, sql: &str) -> Result<(), String> {
    use std::io::Write as _;
    let mut command = Command::new(program("psql"));
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", administrator]);
    let mut child = process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()));
    let written = child.stdin.take().expect("psql's stdin").write_all(sql.as_bytes());
    let output = child.wait_with_output().expect("psql runs");
    match output.status.success() && written.is_ok() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}
