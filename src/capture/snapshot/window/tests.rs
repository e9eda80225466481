//! What the stream did, what the chunk holds, and which of them wins.

use super::*;
use crate::event::{Column, ReplicaIdentity, Shape, TableName};

fn relation() -> Arc<Relation> {
    let column = |name: &str| Column { name: name.into(), type_oid: 25, type_modifier: -1, shape: Shape::TEXT };
    Arc::new(Relation {
        oid: 1,
        name: TableName { schema: "public".into(), table: "t".into() },
        identity: ReplicaIdentity::Default,
        columns: vec![column("id"), column("small"), column("big")],
        key: vec![0],
    })
}

fn row(cells: [Cell<'_>; 3]) -> Row {
    let mut builder = RowBuilder::default();
    cells.into_iter().for_each(|cell| builder.push(cell));
    builder.finish()
}

fn text(id: &str, small: &str, big: &str) -> Row {
    row([Cell::Text(id.as_bytes()), Cell::Text(small.as_bytes()), Cell::Text(big.as_bytes())])
}

/// An update that left `big` alone.
fn lacking(id: &str, small: &str) -> Row {
    row([Cell::Text(id.as_bytes()), Cell::Text(small.as_bytes()), Cell::Unchanged])
}

fn key(id: &str) -> Key {
    key_of(&relation(), &text(id, "", ""))
}

fn body(letter: u8, row: &Row) -> Vec<u8> {
    [&[letter][..], row.as_bytes()].concat()
}

fn moved(old: &str, new: &Row) -> Vec<u8> {
    let key_only = row([Cell::Text(old.as_bytes()), Cell::Null, Cell::Null]);
    [body(b'K', &key_only), body(b'N', new)].concat()
}

/// Sees everything below 100.
fn snapshot() -> Visibility {
    Visibility::parse("100:100:").expect("a snapshot")
}

fn change(windows: &mut Windows, changes: &[(u32, Op, Vec<u8>)]) {
    for (xid, op, body) in changes {
        windows.change(*xid, *op, &relation(), body).expect("sound");
    }
}

/// One chunk under way, with ticket 1.
fn window(changes: &[(u32, Op, Vec<u8>)]) -> Windows {
    let mut windows = Windows::default();
    windows.watch(1);
    windows.open(1, 1);
    change(&mut windows, changes);
    windows
}

fn owed(windows: &mut Windows) -> usize {
    windows.owed(1).map_or(0, |owed| owed.len())
}

#[test]
fn a_row_that_the_stream_changed_behind_the_snapshots_back_is_dropped() {
    let newer = text("1", "new", "B");
    let chunk_row = text("1", "old", "A");
    let mut unseen = window(&[(100, Op::Update, body(b'N', &newer))]);
    assert_eq!(unseen.judge(&snapshot(), &relation(), &chunk_row), Verdict::Drop);
    let mut seen = window(&[(99, Op::Update, body(b'N', &newer))]);
    assert_eq!(seen.judge(&snapshot(), &relation(), &newer), Verdict::Keep, "the chunk holds that change");
    assert_eq!(unseen.judge(&snapshot(), &relation(), &text("2", "x", "y")), Verdict::Keep);
}

#[test]
fn a_row_deleted_or_truncated_since_is_not_brought_back() {
    let gone = text("1", "", "");
    let mut deleted = window(&[(100, Op::Delete, body(b'K', &gone))]);
    assert_eq!(deleted.judge(&snapshot(), &relation(), &text("1", "a", "b")), Verdict::Drop);
    let mut truncated = window(&[(100, Op::Truncate, Vec::new())]);
    assert_eq!(truncated.judge(&snapshot(), &relation(), &text("7", "a", "b")), Verdict::Drop);
}

#[test]
fn unchanged_toast_of_a_newer_row_is_completed_from_the_chunk() {
    // The stream's row alone would leave sinks without the value: nothing before it had brought it.
    let mut unseen = window(&[(100, Op::Update, body(b'N', &lacking("1", "new")))]);
    assert_eq!(owed(&mut unseen), 1);
    let verdict = unseen.judge(&snapshot(), &relation(), &text("1", "old", "BIG"));
    assert_eq!(verdict, Verdict::Complete(text("1", "new", "BIG")));
    assert_eq!(owed(&mut unseen), 0);
}

#[test]
fn a_toast_value_set_since_wins_over_the_chunks() {
    let set = text("1", "a", "NEW BIG");
    let mut unseen = window(&[(100, Op::Update, body(b'N', &set)), (101, Op::Update, body(b'N', &lacking("1", "b")))]);
    let verdict = unseen.judge(&snapshot(), &relation(), &text("1", "old", "OLD BIG"));
    assert_eq!(verdict, Verdict::Drop, "the stream has the whole row by itself");
    assert_eq!(owed(&mut unseen), 0);
}

#[test]
fn a_row_that_moved_to_another_key_is_completed_there() {
    let mut unseen = window(&[(100, Op::Update, moved("1", &lacking("2", "s")))]);
    // The chunk saw the row under its old key; under the new one no later chunk may bring it.
    let verdict = unseen.judge(&snapshot(), &relation(), &text("1", "s", "BIG"));
    assert_eq!(verdict, Verdict::Complete(text("2", "s", "BIG")));
    assert_eq!(owed(&mut unseen), 0);
}

#[test]
fn a_row_that_moved_into_a_part_that_is_copied_already_is_owed_until_it_is_read_or_gone() {
    // No chunk is under way when the change comes, and none may bring the row later.
    let mut windows = Windows::default();
    windows.watch(1);
    change(&mut windows, &[(50, Op::Update, body(b'N', &lacking("1", "a")))]);
    change(&mut windows, &[(51, Op::Update, moved("1", &lacking("2", "b")))]);
    change(&mut windows, &[(51, Op::Update, body(b'N', &lacking("3", "c")))]);
    let keys = windows.owed(1).expect("watched").some(9);
    assert_eq!(
        keys.iter().map(|key| key_texts(key)).collect::<HashSet<_>>(),
        [vec![&b"2"[..]], vec![&b"3"[..]]].into()
    );
    windows.owed(1).expect("watched").close();
    change(&mut windows, &[(52, Op::Update, body(b'N', &lacking("4", "d")))]);
    assert_eq!(owed(&mut windows), 2, "once all is read, an update of a whole row owes nothing");
    change(&mut windows, &[(53, Op::Delete, body(b'K', &text("3", "", "")))]);
    windows.open(1, 1);
    assert_eq!(windows.judge(&snapshot(), &relation(), &text("2", "b", "BIG")), Verdict::Keep);
    assert_eq!(owed(&mut windows), 0);
}

#[test]
fn a_transaction_decoded_before_the_opening_but_not_visible_yet_voids_the_chunk() {
    // Synchronous replication: the commit is in the WAL and decoded, but the committing session still waits.
    let mut windows = Windows::default();
    windows.watch(1);
    change(&mut windows, &[(50, Op::Update, body(b'N', &text("1", "a", "b")))]);
    windows.open(1, 1);
    let waiting = Visibility::parse("50:100:50").expect("a snapshot");
    assert!(!windows.accept(1, 1, &waiting));
    windows.close(1, 1);
    windows.open(1, 2);
    assert!(windows.accept(1, 2, &snapshot()));
    assert!(windows.tables[&1].decoded.is_empty(), "seen for good");
}

#[test]
fn chunks_share_what_is_remembered_and_the_last_to_need_it_keeps_it() {
    let mut windows = window(&[(100, Op::Update, body(b'N', &text("1", "new", "B")))]);
    windows.open(1, 2);
    change(&mut windows, &[(101, Op::Update, body(b'N', &text("2", "new", "B")))]);
    windows.close(1, 1);
    let kept = &windows.tables[&1].touched;
    assert!(kept.last(&key("1")).is_none(), "the second chunk must see transaction 100, or is void");
    assert!(kept.last(&key("2")).is_some());
    assert_eq!(windows.judge(&snapshot(), &relation(), &text("2", "old", "A")), Verdict::Drop);
    windows.close(1, 2);
    assert!(windows.tables[&1].touched.is_empty());
    assert!(!windows.accept(1, 2, &snapshot()), "closed");
}

#[test]
fn memory_is_bounded_and_overflow_voids_the_chunks() {
    let long = "x".repeat(BYTES_MAX / 2);
    let changes = [1, 2, 3].map(|id: u8| (100, Op::Insert, body(b'N', &text(&format!("{long}{id}"), "", ""))));
    let mut window = window(&changes);
    assert!(!window.accept(1, 1, &snapshot()));
    assert!(window.tables[&1].touched.is_empty());
}

/// Found by the checker: rows moved up by one while they were copied, so that one's old key was another's new one, and that
/// one's large value went to the wrong row.
#[test]
fn rows_that_take_each_others_keys_keep_their_own_values() {
    let up = |id: i32, name: &str| (id, moved(&id.to_string(), &lacking(&(id + 1).to_string(), name)));
    let steps = [up(2, "b"), up(1, "a"), up(3, "b"), up(2, "a")];
    let changes: Vec<_> =
        steps.into_iter().zip([100, 100, 101, 101]).map(|((_, body), xid)| (xid, Op::Update, body)).collect();
    let mut unseen = window(&changes);
    let judge = |windows: &mut Windows, id: &str, name: &str| {
        windows.judge(&snapshot(), &relation(), &text(id, name, &format!("BIG {name}")))
    };
    assert_eq!(judge(&mut unseen, "1", "a"), Verdict::Complete(text("3", "a", "BIG a")));
    assert_eq!(judge(&mut unseen, "2", "b"), Verdict::Complete(text("4", "b", "BIG b")));
    // A chunk that sees the first of the two transactions has the rows one further.
    let mut half = window(&changes);
    let sees_first = Visibility::parse("101:101:").expect("a snapshot");
    let verdict = half.judge(&sees_first, &relation(), &text("2", "a", "BIG a"));
    assert_eq!(verdict, Verdict::Complete(text("3", "a", "BIG a")));
    // Swapped by way of a free key.
    let swap = [("1", "0", "a"), ("2", "1", "b"), ("0", "2", "a")];
    let swap = swap.map(|(from, to, name)| (100, Op::Update, moved(from, &lacking(to, name))));
    let mut swapped = window(&swap);
    assert_eq!(judge(&mut swapped, "1", "a"), Verdict::Complete(text("2", "a", "BIG a")));
    assert_eq!(judge(&mut swapped, "2", "b"), Verdict::Complete(text("1", "b", "BIG b")));
    // A row that is gone, and another in its place.
    let replaced =
        [(100, Op::Delete, body(b'K', &text("1", "", ""))), (101, Op::Update, moved("5", &lacking("1", "e")))];
    let mut replaced = window(&replaced);
    assert_eq!(judge(&mut replaced, "1", "a"), Verdict::Drop);
    assert_eq!(judge(&mut replaced, "5", "e"), Verdict::Complete(text("1", "e", "BIG e")));
}
