//! A hot standby: a copy of a stopped cluster that follows it, once it runs again; and a synchronous one that never confirms.

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

    /// From now on every commit waits for a synchronous standby that is not there, until [`Self::release_commits`].
    ///
    /// That it is so is tried, not supposed: the checkpointer, and no other process, makes the setting known to those who commit
    /// (`SyncRepUpdateSyncStandbysDefined`), at a time of its own after the reload.
    pub(crate) async fn hold_commits(&self) {
        self.set("synchronous_standby_names", "nobody");
        let (watch, client) = (self.client().await, self.client().await);
        let pid: i32 = client.query_one("SELECT pg_backend_pid()", &[]).await.expect("a pid").get(0);
        let released = std::sync::atomic::AtomicBool::new(false);
        let commits = async {
            while !released.load(std::sync::atomic::Ordering::Relaxed) {
                // A transaction that writes, and that nobody captures.
                client.batch_execute("CREATE TEMP TABLE probe (); DROP TABLE probe").await.expect("a commit");
            }
        };
        let cancelled = async {
            crate::support::eventually(super::START_PATIENCE, || async {
                let waits = "SELECT coalesce(wait_event = 'SyncRep', false) FROM pg_stat_activity WHERE pid = $1";
                let waits: bool = watch.query_one(waits, &[&pid]).await.expect("a row").get(0);
                if waits { Ok(()) } else { Err("commits do not wait yet") }
            })
            .await;
            released.store(true, std::sync::atomic::Ordering::Relaxed);
            watch.query_one("SELECT pg_cancel_backend($1)", &[&pid]).await.expect("the probe's wait is cancelled");
        };
        tokio::join!(commits, cancelled);
    }

    /// Ends that.
    pub(crate) fn release_commits(&self) {
        self.psql("SET synchronous_commit = local; ALTER SYSTEM RESET synchronous_standby_names");
        self.psql("SELECT pg_reload_conf()");
    }
}
