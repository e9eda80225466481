//! The checks are checked: real evidence without a violation, damaged in one place, must be found wanting, and evidence that is
//! only told in another order that means the same must not.

use super::checks::{Evidence, violations};
use super::feed::{Event, Op};

/// Damages the evidence; `None` if there is no place for that damage.
type Damage = fn(&mut Evidence) -> Option<()>;

const FLAGGED: &[(&str, Damage)] = &[
    ("an insert is missing", |it| {
        drop_one(it, |event| event.change.op == Op::Insert && event.change.table == "ledger")
    }),
    ("an update is missing", |it| drop_one(it, |event| event.change.op == Op::Update && event.change.table == "mover")),
    ("a delete is missing", |it| drop_one(it, |event| event.change.op == Op::Delete)),
    ("a truncate is missing", |it| drop_one(it, |event| event.change.op == Op::Truncate)),
    ("a copied row is missing", |it| {
        let table = |event: &Event| event.change.op == Op::Read && event.change.key[0] == "99";
        drop_one(it, table)
    }),
    ("the last transaction is missing", |it| {
        let last = it.events.iter().rev().find(|event| event.change.xid != 0)?.change.xid;
        it.events.retain(|event| event.change.xid != last);
        Some(())
    }),
    ("two changes of a key are swapped", |it| {
        let (one, other) = two_updates(it, |one, other| one.change.key == other.change.key)?;
        let change = it.events[one].change.clone();
        it.events[one].change = std::mem::replace(&mut it.events[other].change, change);
        Some(())
    }),
    ("two values of a key are swapped", |it| {
        let (one, other) = two_updates(it, |one, other| one.change.key == other.change.key)?;
        let row = it.events[one].change.row.clone();
        it.events[one].change.row = std::mem::replace(&mut it.events[other].change.row, row);
        Some(())
    }),
    ("an event stands twice", |it| {
        let at = it.events.iter().position(|event| event.change.op == Op::Update)?;
        it.events.insert(at, it.events[at].clone());
        Some(())
    }),
    ("an event stands twice, at places of its own", |it| {
        let at = it.events.iter().rposition(|event| event.change.op == Op::Update && event.change.table == "lst")?;
        let again = Event { position: (u64::MAX, 0, 0), ..it.events[at].clone() };
        it.events.push(again);
        Some(())
    }),
    ("an unchanged large value is told as NULL", |it| {
        let event = it.events.iter_mut().find(|event| !event.change.unchanged.is_empty())?;
        let column = event.change.unchanged.pop()?;
        event.change.row.as_mut()?.insert(column, None);
        Some(())
    }),
    ("a value is another", |it| {
        let event = it.events.iter_mut().rfind(|event| event.change.op == Op::Update && event.change.table == "big")?;
        event.change.row.as_mut()?.insert("n".to_owned(), Some("-7".to_owned()));
        Some(())
    }),
    ("half a transfer is missing", |it| {
        drop_one(it, |event| event.change.op == Op::Update && event.change.table == "acct")
    }),
    ("a rolled-back transaction is there", |it| {
        let mut event = it.events.iter().rfind(|event| event.change.op == Op::Insert)?.clone();
        (event.position, event.change.xid) = ((u64::MAX, 0, 0), 3);
        event.change.key.push("never".to_owned());
        it.events.push(event);
        Some(())
    }),
    ("an older row of a copy won over a newer", |it| {
        let at = it.events.iter().rposition(|event| event.change.table == "reg" && event.change.op == Op::Update)?;
        let mut stale = it.events[at].clone();
        let first =
            it.events.iter().find(|event| event.change.key == stale.change.key && event.change.table == "reg")?;
        stale.change.row.clone_from(&first.change.row);
        (stale.position, stale.change.xid, stale.change.op) = ((u64::MAX, 0, 0), 0, Op::Read);
        it.events.push(stale);
        Some(())
    }),
];

const PASSED: &[(&str, Damage)] = &[("two keys of one transaction change in another order", |it| {
    let (one, other) = two_updates(it, |one, other| {
        let same = |event: &Event| (event.position.1, event.change.xid);
        same(one) == same(other)
            && one.change.key != other.change.key
            && one.change.moved_from.is_none()
            && other.change.moved_from.is_none()
    })?;
    let change = it.events[one].change.clone();
    it.events[one].change = std::mem::replace(&mut it.events[other].change, change);
    Some(())
})];

/// What of the evidence's damages was not seen, or seen where there is none. How many had a place.
pub(super) fn blind_spots(evidence: &Evidence) -> (usize, Vec<String>) {
    let (mut tried, mut blind) = (0, Vec::new());
    for (wanted, damages) in [(true, FLAGGED), (false, PASSED)] {
        for (name, damage) in damages {
            let mut damaged = evidence.clone();
            if damage(&mut damaged).is_none() {
                continue;
            }
            tried += 1;
            let found = violations(&damaged);
            if found.is_empty() == wanted {
                blind.push(format!("{name}: {:?}", found.first()));
            }
        }
    }
    (tried, blind)
}

fn drop_one(it: &mut Evidence, which: impl Fn(&Event) -> bool) -> Option<()> {
    let all: Vec<usize> = (0..it.events.len()).filter(|&at| which(&it.events[at])).collect();
    it.events.remove(*all.get(all.len() / 2)?);
    Some(())
}

/// Two updates of one table next to each other among that table's.
fn two_updates(it: &Evidence, fit: impl Fn(&Event, &Event) -> bool) -> Option<(usize, usize)> {
    let updates = |table: &'static str| {
        let of_table = move |event: &Event| event.change.table == table && event.change.op == Op::Update;
        (0..it.events.len()).filter(move |&at| of_table(&it.events[at])).collect::<Vec<_>>()
    };
    for table in ["reg", "lst", "acct"] {
        for (index, &one) in updates(table).iter().enumerate() {
            let later = updates(table).into_iter().skip(index + 1).take(50);
            let found = later.into_iter().find(|&other| fit(&it.events[one], &it.events[other]));
            if let Some(other) = found {
                return Some((one, other));
            }
        }
    }
    None
}
