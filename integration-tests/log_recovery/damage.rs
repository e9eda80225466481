//! Torn tails, which are cut, and damage, which is not.

use walbridge::log::embedded::{Options, open, verify};
use walbridge::log::{Durable, Entry, LogError};

use super::support::*;

/// A log in one segment: its files after each of three synced transactions, and once closed.
struct Stages {
    synced: Vec<(Durable, Files)>,
    closed: Files,
}

async fn stages() -> Stages {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (mut writer, log, _) = open(&path, Options::default()).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    let mut synced = Vec::new();
    for number in 1..=3 {
        append(&mut writer, number, &[b"some value", b"another"]);
        let durable = writer.sync().await.unwrap();
        synced.push((durable, contents(&path)));
    }
    drop((writer, log));
    Stages { synced, closed: contents(&path) }
}

fn segment_name(files: &Files) -> String {
    files.keys().find(|name| name.ends_with(".wlog")).unwrap().clone()
}

/// Opens a copy of the directory with other bytes in its only segment.
fn open_with(files: &Files, bytes: Vec<u8>) -> Result<(Durable, Vec<Value>), LogError> {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let mut files = files.clone();
    files.insert(segment_name(&files), bytes);
    write_contents(&path, &files);
    let opened = open(&path, Options::default());
    match opened {
        Ok((writer, log, recovered)) => {
            drop((writer, log));
            Ok((recovered.durable, read_only(&path)))
        }
        Err(error) => {
            assert_eq!(contents(&path), files, "a log that cannot be opened is left as it was");
            Err(error)
        }
    }
}

#[tokio::test]
async fn a_tail_cut_off_at_any_byte_leaves_all_before_it() {
    let Stages { synced, .. } = stages().await;
    let [_, (two, before), (three, whole)] = &synced[..] else { panic!("three stages") };
    let (before, bytes) = (before[&segment_name(before)].len(), &whole[&segment_name(whole)]);
    for end in before..bytes.len() {
        let (durable, values) = open_with(whole, bytes[..end].to_vec()).unwrap();
        assert_eq!((durable, values.len()), (*two, 4), "cut at {end}");
    }
    assert_eq!(open_with(whole, bytes.clone()).unwrap().0, *three);
}

#[tokio::test]
async fn garbage_in_place_of_the_last_write_is_cut_wherever_it_begins() {
    let Stages { synced, .. } = stages().await;
    let [_, (two, before), (three, whole)] = &synced[..] else { panic!("three stages") };
    let (before, bytes) = (before[&segment_name(before)].len(), &whole[&segment_name(whole)]);
    for begin in before..bytes.len() {
        for fill in [0, 0xFF, 0x5A] {
            let mut torn = bytes.clone();
            torn[begin..].fill(fill);
            if torn == *bytes {
                continue;
            }
            let (durable, values) = open_with(whole, torn).unwrap();
            assert_eq!((durable, values.len()), (*two, 4), "{fill:#x} from {begin}");
        }
    }
    let mut longer = bytes.clone();
    longer.extend([0; 4096]);
    assert_eq!(open_with(whole, longer).unwrap().0, *three, "zeros behind the end are no frame");
}

/// To cut at the first bad frame, wherever it is, would throw away what PostgreSQL has been told is safe. The frames that
/// follow prove that it is damage.
#[tokio::test]
async fn a_flipped_bit_before_the_last_write_is_damage_and_nothing_is_changed() {
    let Stages { synced, .. } = stages().await;
    let [_, (_, before), (_, whole)] = &synced[..] else { panic!("three stages") };
    let (before, bytes) = (before[&segment_name(before)].len(), &whole[&segment_name(whole)]);
    for byte in 0..before {
        let mut damaged = bytes.clone();
        damaged[byte] ^= 1 << (byte % 8);
        let error = open_with(whole, damaged).unwrap_err();
        assert!(matches!(error, LogError::Corrupt { .. }), "byte {byte}: {error}");
    }
}

#[tokio::test]
async fn in_a_log_that_was_closed_cleanly_even_the_last_write_is_vouched_for() {
    let Stages { synced, closed } = stages().await;
    let bytes = &closed[&segment_name(&closed)];
    let last = &synced[2].1;
    for byte in 0..last[&segment_name(last)].len() {
        let mut damaged = bytes.clone();
        damaged[byte] ^= 0x10;
        let error = open_with(&closed, damaged).unwrap_err();
        assert!(matches!(error, LogError::Corrupt { .. }), "byte {byte}: {error}");
    }
}

#[tokio::test]
async fn verify_names_each_damaged_place_and_goes_on_behind_it() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (mut writer, log, _) = open(&path, SMALL).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    for number in 1..=60 {
        append(&mut writer, number, &[&[b'v'; 200]]);
        writer.sync().await.unwrap();
    }
    drop((writer, log));
    let mut told = (0, 0);
    let sound = verify(&path, |done, total| told = (done, total)).unwrap();
    assert_eq!((sound.events, sound.end.0, sound.damages.len()), (60, 60, 0));
    assert_eq!(told.0, told.1, "progress ends at the end");
    let segments = segments(&path);
    assert!(segments.len() >= 4);
    for segment in [&segments[1], &segments[2]] {
        let mut bytes = std::fs::read(segment).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        write_file(segment, &bytes);
    }
    let report = verify(&path, |_, _| {}).unwrap();
    let damaged: Vec<_> = report.damages.iter().map(|damage| &damage.path).collect();
    assert_eq!(damaged, [&segments[1], &segments[2]], "{report:?}");
    assert_eq!(report.events, 58, "every sound frame is counted");
}

#[tokio::test]
async fn a_segment_missing_or_cut_short_in_the_middle_is_damage() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let (mut writer, log, _) = open(&path, SMALL).unwrap();
    writer.append(Entry::Epoch(&epoch())).unwrap();
    for number in 1..=60 {
        append(&mut writer, number, &[&[b'v'; 200]]);
    }
    writer.sync().await.unwrap();
    drop((writer, log));
    let whole = contents(&path);
    let names: Vec<_> = whole.keys().filter(|name| name.ends_with(".wlog")).cloned().collect();
    assert!(names.len() > 3);
    let hurt = |change: fn(&mut Files, &[String])| {
        let copy = root.path().join("hurt");
        let mut files = whole.clone();
        change(&mut files, &names);
        write_contents(&copy, &files);
        let error = open(&copy, SMALL).unwrap_err();
        assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
        assert!(!verify(&copy, |_, _| {}).unwrap().damages.is_empty());
        assert_eq!(contents(&copy), files);
        std::fs::remove_dir_all(&copy).unwrap();
    };
    hurt(|files, names| drop(files.remove(&names[1])));
    hurt(|files, names| files.get_mut(&names[1]).unwrap().truncate(700));
    hurt(|files, names| {
        let swapped = files[&names[1]].clone();
        files.insert(names[2].clone(), swapped);
    });
}
