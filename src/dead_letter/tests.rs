//! Letters over crashes, retries and a file written anew.

use std::path::Path;

use serde_json::Value;

use super::*;
use crate::event::Lsn;
use crate::project::mutation::Effect;

fn at(commit: u64) -> Position {
    Position { epoch: 1, commit_lsn: Lsn::new(commit), ordinal: 0 }
}

fn rejection(commit: u64) -> Rejection {
    let mutation = Mutation { key: Key("k".into()), position: at(commit), effect: Effect::Delete };
    Rejection { mutation, reason: "too large\nreally".to_owned() }
}

fn open(directory: &Path) -> DeadLetters {
    DeadLetters::open(directory, "s", "shop").expect("letters")
}

/// Keeps one for each, durably.
fn keep(letters: &mut DeadLetters, commits: impl IntoIterator<Item = u64>) {
    for commit in commits {
        letters.keep(&rejection(commit), false).expect("kept");
    }
    letters.flush().expect("a disk");
}

fn fates(letters: &DeadLetters) -> Vec<(u64, Fate)> {
    letters.index().iter().map(|(id, entry)| (id, entry.fate)).collect()
}

#[test]
fn a_row_refused_again_after_a_crash_is_kept_once() {
    let directory = tempfile::tempdir().expect("a directory");
    keep(&mut open(directory.path()), [1, 2]);
    let mut letters = open(directory.path());
    keep(&mut letters, [2, 3]);
    assert_eq!(letters.index().open(), 3);
    let text = std::fs::read_to_string(directory.path().join("s.jsonl")).expect("a file");
    assert_eq!(text.lines().count(), 3);
    assert!(
        text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok_and(|v| v["reason"] == "too large\nreally"))
    );
}

#[test]
fn a_line_cut_short_by_a_crash_does_not_swallow_the_next() {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("s.jsonl"), "{\"position\":").expect("half a line");
    keep(&mut open(directory.path()), [1]);
    let mut letters = open(directory.path());
    assert_eq!(letters.index().open(), 1);
    assert_eq!(letters.read(1).expect("a disk"), Some(rejection(1).mutation));
}

/// What a disk that is full did not take is written as soon as it does, and nothing is twice.
#[test]
fn what_could_not_be_written_is_written_the_next_time() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("s.jsonl");
    std::fs::create_dir(&path).expect("in the way");
    let mut letters = DeadLetters {
        sink: "s".into(),
        source: "shop".into(),
        path: path.clone(),
        file: None,
        index: Index::default(),
        log: String::new(),
        current: String::new(),
        lines: Vec::new(),
        bytes: 0,
    };
    letters.keep(&rejection(1), false).expect("kept");
    letters.flush().expect_err("no file");
    std::fs::remove_dir(&path).expect("out of the way");
    assert_eq!(letters.keep(&rejection(1), false).expect("known"), None);
    letters.flush().expect("a disk");
    assert_eq!(fates(&open(directory.path())), [(1, Fate::Open)]);
}

#[test]
fn a_sink_that_refuses_nothing_leaves_no_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut letters = open(directory.path());
    letters.of_log(LogId(7));
    letters.settle(0, |_| true);
    letters.flush().expect("nothing to write");
    assert!(letters.is_quiet() && std::fs::read_dir(directory.path()).expect("a directory").next().is_none());
}

#[test]
fn what_became_of_letters_is_known_after_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut letters = open(directory.path());
    keep(&mut letters, [1, 2, 3, 4]);
    letters.discard(2);
    letters.set_fate(3, Fate::Superseded(Some(at(9))));
    letters.set_fate(4, Fate::Delivered(1));
    letters.refused_again(1, "still");
    letters.flush().expect("a disk");
    let again = open(directory.path());
    let wanted = [(1, Fate::Open), (3, Fate::Superseded(Some(at(9)))), (4, Fate::Delivered(1))];
    assert_eq!((fates(&again), again.index().retries(), again.index().next_id()), (wanted.to_vec(), 1, 5));
    let shown = list(directory.path(), "s").expect("a disk");
    let shown: Vec<_> = shown.iter().map(|letter| (letter.id, letter.state, &letter.fields["reason"])).collect();
    let (first, still) = (Value::from("too large\nreally"), Value::from("still"));
    assert_eq!(shown, [(1, "refused", &still), (3, "superseded", &first), (4, "delivered", &first)]);
}

/// The line says that a letter was delivered before the target has it. A crash in between must neither lose the letter nor, after a
/// later retry, let it pass for delivered.
#[test]
fn whether_a_retry_took_place_is_the_targets_word() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut letters = open(directory.path());
    keep(&mut letters, [1, 2]);
    letters.set_fate(1, Fate::Delivered(1));
    letters.set_fate(2, Fate::Delivered(2));
    letters.flush().expect("a disk");
    let mut letters = open(directory.path());
    letters.settle(1, |place| place <= at(5));
    assert_eq!(fates(&letters), [(1, Fate::Delivered(1)), (2, Fate::Open)], "the target lacks the second");
    letters.flush().expect("a disk");
    let mut letters = open(directory.path());
    letters.settle(3, |_| true);
    assert_eq!(fates(&letters), [(1, Fate::Delivered(1)), (2, Fate::Open)]);
    // An emptied target gets both again from the log.
    letters.settle(0, |_| false);
    assert_eq!(fates(&letters), [(1, Fate::Delivered(1)), (2, Fate::Open)]);
    assert_eq!(letters.keep(&rejection(1), false).expect("known"), None);
    assert_eq!(fates(&letters)[0], (1, Fate::Open), "and refuses the first once more");
}

/// The letter of a change stays with it: the change may come again, from an older checkpoint, and be taken, or be refused once more.
#[test]
fn a_change_supersedes_what_comes_before_it_and_not_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut letters = open(directory.path());
    keep(&mut letters, [1, 2, 3]);
    letters.supersede_rows(&[Key("k".into())], at(2));
    assert_eq!(fates(&letters), [(1, Fate::Superseded(Some(at(2)))), (2, Fate::Open), (3, Fate::Open)]);
}

#[test]
fn letters_of_another_log_are_obsolete() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut letters = open(directory.path());
    letters.of_log(LogId(7));
    keep(&mut letters, [1]);
    let mut letters = open(directory.path());
    letters.of_log(LogId(7));
    assert_eq!(letters.index().open(), 1);
    letters.of_log(LogId(8));
    assert!(letters.is_quiet());
    keep(&mut letters, [2]);
    let again = open(directory.path());
    assert_eq!(fates(&again), [(1, Fate::Superseded(None)), (2, Fate::Open)]);
}

/// Whoever reads the file meanwhile sees what is needed, and no number is given twice.
#[test]
fn a_file_of_settled_letters_is_written_anew_without_them() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut letters = open(directory.path());
    letters.of_log(LogId(7));
    let settled = 2 * u64::try_from(SETTLED_MAX).expect("small") + 1;
    keep(&mut letters, 1..=settled + 2);
    (1..=settled).for_each(|id| letters.set_fate(id, Fate::Superseded(Some(at(id + 1)))));
    letters.discard(settled + 2);
    letters.flush().expect("a disk");
    assert_eq!(list(directory.path(), "s").expect("a disk").len(), SETTLED_MAX + 1);
    let mut again = open(directory.path());
    again.of_log(LogId(7));
    assert_eq!((again.index().open(), again.index().next_id()), (1, settled + 3));
    assert_eq!(again.read(settled + 1).expect("a disk"), Some(rejection(settled + 1).mutation));
    assert_eq!(letters.read(settled + 1).expect("a disk"), Some(rejection(settled + 1).mutation));
}
