//! Which messages come back, what lies on disk meanwhile, and what a restart finds.

use proptest::prelude::*;

use super::*;

fn spill(directory: &Path) -> Spill {
    Spill::open(directory, 1, Lsn::new(0)).expect("a directory")
}

fn text(number: usize, bytes: usize) -> Vec<u8> {
    let mut text = format!("message {number} ").into_bytes();
    text.resize(text.len().max(bytes), b'.');
    text
}

fn read(mut replay: Replay) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some(message) = replay.next().expect("sound") {
        messages.push(message.to_vec());
    }
    messages
}

fn files(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn messages_come_back_in_order_from_memory_and_from_disk() {
    let directory = tempfile::tempdir().expect("a directory");
    for (count, bytes, on_disk) in [(10, 0, false), (5_000, 700, true), (3, 2 << 20, true)] {
        let mut spill = spill(&directory.path().join("spill"));
        assert!(spill.begin(7) && !spill.begin(7), "once");
        for number in 0..count {
            spill.push(7, 7, b'I', &text(number, bytes)).expect("kept");
            assert!(spill.held <= 4 << 20, "{}", spill.held);
        }
        assert_eq!(files(&spill.directory).len(), usize::from(on_disk));
        let replay = spill.commit(7).expect("readable").expect("it has begun");
        let wanted: Vec<Vec<u8>> = (0..count).map(|number| [b"I".to_vec(), text(number, bytes)].concat()).collect();
        assert!(read(replay) == wanted, "{count} of {bytes} bytes");
        assert_eq!(files(&spill.directory), Vec::<String>::new(), "gone with its end");
        assert_eq!((spill.held, spill.has(7)), (0, false));
    }
}

#[test]
fn memory_is_bounded_over_all_transactions_together() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spill = spill(directory.path());
    for round in 0..40 {
        for xid in 0..100 {
            spill.begin(xid);
            spill.push(xid, xid, b'I', &text(round, 9_000)).expect("kept");
            let held: usize = spill.open.values().map(Kept::held).sum();
            assert!(held == spill.held && held <= HELD_BYTES_MAX, "{held} held, {} counted", spill.held);
        }
    }
    assert!(!files(directory.path()).is_empty(), "36 MB are more than may be held");
    for xid in 0..100 {
        assert_eq!(read(spill.commit(xid).expect("readable").expect("begun")).len(), 40);
    }
    assert_eq!(spill.held, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Against a list of (subtransaction, message) from which an abort takes away what is the subtransaction's. Messages of
    /// all sizes, so that cuts fall into memory, into the file, and between.
    #[test]
    fn an_aborted_subtransaction_takes_exactly_its_own(
        steps in proptest::collection::vec((0_u32..6, prop_oneof![Just(0_usize), 1..300_usize, 200_000..700_000_usize], 0..4_u8), 1..60)
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let mut spill = spill(directory.path());
        spill.begin(100);
        let mut wanted: Vec<(u32, Vec<u8>)> = Vec::new();
        for (number, (part, bytes, kind)) in steps.into_iter().enumerate() {
            if kind == 0 {
                spill.drop_part(100, part).expect("dropped");
                wanted.retain(|(xid, _)| *xid != part);
            } else {
                spill.push(100, part, b'U', &text(number, bytes)).expect("kept");
                wanted.push((part, [b"U".to_vec(), text(number, bytes)].concat()));
            }
        }
        let found = read(spill.commit(100).expect("readable").expect("begun"));
        prop_assert!(found.iter().eq(wanted.iter().map(|(_, message)| message)));
    }
}

#[test]
fn an_aborted_transaction_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spill = spill(directory.path());
    for xid in [1, 2] {
        spill.begin(xid);
        (0..4).for_each(|number| spill.push(xid, xid, b'I', &text(number, 1 << 20)).expect("kept"));
    }
    assert_eq!(files(directory.path()).len(), 2);
    spill.drop_whole(1);
    assert_eq!(files(directory.path()).len(), 1, "the other stays");
    assert_eq!(read(spill.commit(2).expect("readable").expect("begun")).len(), 4);
    assert!(spill.commit(1).expect("readable").is_none());
    spill.begin(3);
    (0..4).for_each(|number| spill.push(3, 3, b'I', &text(number, 1 << 20)).expect("kept"));
    drop(spill);
    assert_eq!(files(directory.path()), Vec::<String>::new(), "the connection broke");
}

#[test]
fn files_are_for_the_owner_alone_and_leftovers_are_removed_at_the_start() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("spill");
    let mut killed = spill(&path);
    killed.begin(9);
    killed.push(9, 9, b'I', &text(0, 3 << 20)).expect("kept");
    let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o777;
    let name = files(&path).remove(0);
    assert_eq!((mode(&path), mode(&path.join(name))), (0o700, 0o600));
    std::mem::forget(killed);
    assert_eq!(files(&path).len(), 1, "as SIGKILL leaves it");
    fs::write(path.join("notes.txt"), "not ours").expect("written");
    let _next = spill(&path);
    assert_eq!(files(&path), ["notes.txt"]);
}

