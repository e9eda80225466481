//! What a cluster is asked to be.

use std::fmt::Write;
use std::path::Path;

use super::certificate::{CA, Certificate};
use super::role::{ROLE, ROLE_PASSWORD};
use super::{PASSWORD, default_major};

/// Options of a cluster; the default is a fast one that trusts everybody on loopback.
#[derive(Clone, Debug, Default)]
pub(crate) struct PgOptions {
    /// The major version; where it is 0, [`default_major`].
    pub(crate) major: u32,
    /// Whether commits reach the disk. Off by default: only the machine's failure could tell. A commit reaches the
    /// kernel in any case, so it survives `Postgres::kill9`.
    pub(crate) fsync: bool,
    /// How clients on TCP prove who they are.
    pub(crate) auth: Auth,
    /// Whether TLS is on, with a certificate for `localhost` and 127.0.0.1 signed by the authority in `Postgres::ca`.
    /// Unencrypted connections stay possible; an `hba` line (`hostnossl all all all reject`) forbids them.
    pub(crate) tls: bool,
    /// More lines for `postgresql.conf`, such as `wal_sender_timeout = 2s`; they win over what stands there.
    pub(crate) conf: Vec<String>,
    /// A cluster of its own making, with a system identifier of its own; the others are copies of one.
    pub(crate) own_initdb: bool,
    /// Its clock can be stepped by `Postgres::set_clock`.
    pub(crate) clock: bool,
    /// More lines for `pg_hba.conf`, before the usual ones.
    pub(crate) hba: Vec<String>,
}

/// How clients on TCP prove who they are. On the Unix socket everybody is trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Auth {
    /// They don't.
    #[default]
    Trust,
    /// SCRAM-SHA-256.
    Scram,
    /// The password itself goes over the wire.
    Cleartext,
}

impl Auth {
    const fn method(self) -> &'static str {
        match self {
            Auth::Trust => "trust",
            Auth::Scram => "scram-sha-256",
            Auth::Cleartext => "password",
        }
    }
}

impl PgOptions {
    /// The default, of this major version.
    pub(crate) fn of_major(major: u32) -> PgOptions {
        PgOptions { major, ..PgOptions::default() }
    }

    /// The major version it is to have.
    pub(crate) fn major(&self) -> u32 {
        if self.major == 0 { default_major() } else { self.major }
    }

    /// The settings file of the cluster.
    pub(super) fn conf(&self, port: u16, socket_directory: &Path, tls: Option<&Certificate>) -> String {
        let on = |yes| if yes { "on" } else { "off" };
        let fsync = on(self.fsync);
        let socket = socket_directory.display();
        let mut conf = format!(
            "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{socket}'\n\
             wal_level = logical\nmax_wal_senders = 20\nmax_replication_slots = 20\nmax_connections = 60\n\
             fsync = {fsync}\nsynchronous_commit = on\nfull_page_writes = {fsync}\n\
             timezone = 'UTC'\nlog_min_messages = warning\nlog_line_prefix = '%m [%p] '\n"
        );
        if let Some(Certificate { certificate, key }) = tls {
            let (certificate, key) = (certificate.display(), key.display());
            let ca = socket_directory.join(CA);
            let _infallible = write!(
                conf,
                "ssl = on\nssl_cert_file = '{certificate}'\nssl_key_file = '{key}'\nssl_ca_file = '{}'\n",
                ca.display()
            );
        }
        for line in &self.conf {
            conf.push_str(line);
            conf.push('\n');
        }
        conf
    }

    /// `pg_hba.conf`.
    pub(super) fn hba(&self) -> String {
        let method = self.auth.method();
        let mut hba = self.hba.join("\n");
        let _infallible = write!(
            hba,
            "\nlocal all all trust\nlocal replication all trust\n\
             host all all 127.0.0.1/32 {method}\nhost replication all 127.0.0.1/32 {method}\n"
        );
        hba
    }

    /// The user part of walbridge's URL.
    pub(super) fn role(&self) -> String {
        self.login(ROLE, ROLE_PASSWORD)
    }

    /// The user part of the superuser's URL.
    pub(super) fn superuser(&self) -> String {
        self.login("postgres", PASSWORD)
    }

    fn login(&self, name: &str, password: &str) -> String {
        match self.auth {
            Auth::Trust => name.to_owned(),
            Auth::Scram | Auth::Cleartext => format!("{name}:{password}"),
        }
    }
}
