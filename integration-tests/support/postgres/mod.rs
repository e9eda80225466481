//! A private PostgreSQL cluster: a temporary directory, a free loopback port and a Unix socket in that directory.
//!
//! `initdb` runs once; every further cluster is a copy of the result. The server never runs as root: a root user's tests
//! run it as `postgres`, who then owns the directory.

mod account;
pub(crate) mod certificate;
mod clock;
mod options;
mod programs;
mod resetwal;
pub(crate) mod role;
mod standby;
mod template;
mod upgrade;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::ports;
use super::process::{self, Signal};
use super::wait::eventually_sync;
use account::Account;
pub(crate) use options::{Auth, PgOptions};
pub(crate) use programs::{default_major, program, program_of};
use role::ROLE;
use template::Template;

/// The password of the superuser `postgres`; asked for only where `PgOptions::auth` says so.
pub(crate) const PASSWORD: &str = "wal-bridge";

/// Long enough for crash recovery on a busy machine.
const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(30);

/// How a server is asked to stop, as `pg_ctl -m` names it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum StopMode {
    /// Waits for its clients to go.
    Smart,
    /// Ends its clients' sessions; walsenders may send all they have first.
    Fast,
    /// Ends at once, with crash recovery at the next start.
    Immediate,
}

/// A running (or stopped) cluster. Dropping it ends the server and removes its directory.
pub(crate) struct Postgres {
    /// Its port on 127.0.0.1, and the number in its Unix socket's name.
    pub(crate) port: u16,
    options: PgOptions,
    directory: TempDir,
    account: Account,
    child: Option<Child>,
    /// Keeps the template for the next cluster as long as any cluster lives.
    _template: Arc<Template>,
}

impl Postgres {
    /// Makes a cluster and starts it.
    pub(crate) fn start(options: PgOptions) -> Postgres {
        let account = Account::for_servers();
        let major = options.major();
        let template = match options.own_initdb {
            true => Arc::new(Template::make(&account, major)),
            false => Template::shared(&account, major),
        };
        let directory = account.directory("walbridge-pg-");
        template.copy_to(&directory.path().join("data"));
        let mut postgres =
            Postgres { port: ports::free(), options, directory, account, child: None, _template: template };
        postgres.write_settings();
        postgres.start_again();
        postgres
    }

    fn write_settings(&self) {
        let data = self.data();
        let tls = self.options.tls.then(|| certificate::write(self.directory()));
        let conf = self.options.conf(self.port, self.directory(), tls.as_ref());
        fs::write(data.join("walbridge.conf"), conf).expect("the settings are written");
        fs::write(data.join("pg_hba.conf"), self.options.hba()).expect("pg_hba.conf is written");
        self.account.give(self.directory());
    }

