//! The operating-system account that servers run as: PostgreSQL refuses to run as root.

use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// Who runs the server.
pub(super) enum Account {
    /// Whoever runs the tests.
    Ours,
    /// We are root, so the `postgres` account does.
    Postgres {
        /// Its user id.
        uid: u32,
        /// Its group id.
        gid: u32,
    },
}

impl Account {
    /// Ours, unless that is root.
    pub(super) fn for_servers() -> Account {
        if !rustix::process::geteuid().is_root() {
            return Account::Ours;
        }
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let ids = passwd.lines().find_map(|line| {
            let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        });
        assert!(ids.is_some(), "no account `postgres`, and PostgreSQL cannot run as root; run `make setup`");
        let (uid, gid) = ids.unwrap_or_default();
        Account::Postgres { uid, gid }
    }

    /// A program to be run as this account.
    pub(super) fn command(&self, program: &Path) -> Command {
        match self {
            Account::Ours => Command::new(program),
            Account::Postgres { uid, gid } => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--init-groups");
                // Root's home is closed to this account; some programs look there.
                command.args(["--", "env", "HOME=/tmp"]).arg(program).current_dir("/");
                command
            }
        }
    }

    /// A temporary directory that this account can write.
    pub(super) fn directory(&self, prefix: &str) -> TempDir {
        let directory = tempfile::Builder::new().prefix(prefix).tempdir().expect("a temporary directory");
        self.give(directory.path());
        directory
    }

    /// Gives a directory, and what root may have put into it, to this account.
    pub(super) fn give(&self, directory: &Path) {
        let &Account::Postgres { uid, gid } = self else { return };
        chown(directory, Some(uid), Some(gid)).expect("root may chown");
        for folder in [directory.to_owned(), directory.join("data")] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                chown(entry.path(), Some(uid), Some(gid)).expect("root may chown");
            }
        }
    }
}
