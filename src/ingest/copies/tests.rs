//! The order of a copy's parts, its interruptions, and its end.

use std::sync::Arc;

use super::*;
use crate::capture::CaptureError;
use crate::capture::catalog::Published;
use crate::capture::snapshot::Target;
use crate::event::{Relation, ReplicaIdentity, TableName};

/// One block's places.
const BLOCK: u64 = 1 << 16;

fn table(oid: u32) -> Table {
    Table {
        oid,
        name: TableName { schema: "public".into(), table: format!("t{oid}") },
        identity: ReplicaIdentity::Default,
        primary_key: vec!["id".into()],
        identity_index: Vec::new(),
        partitioned: false,
        logged: true,
        hides_rows: false,
        readable: true,
        rows_estimate: None,
    }
}

/// A table of so many blocks, each worth a chunk.
fn survey(oid: u32, storage: u64, blocks: u64) -> Survey {
    let table = table(oid);
    let relation = Relation {
        oid,
        name: table.name.clone(),
        identity: ReplicaIdentity::Default,
        columns: Vec::new(),
        key: Vec::new(),
    };
    let published = Published { relation: Arc::new(relation), row_filter: None };
    let target = Target::for_tests(table, published, storage);
    let bytes = blocks * u64::try_from(BYTES_WANTED).expect("small");
    Survey { target: Arc::new(target), end: blocks * BLOCK, bytes, rows_estimate: None }
}

struct Run {
    copies: Copies,
    windows: Windows,
    now: Instant,
}

impl Run {
    fn new(recovered: &[TableSnapshot], tables: &[u32]) -> Run {
        let mut copies = Copies::new(recovered, None);
        copies.resume(&tables.iter().map(|oid| table(*oid)).collect::<Vec<_>>());
        Run { copies, windows: Windows::default(), now: Instant::now() }
    }

    fn next(&mut self) -> Option<Work> {
        self.copies.next(&mut self.windows, self.now)
    }

    /// Does the survey that is due.
    fn survey(&mut self, storage: u64, blocks: u64) {
        let Some(Work::Survey { ticket, .. }) = self.next() else { panic!("a survey is due") };
        self.copies.surveyed(ticket, survey(ticket.oid, storage, blocks), Offset(7), self.now);
    }

    fn read(&mut self) -> (Ticket, Range<u64>) {
        match self.next() {
            Some(Work::Read { ticket, part: Part::Places(places), .. }) => {
                (ticket, places.start / BLOCK..places.end / BLOCK)
            }
            other => panic!("places are due, not {other:?}"),
        }
    }

    /// Whether that was the last chunk.
    fn place(&mut self, ticket: Ticket) -> bool {
        let added = Added { rows: 10, bytes: BYTES_WANTED as u64, took: Duration::from_millis(500) };
        self.windows.close(ticket.oid, ticket.number);
        self.copies.place(ticket, added, &mut self.windows, self.now).expect("known").finished
    }
}

#[test]
fn parts_are_handed_out_once_and_a_table_is_done_when_all_are_in_the_log() {
    let mut run = Run::new(&[], &[1]);
    run.survey(5, 3);
    let parts = [run.read(), run.read(), run.read()];
    assert_eq!(parts.clone().map(|(_, blocks)| blocks), [0..1, 1..2, 2..3]);
    assert!(run.next().is_none(), "nothing is left to be handed out");
    let [first, second, third] = parts.map(|(ticket, _)| ticket);
    assert!(!run.place(third) && !run.place(first));
    assert_eq!(run.copies.record(1).expect("begun").copied, [0..BLOCK, 2 * BLOCK..3 * BLOCK]);
    assert!(run.place(second));
    let record = run.copies.record(1).expect("done");
    assert!(record.done && record.rows == 30 && record.copied.is_empty() && run.copies.is_done());
}