/// Prepares transaction 5 at 0/500 in `directory`.
fn prepared(directory: &Path) -> Spill {
    let mut spill = spill(directory);
    spill.begin(5);
    (0..3).for_each(|number| spill.push(5, 5, b'I', &text(number, 20)).expect("kept"));
    spill.push(5, 6, b'I', b"void").expect("kept");
    spill.push(5, 5, b'I', &text(3, 20)).expect("kept");
    spill.drop_part(5, 6).expect("dropped");
    let mut settling = spill.prepare(5, Lsn::new(0x500)).expect("written").expect("new");
    settling.run().expect("durable");
    spill.settled(settling);
    spill
}

#[test]
fn a_prepared_transaction_outlives_the_process_until_the_log_has_it() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(prepared(directory.path()));
    let mut spill = spill(directory.path());
    let replay = spill.commit_prepared(5, Lsn::new(0x900)).expect("readable").expect("known");
    let wanted: Vec<Vec<u8>> = (0..4).map(|number| [b"I".to_vec(), text(number, 20)].concat()).collect();
    assert_eq!(read(replay), wanted);
    drop(spill);
    // Killed before the log had it: the commit comes again.
    let mut spill = Spill::open(directory.path(), 1, Lsn::new(0x900)).expect("a directory");
    assert_eq!(read(spill.commit_prepared(5, Lsn::new(0x900)).expect("readable").expect("known")), wanted);
    spill.resolve(5, Lsn::new(0x930));
    spill.durable(Lsn::new(0x92F)).expect("nothing to remove");
    assert_eq!(files(directory.path()).len(), 1);
    spill.durable(Lsn::new(0x930)).expect("removed");
    assert_eq!(files(directory.path()), Vec::<String>::new());
}

#[test]
fn a_prepared_transaction_that_the_log_has_or_that_is_of_another_epoch_is_removed_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut killed = prepared(directory.path());
    killed.commit_prepared(5, Lsn::new(0x900)).expect("readable").expect("known");
    drop(killed);
    let spill = Spill::open(directory.path(), 1, Lsn::new(0x901)).expect("a directory");
    assert!(spill.prepared.is_empty() && files(directory.path()).is_empty());
    drop(prepared(directory.path()));
    let spill = Spill::open(directory.path(), 2, Lsn::new(0)).expect("a directory");
    assert!(spill.prepared.is_empty() && files(directory.path()).is_empty());
}

#[test]
fn a_prepared_transaction_goes_on_into_an_epoch_that_continues_its_own_wherever_that_is_interrupted() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(prepared(directory.path()));
    carry_over(&directory.path().join("not there"), 1, 2).expect("nothing to carry");
    for _ in 0..2 {
        carry_over(directory.path(), 1, 2).expect("carried");
    }
    assert_eq!(files(directory.path()).len(), 2);
    // The new epoch did not become durable; then it did.
    assert_eq!(Spill::open(directory.path(), 1, Lsn::new(0)).expect("a directory").prepared.len(), 1);
    carry_over(directory.path(), 1, 2).expect("carried");
    let mut spill = Spill::open(directory.path(), 2, Lsn::new(0)).expect("a directory");
    assert_eq!(files(directory.path()).len(), 1);
    assert!(spill.commit_prepared(5, Lsn::new(0x900)).expect("readable").is_some());
}

#[test]
fn a_prepared_transaction_that_is_sent_again_is_not_kept_twice_and_one_rolled_back_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut spill = prepared(directory.path());
    spill.begin(5);
    spill.push(5, 5, b'I', b"again").expect("kept");
    assert!(spill.prepare(5, Lsn::new(0x500)).expect("readable").is_none());
    assert_eq!(files(directory.path()).len(), 1);
    spill.forget_prepared(5).expect("removed");
    spill.forget_prepared(5).expect("nothing to remove");
    assert_eq!(files(directory.path()), Vec::<String>::new());
    assert!(spill.commit_prepared(5, Lsn::new(0x900)).expect("readable").is_none());
}

#[test]
fn damage_is_found_before_a_message_is_given_out() {
    let directory = tempfile::tempdir().expect("a directory");
    drop(prepared(directory.path()));
    let path = directory.path().join(files(directory.path()).remove(0));
    let sound = fs::read(&path).expect("readable");
    for byte in 0..sound.len() {
        let mut damaged = sound.clone();
        damaged[byte] ^= 0x10;
        fs::write(&path, &damaged).expect("written");
        let outcome = Prepared::parse(&files(directory.path())[0]).expect("a name").replay(directory.path());
        let outcome = outcome.and_then(|mut replay| {
            while replay.next()?.is_some() {}
            Ok(())
        });
        // Bytes of the dropped subtransaction are never looked at.
        let void_start = sound.windows(5).position(|window| window == b"Ivoid").expect("it is there");
        let unread = (void_start - 8..void_start + 5).contains(&byte);
        assert!(outcome.is_err() || unread, "byte {byte}");
    }
}
