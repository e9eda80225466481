//! A cluster that has come a long way: `pg_resetwal`.

use super::{Postgres, StopMode, program};

/// What one file of `pg_xact` holds: two bits of each transaction, 32 pages.
const XACT_FILE: (u64, usize) = (1 << 20, 32 * 8192);

impl Postgres {
    /// Has a cluster that nobody has used yet go on at this WAL file, as `0000000100000000000000FF`.
    pub(crate) fn go_on_at_wal_file(&mut self, name: &str) {
        self.stop(StopMode::Fast);
        self.reset(&["-l", name]);
        self.start_again();
    }

    /// Has a cluster that nobody has used yet go on with this transaction. What is there is frozen before, or it would lie in the future.
    pub(crate) fn go_on_at_xid(&mut self, xid: u32) {
        self.psql("VACUUM FREEZE");
        self.stop(StopMode::Fast);
        let (per_file, bytes) = XACT_FILE;
        let file = self.data().join(format!("pg_xact/{:04X}", u64::from(xid) / per_file));
        std::fs::write(file, vec![0; bytes]).expect("a file of pg_xact");
        self.account.give(self.directory());
        self.reset(&["-x", &xid.to_string(), "-u", &xid.to_string()]);
        self.start_again();
    }

    fn reset(&self, arguments: &[&str]) {
        let mut command = self.account.command(&program("pg_resetwal"));
        let output = command.args(arguments).arg("-D").arg(self.data()).output().expect("pg_resetwal runs");
        assert!(output.status.success(), "{output:?}");
    }
}