#[test]
fn a_restart_goes_on_with_what_is_not_in_the_log() {
    let mut run = Run::new(&[], &[1]);
    run.survey(5, 3);
    let (_lost, second, _) = (run.read(), run.read(), run.read());
    run.place(second.0);
    let recovered = run.copies.record(1).expect("begun").clone();
    // Rows that came behind the end since then are in the stream.
    let mut run = Run::new(std::slice::from_ref(&recovered), &[1]);
    run.survey(5, 9);
    assert_eq!([run.read().1, run.read().1], [0..1, 2..3]);
    assert!(run.next().is_none());
    // Another storage: places mean nothing any more.
    let mut run = Run::new(&[recovered], &[1]);
    run.survey(6, 9);
    assert_eq!([run.read().1, run.read().1], [0..1, 1..2]);
}

#[test]
fn a_copy_begun_again_abandons_the_running_one() {
    let mut run = Run::new(&[], &[1]);
    run.survey(5, 2);
    let (old, _) = run.read();
    let record = run.copies.begin(table(1), "on demand", Offset(40)).clone();
    assert_eq!((record.generation, record.begun, &*record.reason), (2, Offset(40), "on demand"));
    assert!(!run.copies.knows(old), "a chunk of the old copy is nobody's");
    run.survey(5, 2);
    assert_eq!([run.read().1, run.read().1], [0..1, 1..2]);
    // A done table as well, and a restart remembers.
    let mut run = Run::new(&[TableSnapshot { done: true, ..record }], &[]);
    assert!(run.copies.is_done());
    assert_eq!(run.copies.begin(table(1), "", Offset(50)).generation, 3);
    let recovered = run.copies.record(1).expect("begun").clone();
    assert!(!Run::new(&[recovered], &[1]).copies.is_done());
}

#[test]
fn an_empty_table_is_done_without_a_chunk() {
    let mut run = Run::new(&[], &[1, 2]);
    run.survey(5, 0);
    assert_eq!(run.copies.complete(&mut run.windows), Some(1));
    assert!(run.copies.record(1).expect("told").done);
    assert_eq!(run.copies.complete(&mut run.windows), None);
}

#[test]
fn a_failing_table_waits_while_the_others_go_on() {
    let mut run = Run::new(&[], &[1, 2]);
    let Some(Work::Survey { ticket, .. }) = run.next() else { panic!("a survey is due") };
    let error = CaptureError::Protocol("no".into());
    assert!(matches!(run.copies.refused(ticket, Refusal::Failed(error), run.now), Some(Refusal::Failed(_))));
    run.survey(5, 1);
    let (ticket, _) = run.read();
    assert_eq!(ticket.oid, 2);
    assert!(run.place(ticket) && run.next().is_none());
    let wake_at = run.copies.wake_at(run.now).expect("table 1 is tried again");
    run.now = wake_at;
    assert!(matches!(run.next(), Some(Work::Survey { ticket, .. }) if ticket.oid == 1));
}

#[test]
fn what_is_too_large_is_asked_for_in_smaller_parts_down_to_lines_of_a_block() {
    let mut run = Run::new(&[], &[1]);
    run.survey(5, 1);
    for _ in 0..40 {
        let Some(Work::Read { ticket, part: Part::Places(places), .. }) = run.next() else { panic!("places are due") };
        if places == (0..1) {
            return;
        }
        run.windows.close(1, ticket.number);
        run.copies.refused(ticket, Refusal::TooLarge(3 * BYTES_WANTED), run.now);
    }
    panic!("it never comes down to one row");
}

#[test]
fn stretches_join_and_gaps_are_found() {
    let mut stretches = Vec::new();
    for new in [4..6, 0..2, 8..9, 2..4, 20..30, 9..20] {
        add(&mut stretches, new);
    }
    assert_eq!(stretches, [0..6, 8..30]);
    assert_eq!(gap(&stretches, 40), Some(6..8));
    assert_eq!(gap(&[0..10, 10..30], 40), Some(30..40));
    assert_eq!(gap(&[0..10, 10..40], 40), None);
    assert_eq!(gap(&[], 0), None);
}
