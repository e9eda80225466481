//! What must hold of the log, whatever was done to the programs. Pure: two witnesses in, violations out.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::feed::{Change, Event, Op, Row};
use super::workload::{ACCOUNTS, BALANCE, TABLES};

/// Rows by table and key.
pub(super) type State = BTreeMap<String, BTreeMap<Vec<String>, Row>>;

/// What is known.
#[derive(Clone)]
pub(super) struct Evidence {
    /// The log.
    pub(super) events: Vec<Event>,
    /// The second slot, which was there before the log began.
    pub(super) oracle: Vec<Change>,
    /// `SELECT` in the end.
    pub(super) selected: State,
}

/// Everything that is wrong, the check's name first.
pub(super) fn violations(evidence: &Evidence) -> Vec<String> {
    let Evidence { events, oracle, selected } = evidence;
    let mut found = positions(events);
    found.extend(versions(events));
    found.extend(completeness(events, oracle));
    found.extend(bank(events));
    found.extend(differences("C1 the log's end", &replay(events), selected));
    found
}

/// C5: each event has a place of its own, and the places rise.
fn positions(events: &[Event]) -> Vec<String> {
    let pairs = events.iter().zip(events.iter().skip(1));
    let wrong = pairs.filter(|(one, next)| one.position >= next.position);
    wrong.map(|(one, next)| format!("C5 {:?} {} after {:?}", next.position, next.change, one.position)).collect()
}

/// C3: a key's counter rises by one with each change, and each list extends the one before. A copy may show again what
/// there was.
fn versions(events: &[Event]) -> Vec<String> {
    let mut last: HashMap<(&str, &[String]), &str> = HashMap::new();
    let mut wrong = Vec::new();
    for Event { change, .. } in events {
        let column = match change.table.as_str() {
            "reg" => "ver",
            "lst" => "items",
            _ => continue,
        };
        let Some(now) = change.row.as_ref().and_then(|row| row.get(column)?.as_deref()) else { continue };
        let before = last.insert((&change.table, &change.key), now);
        let copied = change.op == Op::Read;
        let sound = match (before, column) {
            (None, _) => true,
            (Some(before), "ver") => match (before.parse::<i64>(), now.parse::<i64>()) {
                (Ok(before), Ok(now)) => {
                    if copied {
                        now >= before
                    } else {
                        now == before + 1
                    }
                }
                _ => false,
            },
            (Some(before), _) => {
                let start = before.trim_end_matches('}');
                now.starts_with(start) && (copied || now.len() > before.len())
            }
        };
        if !sound {
            wrong.push(format!("C3 {change:.200} after {}", before.unwrap_or_default()));
        }
    }
    wrong
}

/// C4: from its first transaction on, the log has each transaction that the second slot saw, in that order, and for each key
/// the same changes with the same values.
fn completeness(events: &[Event], oracle: &[Change]) -> Vec<String> {
    let streamed: Vec<&Change> = events.iter().map(|event| &event.change).filter(|change| change.xid != 0).collect();
    let Some(first) = streamed.first().map(|change| change.xid) else { return vec!["C4 no transaction".to_owned()] };
    let Some(begin) = oracle.iter().position(|change| change.xid == first) else {
        return vec![format!("C4 transaction {first} is in the log and was never committed")];
    };
    let expected: Vec<&Change> = oracle.iter().skip(begin).collect();
    let mut wrong = Vec::new();
    let order = |changes: &[&Change]| {
        let mut xids: Vec<u64> = changes.iter().map(|change| change.xid).collect();
        xids.dedup();
        xids
    };
    let (found, wanted) = (order(&streamed), order(&expected));
    if found != wanted {
        let at = found
            .iter()
            .zip(&wanted)
            .position(|(found, wanted)| found != wanted)
            .unwrap_or(found.len().min(wanted.len()));
        let (found, wanted) = (found.get(at..).unwrap_or_default(), wanted.get(at..).unwrap_or_default());
        let five = |xids: &[u64]| xids.iter().take(5).copied().collect::<Vec<_>>();
        wrong.push(format!("C4 transactions {:?} where {:?} were committed", five(found), five(wanted)));
    }
    let (found, wanted) = (by_key(&streamed), by_key(&expected));
    let keys: BTreeSet<_> = found.keys().chain(wanted.keys()).collect();
    for key in keys {
        let (found, wanted) = (found.get(key), wanted.get(key));
        if found != wanted {
            let (found, wanted) = (found.map_or(&[][..], Vec::as_slice), wanted.map_or(&[][..], Vec::as_slice));
            let at = found.iter().zip(wanted).position(|(found, wanted)| found != wanted);
            let at = at.unwrap_or(found.len().min(wanted.len()));
            let told =
                |change: Option<&&Change>| change.map_or("nothing".to_owned(), |change| format!("{change:.300}"));
            wrong.push(format!("C4 {key:?}, change {at}: {}; was {}", told(found.get(at)), told(wanted.get(at))));
        }
    }
    wrong
}

