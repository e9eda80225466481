//! `pg_upgrade`, by the programs of the cluster's own version.

use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Command, Output};

use super::{Postgres, StopMode, program};

impl Postgres {
    /// Stops the cluster, has `pg_upgrade` carry it into a new one, and starts that one in its place.
    pub(crate) fn upgrade(&mut self) {
        self.stop(StopMode::Fast);
        let target = self.directory().join("upgraded");
        let mut initdb = self.account.command(&program("initdb"));
        // As the old one was made; `pg_upgrade` compares.
        initdb
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "-D"])
            .arg(&target);
        succeeded(&mut initdb);
        let upgrade = program("pg_upgrade");
        let programs = upgrade.parent().expect("a program has a directory");
        let mut command = self.account.command(&upgrade);
        command.arg("-b").arg(programs).arg("-B").arg(programs).arg("-d").arg(self.data()).arg("-D").arg(&target);
        command.arg("-s").arg(self.directory()).args(["-U", "postgres"]).current_dir(self.directory());
        let output = succeeded(&mut command);
        assert!(String::from_utf8_lossy(&output.stdout).contains("Upgrade Complete"), "{output:?}");
        fs::remove_dir_all(self.data()).expect("the old cluster goes");
        fs::rename(&target, self.data()).expect("the new one takes its place");
        let settings = File::options().append(true).open(self.data().join("postgresql.conf"));
        settings.expect("its settings").write_all(b"\ninclude 'walbridge.conf'\n").expect("they are written");
        self.write_settings();
        self.start_again();
    }
}

fn succeeded(command: &mut Command) -> Output {
    let output = command.output().expect("it runs");
    let said = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&said));
    output
}
