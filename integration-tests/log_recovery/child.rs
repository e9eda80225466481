//! A real process that appends and is killed, again and again.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use walbridge::log::Entry;
use walbridge::log::embedded::{Options, open, verify};

use super::support::*;

const DIRECTORY: &str = "WALBRIDGE_TEST_LOG_DIRECTORY";
const OPTIONS: Options = Options { segment_bytes: 64 << 10, frame_bytes: 4 << 10, group_bytes: 16 << 10 };

/// Not a test by itself: what [`an_appending_process_killed_thirty_times_loses_nothing_it_acknowledged`] runs and kills. Appends
/// transactions of a few rows, some taken back, and prints each durable offset.
#[test]
fn child_appends_until_it_is_killed() {
    let Some(path) = std::env::var_os(DIRECTORY).map(PathBuf::from) else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut writer, _log, recovered) = open(&path, OPTIONS).unwrap();
        if recovered.epoch.is_none() {
            writer.append(Entry::Epoch(&epoch())).unwrap();
        }
        let mut number = recovered.durable.position.map_or(0, |position| position.commit_lsn.get() / 100);
        let mut out = std::io::stdout();
        loop {
            number += 1;
            if number % 5 == 0 {
                writer.append(Entry::Begin(&transaction(number))).unwrap();
                for _ in 0..number % 300 {
                    append_row(&mut writer, &table(), &[b'x'; 100]);
                }
                writer.flush().await.unwrap();
                writer.append(Entry::Abort).unwrap();
            }
            let text = number.to_string();
            append(&mut writer, number, &vec![text.as_bytes(); usize::try_from(number % 7).unwrap()]);
            if number % 3 == 0 {
                writeln!(out, "durable {}", writer.sync().await.unwrap().offset).unwrap();
            } else {
                writer.flush().await.unwrap();
            }
        }
    });
}

#[test]
fn an_appending_process_killed_thirty_times_loses_nothing_it_acknowledged() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let mut acknowledged = 0;
    for round in 0..30_u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log_recovery::child::child_appends_until_it_is_killed", "--nocapture"])
            .env(DIRECTORY, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Some progress each time, then a random moment.
        for line in lines.by_ref().take(6) {
            note(&line.unwrap(), &mut acknowledged);
        }
        std::thread::sleep(Duration::from_micros(round * 7919 % 20_000));
        child.kill().unwrap();
        child.wait().unwrap();
        lines.map_while(Result::ok).for_each(|line| note(&line, &mut acknowledged));
        check(&path, acknowledged);
    }
    assert!(acknowledged > 300, "{acknowledged}");
}

fn note(line: &str, acknowledged: &mut u64) {
    // The last line may be cut short by the kill, and then says less than was acknowledged: harmless.
    if let Some(offset) = line.strip_prefix("durable ").and_then(|offset| offset.parse().ok()) {
        *acknowledged = (*acknowledged).max(offset);
    }
}

fn check(path: &std::path::Path, acknowledged: u64) {
    let values = read_only(path);
    assert!(values.len() as u64 >= acknowledged, "{} of {acknowledged}", values.len());
    let mut want = (1_u64..).flat_map(|number| (0..number % 7).map(move |_| (number, number.to_string().into_bytes())));
    for value in &values {
        assert_eq!(Some(value), want.next().as_ref());
    }
    let (writer, log, recovered) = open(path, OPTIONS).unwrap();
    assert_eq!(recovered.durable.offset.0, values.len() as u64);
    drop((writer, log));
    assert_eq!(verify(path, |_, _| {}).unwrap().damages, []);
}
