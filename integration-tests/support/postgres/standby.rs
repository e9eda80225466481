//! A hot standby: a copy of a stopped cluster that follows it, once it runs again.

use std::fs;
use std::sync::Arc;

use super::{Account, PgOptions, Postgres, StopMode, copy, ports, role};

impl Postgres {
    /// Makes a standby of this cluster, which is stopped for it and started again, and starts it. `conf` is for the standby alone.
    /// It follows through the physical slot `standby`.
    pub(crate) fn make_standby(&mut self, conf: &[&str]) -> Postgres {
        if self.psql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'standby'") == "0" {
            self.psql("SELECT pg_create_physical_replication_slot('standby')");
        }
        self.stop(StopMode::Fast);
        let account = Account::for_servers();
        let directory = account.directory("walbridge-pg-standby-");
        copy(&self.data(), &directory.path().join("data"));
        self.start_again();
        let primary = format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port);
        let mut options = PgOptions { conf: self.options.conf.clone(), ..self.options.clone() };
        options.conf.push(format!("primary_conninfo = '{primary}'"));
        options.conf.extend(["primary_slot_name = 'standby'".to_owned(), "hot_standby_feedback = on".to_owned()]);
        options.conf.push("wal_receiver_status_interval = 1s".to_owned());
        options.conf.extend(conf.iter().map(|&line| line.to_owned()));
        let mut standby = Postgres {
            port: ports::free(),
            options,
            directory,
            account,
            child: None,
            _template: Arc::clone(&self._template),
        };
        // Slots are not part of what a base backup has.
        for entry in fs::read_dir(standby.data().join("pg_replslot")).into_iter().flatten().flatten() {
            fs::remove_dir_all(entry.path()).expect("a slot of the copy goes");
        }
        fs::write(standby.data().join("standby.signal"), "").expect("standby.signal is written");
        standby.write_settings();
        standby.start_again();
        // What an administrator runs is run on the primary.
        role::proxied(standby.port, self.port);
        standby
    }

    /// Makes a standby the primary.
    pub(crate) fn promote(&self) {
        role::proxied(self.port, self.port);
        assert_eq!(self.psql("SELECT pg_promote()"), "t", "{}", self.log());
    }

    /// Waits until this standby has replayed what the primary has written by now.
    pub(crate) fn replayed(&self, primary: &Postgres) {
        let end = primary.psql("SELECT pg_current_wal_flush_lsn()");
        super::eventually_sync(super::START_PATIENCE, || {
            let at = self.psql(&format!("SELECT pg_last_wal_replay_lsn() >= '{end}'"));
            if at == "t" { Ok(()) } else { Err(format!("not at {end} yet: {}", self.log())) }
        });
    }
}
