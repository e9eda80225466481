//! A writer killed while it commits.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use walbridge::sink::Sink;

use super::{apply, contents, sink};
use crate::sinks_rows::{after, put, users};

/// Tells the test's own child where to write.
const WRITER_DIRECTORY: &str = "WALBRIDGE_TEST_WRITER_DIRECTORY";
/// As many keys as the writer writes in turn.
const WRITER_KEYS: u64 = 7;
/// The child ends by itself if nobody kills it.
const WRITER_COMMITS: u64 = 5000;

/// A commit is several files and an fsync each, and the payload is in the last of them. Killed anywhere in between, the
/// index must hold the documents that the checkpoint speaks of: no more, no fewer, none twice.
#[tokio::test]
async fn a_process_killed_at_any_moment_leaves_documents_and_checkpoint_in_step() {
    if let Some(directory) = std::env::var_os(WRITER_DIRECTORY) {
        return write_until_killed(&PathBuf::from(directory)).await;
    }
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("index");
    let mut last = 0;
    for round in 0..6_u64 {
        let before = fs::read(path.join("meta.json")).unwrap_or_default();
        let name = "sinks_tantivy::killed::a_process_killed_at_any_moment_leaves_documents_and_checkpoint_in_step";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact"])
            .env(WRITER_DIRECTORY, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while fs::read(path.join("meta.json")).unwrap_or_default() == before {
            assert!(Instant::now() < deadline, "the writer does not write");
            std::thread::sleep(Duration::from_millis(5));
        }
        // A different moment of its work each time.
        std::thread::sleep(Duration::from_millis(round * 31));
        child.kill().unwrap();
        child.wait().unwrap();

        let users = users();
        let mut sink = sink(&path, &[Arc::clone(&users)]);
        let checkpoint = sink.resume().await.unwrap();
        let upto = checkpoint.map_or(0, |checkpoint| checkpoint.offset.0);
        assert_eq!(checkpoint, (upto > 0).then(|| after(upto)));
        assert!(upto >= last, "a commit was lost");
        last = upto;
        let newest = |key| (1..=upto).rev().find(|n| n % WRITER_KEYS == key);
        let line = |(key, n)| format!("{key} {{\"id\":{n},\"name\":\"{n}\",\"bio\":\"kept\"}}");
        let mut expected: Vec<String> =
            (0..WRITER_KEYS).filter_map(|key| Some((key, newest(key)?))).map(line).collect();
        expected.sort();
        assert_eq!(contents(&sink), expected, "round {round}");
    }
    assert!(last > 0);
}

/// Event n puts key `n % WRITER_KEYS`, after the first time without its large value.
async fn write_until_killed(directory: &Path) {
    let users = users();
    let mut sink = sink(directory, &[Arc::clone(&users)]);
    let start = sink.resume().await.unwrap().map_or(0, |checkpoint| checkpoint.offset.0);
    for n in start + 1..=start + WRITER_COMMITS {
        let bio = if n <= WRITER_KEYS { "kept" } else { "UNCHANGED" };
        let id = n.to_string();
        let mutation = put(n, &users, &(n % WRITER_KEYS).to_string(), &[Some(&id), Some(&id), Some(bio)]);
        apply(&mut sink, n, &[mutation]).await;
    }
}
