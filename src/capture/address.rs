//! Where a source is and how to get in: a libpq connection URL, resolved.
//!
//! The parameters mean what the PostgreSQL manual says ("Connection Strings", "Parameter Key Words"), with one
//! difference: without `sslmode`, a host that is not on this machine is only spoken to under `verify-full`. libpq's
//! `prefer` would send a password over plain text to whoever answers.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

/// Everything needed to connect. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Address {
    /// Where to connect, in the order in which to try.
    pub hosts: Vec<Host>,
    /// The role.
    pub user: String,
    /// From the URL; the environment and the password file are asked by `capture::password`.
    pub password: Option<SecretString>,
    /// The database.
    pub database: String,
    /// Whether and how TLS is used.
    pub ssl_mode: SslMode,
    /// PEM file with the authorities to trust; the system's where there is none.
    pub ssl_root_cert: Option<PathBuf>,
    /// PEM file with the client's certificate.
    pub ssl_cert: Option<PathBuf>,
    /// PEM file with its key.
    pub ssl_key: Option<PathBuf>,
    /// Whether SCRAM must be bound to the TLS channel.
    pub channel_binding: ChannelBinding,
    /// Limit for each step of connecting.
    pub connect_timeout: Duration,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
    /// Where passwords are looked up, instead of `~/.pgpass`.
    pub password_file: Option<PathBuf>,
}

/// One place to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// Host name or address, and port.
    Tcp(String, u16),
    /// The socket's directory, and the port in its name (`.s.PGSQL.5432`).
    Unix(PathBuf, u16),
}

impl Host {
    /// Whether the way there never leaves this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Host::Unix(..) => true,
            Host::Tcp(name, _) => {
                name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Tcp(name, port) if name.contains(':') => write!(f, "[{name}]:{port}"),
            Host::Tcp(name, port) => write!(f, "{name}:{port}"),
            Host::Unix(directory, port) => write!(f, "{}/.s.PGSQL.{port}", directory.display()),
        }
    }
}

/// `sslmode`, ordered by how much it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// TLS if the server has it, unverified.
    Prefer,
    /// TLS or nothing; verified only if `sslrootcert` is given, as libpq does.
    Require,
    /// TLS with a certificate from a trusted authority.
    VerifyCa,
    /// The same, for this very host name.
    VerifyFull,
}

/// `channel_binding`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Not used.
    Disable,
    /// Used where both sides can.
    Prefer,
    /// Used or refused.
    Require,
}

/// What is wrong with a connection URL. Never holds the URL itself, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct AddressError(String);

const PARAMETERS: [&str; 14] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "channel_binding",
    "connect_timeout",
    "application_name",
    "passfile",
    "target_session_attrs",
];
const DEFAULT_PORT: u16 = 5432;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Address {
    /// Reads `postgres://user:password@host:port/database?parameter=value`. Several hosts are separated by commas; a host
    /// that begins with `/` is a Unix socket's directory.
    ///
    /// # Errors
    /// Says what is wrong and what it should look like, without repeating any secret.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        let parts = Parts::split(url)?;
        let user = parts.get("user").unwrap_or_else(|| "postgres".to_owned());
        let hosts = parts.hosts()?;
        let all_local = hosts.iter().all(Host::is_local);
        let default_mode = if all_local { SslMode::Prefer } else { SslMode::VerifyFull };
        let seconds = parts.parsed::<u64>("connect_timeout", "a number of seconds")?.filter(|&seconds| seconds > 0);
        parts.refuse_other_session_attributes()?;
        Ok(Address {
            database: parts.get("dbname").filter(|name| !name.is_empty()).unwrap_or_else(|| user.clone()),
            user,
            hosts,
            password: parts.get("password").map(SecretString::from),
            ssl_mode: parts.ssl_mode()?.unwrap_or(default_mode),
            ssl_root_cert: parts.get("sslrootcert").filter(|path| path != "system").map(PathBuf::from),
            ssl_cert: parts.get("sslcert").map(PathBuf::from),
            ssl_key: parts.get("sslkey").map(PathBuf::from),
            channel_binding: parts.channel_binding()?,
            connect_timeout: seconds.map_or(DEFAULT_CONNECT_TIMEOUT, Duration::from_secs),
            application_name: parts.get("application_name").unwrap_or_else(|| "walbridge".to_owned()),
            password_file: parts.get("passfile").map(PathBuf::from),
        })
    }
}