    /// Starts a stopped server, on its old port with its old data.
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.is_none(), "PostgreSQL is still running");
        let log = File::options().create(true).append(true).open(self.log_path()).expect("PostgreSQL's log file");
        let mut command = self.account.command(&program_of(self.options.major(), "postgres"));
        command.arg("-D").arg(self.data());
        if self.options.clock {
            command.envs(clock::environment(self.directory()));
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("PostgreSQL's log file")).stderr(log);
        let mut child = process::spawn(&mut command);
        eventually_sync(START_PATIENCE, || self.ready(&mut child));
        self.child = Some(child);
        role::register(self.port, self.directory().to_owned());
    }

    /// The server writes its state into line 8 of its pid file; `pg_ctl` goes by it too.
    fn ready(&self, child: &mut Child) -> Result<(), String> {
        let ended = child.try_wait().ok().flatten();
        assert!(ended.is_none(), "PostgreSQL ended with {ended:?}:\n{}", self.log());
        let pid_file = fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let ours = pid_file.lines().next() == Some(child.id().to_string().as_str());
        match pid_file.lines().nth(7).map(str::trim) {
            Some("ready" | "standby") if ours => Ok(()),
            state => Err(format!("state {state:?}:\n{}", self.log())),
        }
    }

    /// Stops the server.
    pub(crate) fn stop(&mut self, mode: StopMode) {
        let signal = match mode {
            StopMode::Smart => Signal::TERM,
            StopMode::Fast => Signal::INT,
            StopMode::Immediate => Signal::QUIT,
        };
        role::unregister(self.port);
        if let Some(mut child) = self.child.take() {
            process::signal(child.id(), signal);
            let ended = process::wait(&mut child, STOP_PATIENCE);
            if ended.is_none() {
                process::end(&mut child, Signal::QUIT, STOP_PATIENCE);
            }
            assert!(ended.is_some(), "PostgreSQL did not stop ({mode:?}) in {STOP_PATIENCE:?}:\n{}", self.log());
        }
    }

    /// Ends the server and all its backends with SIGKILL, as a power cut would (the disk's cache survives, though).
    pub(crate) fn kill9(&mut self) {
        role::unregister(self.port);
        let Some(mut child) = self.child.take() else { return };
        let backends = process::children(child.id());
        process::end(&mut child, Signal::KILL, STOP_PATIENCE);
        for &backend in &backends {
            process::signal(backend, Signal::KILL);
        }
        // A backend that still holds the shared memory would keep the next start from working.
        eventually_sync(STOP_PATIENCE, || match backends.iter().find(|&&backend| process::alive(backend)) {
            Some(backend) => Err(format!("backend {backend} is still there")),
            None => Ok(()),
        });
    }

    /// A backup: the data of a stopped server, copied. It goes when the handle is dropped.
    pub(crate) fn copy_of_data(&self) -> TempDir {
        assert!(self.child.is_none(), "a running server's data is no backup");
        let backup = self.account.directory("walbridge-pg-backup-");
        copy(&self.data(), &backup.path().join("data"));
        backup
    }

    /// Puts a backup in the place of a stopped server's data.
    pub(crate) fn restore(&self, backup: &TempDir) {
        assert!(self.child.is_none(), "PostgreSQL is still running");
        fs::remove_dir_all(self.data()).expect("the data go");
        copy(&backup.path().join("data"), &self.data());
    }

    /// Changes a setting (`ALTER SYSTEM` and reload); those that need a restart take effect at the next start.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.psql(&format!("ALTER SYSTEM SET {name} = '{}'", value.replace('\'', "''")));
        self.psql("SELECT pg_reload_conf()");
    }

    /// Steps the server's clock to so many seconds beside the true time (with `PgOptions::clock`).
    pub(crate) fn set_clock(&self, seconds: i64) {
        let (file, new) = (clock::file(self.directory()), self.directory().join("clock.new"));
        fs::write(&new, seconds.to_string()).expect("the clock is set");
        // At one moment, for whoever looks.
        fs::rename(new, file).expect("the clock is set");
    }

    /// `postgres://walbridge@127.0.0.1:PORT/postgres`, with the password where one is asked for: the role that has what
    /// `walbridge setup` prints and no more ([`role`]).
    pub(crate) fn url(&self) -> String {
        self.url_through(self.port)
    }

    /// The same over the Unix socket.
    pub(crate) fn unix_url(&self) -> String {
        let host = self.directory().display();
        format!("postgres://{ROLE}@/postgres?host={host}&port={}", self.port)
    }

    /// The same as `url`, through something else that listens on loopback, such as a fault proxy.
    pub(crate) fn url_through(&self, port: u16) -> String {
        format!("postgres://{}@127.0.0.1:{port}/postgres", self.options.role())
    }

    /// `postgres://postgres@127.0.0.1:PORT/postgres`: for tests that are about what a role may do that owns the tables.
    pub(crate) fn superuser_url(&self) -> String {
        format!("postgres://{}@127.0.0.1:{}/postgres", self.options.superuser(), self.port)
    }

    /// Runs SQL as the superuser, over the Unix socket; returns psql's bare output (`-At`), without the last line feed.
    #[track_caller]
    pub(crate) fn psql(&self, sql: &str) -> String {
        let answer = self.try_psql(sql);
        assert!(answer.is_ok(), "{sql}: {}", answer.err().unwrap_or_default());
        answer.unwrap_or_default()
    }

    /// The same where failure is expected: `Err` holds what psql said. Each call is one session, and the statements of
    /// a call are not one transaction unless they say BEGIN.
    pub(crate) fn try_psql(&self, sql: &str) -> Result<String, String> {
        use std::io::Write;
        let mut command = self.psql_command();
        let mut child = process::spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()));
        // Through stdin: a load of test data does not fit into a command line.
        let mut stdin = child.stdin.take().expect("psql's stdin");
        let sql = sql.to_owned();
        let feeding = std::thread::spawn(move || stdin.write_all(sql.as_bytes()));
        let output = child.wait_with_output().expect("psql runs");
        let _broken_pipe_if_psql_stopped_early = feeding.join();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// psql connected as the superuser over the Unix socket, for a session of its own.
    pub(crate) fn psql_command(&self) -> Command {
        let mut command = Command::new(program("psql"));
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-At", "-U", "postgres", "-d", "postgres"]);
        command.arg("-h").arg(self.directory()).arg("-p").arg(self.port.to_string());
        command
    }

    /// How far its WAL goes.
    #[track_caller]
    pub(crate) fn end_of_wal(&self) -> walbridge::event::Lsn {
        self.psql("SELECT pg_current_wal_lsn()").trim().parse().expect("an LSN")
    }

    /// An asynchronous client for the superuser, over TCP without TLS.
    pub(crate) async fn client(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.superuser_url(), tokio_postgres::NoTls)
            .await
            .expect("PostgreSQL takes a connection");
        // Ends when the client is dropped or the server goes; the client's next call tells.
        tokio::spawn(async move { drop(connection.await) });
        client
    }

    /// The process id of the server, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Where the socket, the data and the certificates are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory().join("data")
    }

    /// The certificate of the authority that signed the server's (with `PgOptions::tls`).
    pub(crate) fn ca(&self) -> PathBuf {
        self.directory().join(certificate::CA)
    }

    /// A certificate for the role `walbridge` from the same authority, and its key, owned by whoever runs the tests.
    pub(crate) fn client_certificate(&self) -> [PathBuf; 2] {
        let files = certificate::CLIENT.map(|name| self.directory().join(name));
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        for file in &files {
            std::os::unix::fs::chown(file, Some(uid.as_raw()), Some(gid.as_raw())).expect("our own file");
        }
        files
    }

    /// What the server has written to its log.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    fn log_path(&self) -> PathBuf {
        self.directory().join("postgres.log")
    }
}

/// Copies a data directory, with its owner and modes.
fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.is_ok_and(|status| status.success()), "cannot copy {} to {}", from.display(), to.display());
}

impl Drop for Postgres {
    fn drop(&mut self) {
        role::unregister(self.port);
        if let Some(mut child) = self.child.take() {
            // The data goes with it, so there is no point in a checkpoint.
            process::end(&mut child, Signal::QUIT, Duration::from_secs(10));
        }
    }
}
