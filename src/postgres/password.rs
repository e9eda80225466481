//! Where a password comes from: the URL, `PGPASSWORD`, or a password file, in libpq's order.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::SecretString;

use super::address::{Address, Host};

/// The password for this host, or `None` if none is kept anywhere.
pub(crate) fn look_up(address: &Address, host: &Host) -> Option<SecretString> {
    if let Some(password) = &address.password {
        return Some(password.clone());
    }
    let in_environment = || std::env::var("PGPASSWORD").ok().filter(|password| !password.is_empty());
    if let Some(password) = address.asks_environment.then(in_environment).flatten() {
        return Some(password.into());
    }
    let path = address.password_file.clone().or_else(default_file)?;
    let text = read_private(&path)?;
    text.lines().find_map(|line| match_line(line, address, host)).map(SecretString::from)
}

fn default_file() -> Option<PathBuf> {
    std::env::var_os("PGPASSFILE")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| Path::new(&home).join(".pgpass")))
}

/// A file that others may read is not used, as with libpq.
fn read_private(path: &Path) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    if metadata.permissions().mode() & 0o077 != 0 {
        tracing::warn!(path = %path.display(), "password file ignored: others may read it; run chmod 0600 on it");
        return None;
    }
    std::fs::read_to_string(path).ok()
}

/// `host:port:database:user:password`, where `*` matches anything and `\` escapes (manual: "The Password File").
fn match_line(line: &str, address: &Address, host: &Host) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => fields.last_mut()?.extend(characters.next()),
            ':' if fields.len() < 5 => fields.push(String::new()),
            other => fields.last_mut()?.push(other),
        }
    }
    let [file_host, file_port, database, user, password] = <[String; 5]>::try_from(fields).ok()?;
    let (name, port) = match host {
        Host::Tcp(name, port) => (name.clone(), port),
        // libpq: a Unix socket in the default directory is `localhost`.
        Host::Unix(_, port) => ("localhost".to_owned(), port),
    };
    let matches = |pattern: &str, value: &str| pattern == "*" || pattern == value;
    let fits = matches(&file_host, &name)
        && matches(&file_port, &port.to_string())
        && matches(&database, &address.database)
        && matches(&user, &address.user);
    fits.then_some(password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_password_file_is_matched_as_libpq_does() {
        let address = Address::parse("postgres://wal@db:5433/shop").expect("valid");
        let host = address.hosts[0].clone();
        let find = |line: &str| match_line(line, &address, &host);
        assert_eq!(find("db:5433:shop:wal:a:b\\\\c").as_deref(), Some("a:b\\c"));
        assert_eq!(find("*:*:*:*:x").as_deref(), Some("x"));
        assert_eq!(find("db:5432:shop:wal:x"), None);
        assert_eq!(find("#*:*:*:*:x"), None);
        assert_eq!(find("db:5433"), None);
    }
}
