//! A disk that is full while transactions wait on it: a real one, a megabyte of memory mounted for walbridge alone.

use std::path::{Path, PathBuf};

use super::streaming;
use crate::pipeline::caught_up;
use crate::shop::{PATIENCE, Shop};
use crate::support::{Postgres, eventually};

/// Mounts what is named first, replaces itself by the rest. The mount goes with the last process that sees it.
const MOUNTING: &str = "mount -t tmpfs -o size=1m,mode=700 spill \"$0\" && exec \"$@\"";

/// The directory as the process sees it.
fn seen_by(pid: u32, directory: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/root{}", directory.display()))
}

/// Transactions that are not committed yet have no place left: the source halts with the remedy, nothing of them is confirmed, the
/// files that were written are gone, and with room for them all arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_of_waiting_transactions_halts_the_source_and_loses_none() {
    let postgres = Postgres::start(streaming(0));
    let url = postgres.url();
    let mut shop = Shop::stock(postgres, &url, "");
    let spill = shop.directory.path().join("log/shop/spill");
    std::fs::create_dir_all(&spill).expect("made");
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    for directory in [&spill, &shop.directory.path().join("log/shop"), &shop.directory.path().join("log")] {
        std::fs::set_permissions(directory, std::fs::Permissions::clone(&private)).expect("private");
    }
    let place = spill.display().to_string();
    // Whoever is not root may mount where he is the only one to see it, as a root of his own.
    let own = if rustix::process::geteuid().is_root() {
        vec!["unshare", "--mount"]
    } else {
        vec!["unshare", "--user", "--map-root-user", "--mount"]
    };
    shop.walbridge.run_by(&[&own[..], &["sh", "-c", MOUNTING, &place]].concat());
    shop.walbridge.start_again();
    caught_up(&mut shop.walbridge, &shop.postgres).await;

    shop.postgres.psql("UPDATE t SET n = 1 WHERE id <= 10");
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    let client = shop.postgres.client().await;
    client.batch_execute("ALTER TABLE t ADD COLUMN filler text").await.expect("altered");
    client
        .batch_execute("BEGIN; INSERT INTO t SELECT i, 2, repeat('f', 400) FROM generate_series(10001, 20000) i")
        .await
        .expect("rows");
    shop.halted("log.full").await;
    let status = shop.walbridge.status().await;
    let message = status["sources"]["shop"]["message"].as_str().expect("a message");
    assert!(message.contains("Make room") && message.contains("spill"), "{message}");
    let pid = shop.walbridge.pid().expect("it is up");
    eventually(PATIENCE, || async {
        let left = std::fs::read_dir(seen_by(pid, &spill)).expect("the mount").count();
        if left == 0 { Ok(()) } else { Err(format!("{left} files")) }
    })
    .await;
    let before_commit = shop.postgres.end_of_wal();
    client.batch_execute("COMMIT").await.expect("committed");
    let confirmed = shop.postgres.psql("SELECT confirmed_flush_lsn FROM pg_replication_slots");
    assert!(confirmed.parse::<walbridge::event::Lsn>().expect("an LSN") <= before_commit, "{confirmed}");
    assert_eq!(shop.walbridge.sigterm(), Some(3), "{}", shop.walbridge.log());

    // On the disk itself there is room.
    shop.walbridge.run_by(&[]);
    shop.walbridge.go_on();
    caught_up(&mut shop.walbridge, &shop.postgres).await;
    shop.same().await;
}
