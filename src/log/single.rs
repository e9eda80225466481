//! One event by itself: bytes from which it can be read again when the log no longer has it. The records are the log's own
//! (docs/log-format.md): the table's version, the unit and the event's place in it, the change.

use std::sync::Arc;

use bytes::Bytes;

use super::input::{Input, TooLong};
use super::record::{
    Record, put_change, put_copy_begun, put_copy_done, put_message, put_origin, put_relation, put_resume,
};
use crate::decode::tuple;
use crate::event::{Change, Event, Relation, Transaction};

/// The number of the only relation.
const ONLY: u32 = 0;

/// The event as bytes; `None` for a change that is larger than any that PostgreSQL sends.
#[must_use]
pub fn put_event(event: &Event) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    put(event, true, &mut out).ok()?;
    Some(out)
}

/// Appends the event without its table's version, which stands with an event before it. Whether it could be: `false` for a change that is
/// larger than any that PostgreSQL sends, and then something of it may have been appended.
#[must_use]
pub fn put_event_behind(event: &Event, out: &mut Vec<u8>) -> bool {
    put(event, false, out).is_ok()
}

fn put(event: &Event, tells_table: bool, out: &mut Vec<u8>) -> Result<(), TooLong> {
    put_resume(out, &event.transaction, event.ordinal);
    put_origin(out, event.transaction.origin.as_deref())?;
    if let Some(relation) = event.change.relation().filter(|_| tells_table) {
        put_relation(out, ONLY, relation)?;
    }
    match &event.change {
        Change::Message { prefix, content } => put_message(out, prefix, content)?,
        Change::CopyBegun { .. } => put_copy_begun(out, ONLY),
        Change::CopyDone { since, .. } => put_copy_done(out, ONLY, *since),
        change => {
            let mut body = Vec::new();
            tuple::put_body(change, &mut body);
            put_change(out, change.op(), ONLY, &body)?;
        }
    }
    Ok(())
}

/// The event that the bytes hold; `None` if they are not one's.
#[must_use]
pub fn read_event(bytes: &Bytes) -> Option<Event> {
    read_event_behind(bytes, None)
}

/// The same for an event that may have been put without its table's version: that is this one then.
#[must_use]
pub fn read_event_behind(bytes: &Bytes, table: Option<&Arc<Relation>>) -> Option<Event> {
    let mut input = Input::new(bytes);
    let mut unit: Option<(Transaction, u64)> = None;
    let mut table = table.cloned();
    let mut change = None;
    while input.len() > 0 && change.is_none() {
        match Record::read(&mut input)? {
            Record::Resume(transaction, ordinal) => unit = Some((transaction, ordinal)),
            Record::Origin(origin) => unit.as_mut()?.0.origin = Some(origin.into()),
            Record::Relation { relation, .. } => table = Some(Arc::new(relation)),
            Record::Change { op, body, .. } => {
                change = tuple::change(op, table.as_ref()?, &bytes.slice_ref(body)).ok();
            }
            Record::Message { prefix, content } => {
                let prefix = String::from_utf8(prefix.to_vec()).ok()?;
                change = Some(Change::Message { prefix, content: bytes.slice_ref(content) });
            }
            Record::CopyBegun { .. } => change = Some(Change::CopyBegun { relation: table.clone()? }),
            Record::CopyDone { since, .. } => change = Some(Change::CopyDone { relation: table.clone()?, since }),
            _ => return None,
        }
    }
    let (transaction, ordinal) = unit?;
    Some(Event { transaction: Arc::new(transaction), ordinal, change: change.filter(|_| input.len() == 0)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Offset, OldRow};
    use crate::project::testing::{event, relation, row};

    #[test]
    fn every_kind_of_event_comes_back_as_it_was() {
        let relation = Arc::new(relation("t", &["id", "big"], &[0]));
        let (key, whole, lacking) = (row(&["1", ""]), row(&["1", "x"]), row(&["2", "~"]));
        let changes = [
            Change::Insert { relation: relation.clone(), new: whole.clone() },
            Change::Update { relation: relation.clone(), old: Some(OldRow::Key(key.clone())), new: lacking.clone() },
            Change::Update { relation: relation.clone(), old: Some(OldRow::Full(whole.clone())), new: lacking },
            Change::Delete { relation: relation.clone(), old: OldRow::Key(key) },
            Change::Truncate { relation: relation.clone() },
            Change::Read { relation: relation.clone(), row: whole },
            Change::Message { prefix: "p".into(), content: Bytes::from_static(b"\0\xFF") },
            Change::CopyBegun { relation: relation.clone() },
            Change::CopyDone { relation, since: Offset(7) },
        ];
        for (ordinal, change) in (3..).zip(changes) {
            let mut wanted = event(change);
            wanted.ordinal = ordinal;
            Arc::make_mut(&mut wanted.transaction).origin = (ordinal % 2 == 0).then(|| "there".into());
            let bytes = Bytes::from(put_event(&wanted).expect("small"));
            assert_eq!(read_event(&bytes), Some(wanted.clone()));
            for end in 0..bytes.len() {
                assert_eq!(read_event(&bytes.slice(..end)), None, "cut at {end}");
            }
            let mut behind = Vec::new();
            assert!(put_event_behind(&wanted, &mut behind));
            let known = wanted.change.relation().cloned();
            assert_eq!(read_event_behind(&Bytes::from(behind), known.as_ref()), Some(wanted));
        }
    }
}