/// `host:port, … / database` for messages; no secret.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if index == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", self.database)
    }
}

/// The URL cut into parameters, percent-decoded.
struct Parts(Vec<(String, String)>);

impl Parts {
    fn split(url: &str) -> Result<Self, AddressError> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://")).ok_or_else(|| {
            AddressError("a source's url begins with postgres://, as in postgres://user@host:5432/database".to_owned())
        })?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').map_or((login, None), |(user, word)| (user, Some(word)));
        let mut parts = Vec::new();
        let mut add = |name: &str, value: &str| -> Result<(), AddressError> {
            parts.push((name.to_owned(), decode_percent(name, value)?));
            Ok(())
        };
        for (name, value) in [("user", user), ("dbname", database), ("authority", hosts)] {
            if !value.is_empty() {
                add(name, value)?;
            }
        }
        if let Some(password) = password {
            add("password", password)?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| AddressError("a parameter of the url has no value; write name=value".to_owned()))?;
            if !PARAMETERS.contains(&name) {
                return Err(unknown_parameter(name));
            }
            add(name, value)?;
        }
        Ok(Parts(parts))
    }

    /// The last one counts, so a parameter overrides what stands before the `?`.
    fn get(&self, name: &str) -> Option<String> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    fn parsed<T: std::str::FromStr>(&self, name: &str, wanted: &str) -> Result<Option<T>, AddressError> {
        let parse = |text: String| text.parse().map_err(|_| AddressError(format!("{name} must be {wanted}")));
        self.get(name).map(parse).transpose()
    }

    fn hosts(&self) -> Result<Vec<Host>, AddressError> {
        let ports = self.get("port");
        let list = self.get("host").or_else(|| self.get("authority")).unwrap_or_else(|| "localhost".to_owned());
        let default_port = match &ports {
            Some(text) => parse_port(text)?,
            None => DEFAULT_PORT,
        };
        list.split(',').map(|host| parse_host(host.trim(), default_port)).collect()
    }

    fn ssl_mode(&self) -> Result<Option<SslMode>, AddressError> {
        let Some(mode) = self.get("sslmode") else { return Ok(None) };
        Ok(Some(match mode.as_str() {
            "disable" => SslMode::Disable,
            "allow" | "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => {
                return Err(AddressError(
                    "sslmode must be disable, prefer, require, verify-ca or verify-full".to_owned(),
                ));
            }
        }))
    }

    fn channel_binding(&self) -> Result<ChannelBinding, AddressError> {
        match self.get("channel_binding").as_deref() {
            None | Some("prefer") => Ok(ChannelBinding::Prefer),
            Some("require") => Ok(ChannelBinding::Require),
            Some("disable") => Ok(ChannelBinding::Disable),
            Some(_) => Err(AddressError("channel_binding must be disable, prefer or require".to_owned())),
        }
    }

    /// Decoding needs a primary; the other choices would be a promise we do not keep.
    fn refuse_other_session_attributes(&self) -> Result<(), AddressError> {
        match self.get("target_session_attrs").as_deref() {
            None | Some("any" | "read-write" | "primary") => Ok(()),
            Some(_) => Err(AddressError("target_session_attrs must be any, primary or read-write".to_owned())),
        }
    }
}

fn unknown_parameter(name: &str) -> AddressError {
    let near = PARAMETERS.iter().map(|&known| (strsim::damerau_levenshtein(name, known), known)).min();
    match near {
        Some((distance, known)) if distance <= 3 => {
            AddressError(format!("the url has an unknown parameter `{name}`; did you mean `{known}`?"))
        }
        _ => AddressError(format!("the url has an unknown parameter `{name}`; known are {}", PARAMETERS.join(", "))),
    }
}

