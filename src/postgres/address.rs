//! Where a source is and how to get in: a libpq connection URL, resolved.
//!
//! The parameters mean what the PostgreSQL manual says ("Connection Strings", "Parameter Key Words"), with one
//! difference: without `sslmode`, a host that is not on this machine is only spoken to under `verify-full`. libpq's
//! `prefer` would send a password over plain text to whoever answers.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use super::url::Parts;

/// Everything needed to connect. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub struct Address {
    /// Where to connect, in the order in which to try.
    pub hosts: Vec<Host>,
    /// The role.
    pub user: String,
    /// From the URL; the environment and the password file are asked by `postgres::password`.
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
    /// Whether `PGPASSWORD` is for this server. There is one of that name, and it is the source's.
    pub asks_environment: bool,
    /// Where passwords are looked up, instead of `~/.pgpass`.
    pub password_file: Option<PathBuf>,
    /// Which of the hosts will do.
    pub session: Session,
    /// Whether the hosts are tried in a random order, so that many clients spread over them.
    pub shuffle: bool,
}

/// `target_session_attrs`: what the server must be, for a host to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Session {
    /// Whatever answers.
    Any,
    /// One that takes writes.
    ReadWrite,
    /// One that does not.
    ReadOnly,
    /// No standby.
    Primary,
    /// A standby.
    Standby,
    /// A standby if there is one, else whatever answers.
    PreferStandby,
}

impl Session {
    /// The parameter's words.
    pub(crate) const WORDS: [(&'static str, Session); 6] = [
        ("any", Session::Any),
        ("read-write", Session::ReadWrite),
        ("read-only", Session::ReadOnly),
        ("primary", Session::Primary),
        ("standby", Session::Standby),
        ("prefer-standby", Session::PreferStandby),
    ];

    /// Whether a server that says this of itself will do. `Any` and `PreferStandby` take all, the latter at the second look.
    #[must_use]
    pub fn accepts(self, standby: bool, read_only: bool) -> bool {
        match self {
            Session::Any | Session::PreferStandby => true,
            Session::ReadWrite => !standby && !read_only,
            Session::ReadOnly => standby || read_only,
            Session::Primary => !standby,
            Session::Standby => standby,
        }
    }

    /// Whether a standby was asked for: one is captured from only then.
    #[must_use]
    pub fn may_be_standby(self) -> bool {
        matches!(self, Session::ReadOnly | Session::Standby | Session::PreferStandby)
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = Session::WORDS.iter().find(|(_, session)| session == self).map_or("", |(word, _)| word);
        f.write_str(word)
    }
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
pub struct AddressError(pub(crate) String);

const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

impl Address {
    /// Reads `postgres://user:password@host:port/database?parameter=value`. Several hosts are separated by commas; a host
    /// that begins with `/` is a Unix socket's directory.
    ///
    /// # Errors
    /// Says what is wrong and what it should look like, without repeating any secret.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        Self::parse_in(url, &|_| None)
    }

    /// The same, with libpq's environment variables (`PGHOST`, `PGSSLMODE`, …) for what the url leaves out. `PGPASSWORD` and
    /// `PGPASSFILE` are asked when a password is wanted.
    ///
    /// # Errors
    /// As [`Address::parse`].
    pub fn parse_in(url: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, AddressError> {
        let parts = Parts::split(url, environment)?;
        let user = parts.get("user").unwrap_or_else(|| "postgres".to_owned());
        let hosts = parts.hosts()?;
        let all_local = hosts.iter().all(Host::is_local);
        let default_mode = if all_local { SslMode::Prefer } else { SslMode::VerifyFull };
        // With several hosts the one that can be captured from is looked for.
        let default_session = if hosts.len() > 1 { Session::Primary } else { Session::Any };
        let seconds = parts.parsed::<u64>("connect_timeout", "a number of seconds")?.filter(|&seconds| seconds > 0);
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
            asks_environment: true,
            password_file: parts.get("passfile").map(PathBuf::from),
            session: parts.session()?.unwrap_or(default_session),
            shuffle: parts.shuffle()?,
        })
    }

    /// The same for this host alone: what must speak to one and the same server names it so.
    #[must_use]
    pub fn only(&self, host: &Host) -> Self {
        Address { hosts: vec![host.clone()], ..self.clone() }
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
            ("postgres://u:secret@h/d?target_session_attrs=leader", "prefer-standby"),
            ("postgres://u:secret@a,b,c/d?port=1,2", "2 ports for 3 hosts"),
        ] {
            let error = Address::parse(url).expect_err(url).to_string();
            assert!(error.contains(wanted), "{url}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn hosts_and_ports_go_in_pairs_and_several_hosts_mean_the_primary() {
        let hosts = |url| Address::parse(url).expect("valid").hosts;
        let tcp = |name: &str, port| Host::Tcp(name.to_owned(), port);
        assert_eq!(hosts("postgres://u@a:1,b,c:3/d?port=7"), [tcp("a", 1), tcp("b", 7), tcp("c", 3)]);
        assert_eq!(hosts("postgres:///d?host=a,b&port=1,2"), [tcp("a", 1), tcp("b", 2)]);
        let session = |url| Address::parse(url).expect("valid").session;
        assert_eq!(session("postgres://u@a/d"), Session::Any);
        assert_eq!(session("postgres://u@a,b/d"), Session::Primary);
        assert_eq!(session("postgres://u@a,b/d?target_session_attrs=prefer-standby"), Session::PreferStandby);
    }

    #[test]
    fn the_environment_fills_in_what_the_url_leaves_out_and_no_more() {
        let environment = |name: &str| {
            let value = match name {
                "PGHOST" => "env-host",
                "PGPORT" => "6000",
                "PGUSER" => "env-user",
                "PGDATABASE" => "env-db",
                "PGSSLMODE" => "require",
                "PGAPPNAME" => "env-app",
                "PGTARGETSESSIONATTRS" => "read-write",
                "PGCONNECT_TIMEOUT" => "3",
                "PGSSLCERT" => "",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let bare = Address::parse_in("postgres://", &environment).expect("valid");
        assert_eq!(bare.hosts, [Host::Tcp("env-host".to_owned(), 6000)]);
        assert_eq!((bare.user.as_str(), bare.database.as_str()), ("env-user", "env-db"));
        assert_eq!((bare.ssl_mode, bare.session), (SslMode::Require, Session::ReadWrite));
        assert_eq!((bare.application_name.as_str(), bare.connect_timeout.as_secs()), ("env-app", 3));
        assert_eq!(bare.ssl_cert, None, "empty is not set");
        let full = Address::parse_in("postgres://u@h:1/d?sslmode=disable", &environment).expect("valid");
        assert_eq!(full.hosts, [Host::Tcp("h".to_owned(), 1)]);
        assert_eq!((full.user.as_str(), full.database.as_str()), ("u", "d"));
        assert_eq!(full.ssl_mode, SslMode::Disable);
    }

    #[test]
    fn a_session_attribute_takes_what_it_names() {
        // (standby, read only): a primary, a primary that is read only by default, a standby.
        let servers = [(false, false), (false, true), (true, true)];
        for (session, wanted) in [
            (Session::Any, [true, true, true]),
            (Session::ReadWrite, [true, false, false]),
            (Session::ReadOnly, [false, true, true]),
            (Session::Primary, [true, true, false]),
            (Session::Standby, [false, false, true]),
        ] {
            assert_eq!(servers.map(|(standby, read_only)| session.accepts(standby, read_only)), wanted, "{session}");
        }
    }
}