fn by_key<'a>(changes: &[&'a Change]) -> BTreeMap<(&'a str, &'a [String]), Vec<&'a Change>> {
    let mut keys: BTreeMap<_, Vec<&Change>> = BTreeMap::new();
    for change in changes {
        keys.entry((change.table.as_str(), change.key.as_slice())).or_default().push(change);
    }
    keys
}

/// C6: at the end of each unit of the log, once all accounts are there, no money was made or lost; and a transfer comes with
/// both its legs.
fn bank(events: &[Event]) -> Vec<String> {
    let total = ACCOUNTS as i64 * BALANCE;
    let number = |row: Option<&Row>, column: &str| row?.get(column)?.as_deref()?.parse::<i64>().ok();
    let mut accounts: HashMap<&[String], i64> = HashMap::new();
    let mut wrong = Vec::new();
    for unit in events.chunk_by(|one, other| one.change.xid == other.change.xid && one.position.1 == other.position.1) {
        let of =
            |table: &'static str| unit.iter().map(|event| &event.change).filter(move |change| change.table == table);
        let transfers = of("xfer").filter(|change| change.op == Op::Insert).count();
        let legs = of("acct").filter(|change| change.op == Op::Update).count();
        if legs != 2 * transfers {
            wrong.push(format!("C6 {transfers} transfers and {legs} changed accounts in xid {}", unit[0].change.xid));
        }
        for change in of("acct") {
            accounts.extend(number(change.row.as_ref(), "bal").map(|balance| (change.key.as_slice(), balance)));
        }
        let sum: i64 = accounts.values().sum();
        if accounts.len() == ACCOUNTS && sum != total {
            wrong.push(format!("C6 the accounts hold {sum} at {:?}", unit[0].position));
            return wrong;
        }
    }
    if accounts.len() != ACCOUNTS {
        wrong.push(format!("C6 {} accounts of {ACCOUNTS}", accounts.len()));
    }
    wrong
}

/// The rows that the events leave behind. A column that nobody sent is told so.
pub(super) fn replay(events: &[Event]) -> State {
    let mut state = State::new();
    let mut copied: HashMap<&str, HashSet<Vec<String>>> = HashMap::new();
    for Event { change, .. } in events {
        let table = state.entry(change.table.clone()).or_default();
        match change.op {
            Op::Truncate => table.clear(),
            Op::CopyBegun => _ = copied.insert(&change.table, HashSet::new()),
            Op::CopyDone => {
                let copied = copied.remove(change.table.as_str()).unwrap_or_default();
                table.retain(|key, _| copied.contains(key));
            }
            Op::Delete => _ = table.remove(&change.key),
            Op::Insert | Op::Update | Op::Read => {
                let older = table.remove(change.moved_from.as_ref().unwrap_or(&change.key)).unwrap_or_default();
                let mut row = change.row.clone().unwrap_or_default();
                for column in &change.unchanged {
                    let nobody = || Some("(nobody has it)".to_owned());
                    let sent = change.old.as_ref().and_then(|old| old.get(column));
                    row.insert(column.clone(), sent.or(older.get(column)).cloned().unwrap_or_else(nobody));
                }
                copied.entry(&change.table).and_modify(|copied| _ = copied.insert(change.key.clone()));
                table.insert(change.key.clone(), row);
            }
        }
    }
    state
}

/// How two states differ, key by key, in both directions.
pub(super) fn differences(what: &str, found: &State, wanted: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    for table in TABLES {
        let empty = BTreeMap::new();
        let (found, wanted) = (found.get(table.name).unwrap_or(&empty), wanted.get(table.name).unwrap_or(&empty));
        for key in found.keys().chain(wanted.keys()).collect::<BTreeSet<_>>() {
            let (found, wanted) = (found.get(key), wanted.get(key));
            if found != wanted {
                let told = |row: Option<&Row>| format!("{:.300}", format!("{row:?}"));
                wrong.push(format!("{what}: {} {key:?} is {}, SELECT says {}", table.name, told(found), told(wanted)));
            }
        }
    }
    wrong
}