fn parse_host(text: &str, default_port: u16) -> Result<Host, AddressError> {
    if text.starts_with('/') {
        return Ok(Host::Unix(PathBuf::from(text), default_port));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest
            .split_once(']')
            .ok_or_else(|| AddressError("an IPv6 address stands in brackets: [::1]:5432".to_owned()))?;
        let port = after.strip_prefix(':').map_or(Ok(default_port), parse_port)?;
        return Ok(Host::Tcp(address.to_owned(), port));
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address given by the `host` parameter, where no brackets are needed.
        Some((_, after)) if after.contains(':') => Ok(Host::Tcp(text.to_owned(), default_port)),
        Some((name, port)) => Ok(Host::Tcp(name.to_owned(), parse_port(port)?)),
        None if text.is_empty() => Ok(Host::Tcp("localhost".to_owned(), default_port)),
        None => Ok(Host::Tcp(text.to_owned(), default_port)),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    text.parse().ok().filter(|&port| port != 0).ok_or_else(|| {
        AddressError(
            "the port must be a number from 1 to 65535; a `/`, `@` or `:` in a password is written %2F, %40, %3A"
                .to_owned(),
        )
    })
}

fn decode_percent(name: &str, text: &str) -> Result<String, AddressError> {
    let refuse =
        || AddressError(format!("{name} in the url is not percent-encoded rightly; a literal % is written %25"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2).ok_or_else(refuse)?;
            let digits = std::str::from_utf8(digits).map_err(|_| refuse())?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| refuse())?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or_else(refuse)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_full_url_is_read() {
        let address = Address::parse(
            "postgresql://wal%40bridge:p%2Fss@db1:5433,[::1]:5434/shop?sslmode=require&application_name=x&connect_timeout=3",
        )
        .expect("valid");
        assert_eq!(address.user, "wal@bridge");
        assert_eq!(address.password.as_ref().map(ExposeSecret::expose_secret), Some("p/ss"));
        assert_eq!(address.hosts, [Host::Tcp("db1".into(), 5433), Host::Tcp("::1".into(), 5434)]);
        assert_eq!((address.database.as_str(), address.ssl_mode), ("shop", SslMode::Require));
        assert_eq!(address.connect_timeout, Duration::from_secs(3));
        assert!(!format!("{address:?}{address}").contains("p/ss"));
    }

    #[test]
    fn a_socket_directory_is_local_and_needs_no_tls() {
        let address = Address::parse("postgres://postgres@/app?host=/run/postgresql&port=5499").expect("valid");
        assert_eq!(address.hosts, [Host::Unix("/run/postgresql".into(), 5499)]);
        assert_eq!(address.ssl_mode, SslMode::Prefer);
    }

    #[test]
    fn another_machine_is_verified_unless_told_otherwise() {
        let mode = |url| Address::parse(url).expect("valid").ssl_mode;
        assert_eq!(mode("postgres://u@db.internal/app"), SslMode::VerifyFull);
        assert_eq!(mode("postgres://u@127.0.0.1/app"), SslMode::Prefer);
        assert_eq!(mode("postgres://u@db.internal/app?sslmode=disable"), SslMode::Disable);
    }

    #[test]
    fn mistakes_are_named_and_no_secret_is_repeated() {
        for (url, wanted) in [
            ("mysql://u:secret@h/d", "postgres://"),
            ("postgres://u:secret@h/d?sslmod=require", "did you mean `sslmode`"),
            ("postgres://u:secret@h/d?sslmode=on", "sslmode must be"),
            ("postgres://u:secret@h:99999/d", "port"),
            ("postgres://u:sec%ret@h/d", "percent"),
            ("postgres://u:secret@h/d?target_session_attrs=standby", "target_session_attrs"),
        ] {
            let error = Address::parse(url).expect_err(url).to_string();
            assert!(error.contains(wanted), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
