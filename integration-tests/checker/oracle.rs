//! What `test_decoding`, a plugin that comes with PostgreSQL, saw on a slot of its own (PostgreSQL manual, F.50).

use std::collections::BTreeMap;

use super::feed::{Change, Op, Row};
use super::workload::table;

/// The changes of the workload's tables, in commit order. `lines` are the plugin's rows.
pub(super) fn changes<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Change> {
    let (mut changes, mut xid) = (Vec::new(), 0);
    for line in lines {
        if let Some(begun) = line.strip_prefix("BEGIN ") {
            xid = begun.parse().expect("an xid");
        } else if let Some(change) = line.strip_prefix("table ") {
            changes.extend(parse(xid, change));
        }
    }
    changes
}

/// One line may empty several tables.
fn parse(xid: u64, line: &str) -> Vec<Change> {
    let mut rest = line;
    let mut names = Vec::new();
    loop {
        let (_schema, after) = identifier(rest);
        let (name, after) = identifier(after.strip_prefix('.').expect("schema.table"));
        names.push(name);
        match after.strip_prefix(", ") {
            Some(more) => rest = more,
            None => break rest = after.strip_prefix(": ").expect("an operation"),
        }
    }
    let (op, rest) = rest.split_once(':').expect("an operation");
    names.iter().filter_map(|name| change(xid, name, op, rest.trim_start())).collect()
}

fn change(xid: u64, name: &str, op: &str, rest: &str) -> Option<Change> {
    let table = table(name)?;
    let (old, new) = match rest.strip_prefix("old-key: ").map(columns) {
        Some((old, rest)) => (Some(old), rest.strip_prefix("new-tuple: ").expect("a new row")),
        None => (None, rest),
    };
    let row = if op == "TRUNCATE" { Columns::default() } else { columns(new).0 };
    let key =
        |row: &Columns| table.key.iter().filter_map(|column| row.values.get(*column)?.clone()).collect::<Vec<_>>();
    let has_row = op == "INSERT" || op == "UPDATE";
    let compared = |row: &Columns| -> Row {
        let values = row.values.iter().filter(|(name, _)| table.compared.contains(&name.as_str()));
        values.map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    Some(Change {
        xid,
        op: match op {
            "INSERT" => Op::Insert,
            "UPDATE" => Op::Update,
            "DELETE" => Op::Delete,
            "TRUNCATE" => Op::Truncate,
            other => panic!("an operation {other}"),
        },
        table: table.name.to_owned(),
        key: key(&row),
        old: old.as_ref().filter(|_| table.full).map(compared),
        moved_from: old.map(|old| key(&old)).filter(|old| *old != key(&row)),
        row: has_row.then(|| compared(&row)),
        unchanged: row.unchanged,
    })
}

#[derive(Default)]
struct Columns {
    values: BTreeMap<String, Option<String>>,
    unchanged: Vec<String>,
}

/// `name[type]:value`, as many as there are, and what follows.
fn columns(mut rest: &str) -> (Columns, &str) {
    let mut found = Columns::default();
    while !rest.is_empty() && !rest.starts_with("new-tuple: ") && !rest.starts_with('(') {
        let (name, after) = identifier(rest);
        let (_type, after) = after.split_once("]:").expect("a type");
        if let Some(after) = after.strip_prefix("unchanged-toast-datum") {
            found.unchanged.push(name);
            rest = after;
        } else {
            let (value, after) = value(after);
            found.values.insert(name, value);
            rest = after;
        }
        rest = rest.strip_prefix(' ').unwrap_or(rest);
    }
    (found, rest)
}

/// A name, quoted where it needs to be, up to what cannot be part of one.
fn identifier(text: &str) -> (String, &str) {
    match text.strip_prefix('"') {
        Some(quoted) => until_quote(quoted, '"'),
        None => {
            let end = text.find(['[', '.', ':', ',']).unwrap_or(text.len());
            (text[..end].to_owned(), &text[end..])
        }
    }
}

/// A value: quoted, or up to the next space. `null` is NULL.
fn value(text: &str) -> (Option<String>, &str) {
    if let Some(quoted) = text.strip_prefix('\'').or_else(|| text.strip_prefix("B'")) {
        let (value, rest) = until_quote(quoted, '\'');
        return (Some(value), rest);
    }
    let end = text.find(' ').unwrap_or(text.len());
    (Some(&text[..end]).filter(|bare| *bare != "null").map(str::to_owned), &text[end..])
}

/// What a doubled quote ends not.
fn until_quote(text: &str, quote: char) -> (String, &str) {
    let (mut value, mut rest) = (String::new(), text);
    loop {
        let (before, after) = rest.split_once(quote).expect("a closing quote");
        value.push_str(before);
        match after.strip_prefix(quote) {
            Some(after) => {
                value.push(quote);
                rest = after;
            }
            None => return (value, after),
        }
    }
}

#[test]
fn the_plugins_lines_are_understood() {
    let lines = [
        "BEGIN 735",
        "table public.reg: INSERT: k[integer]:1 ver[integer]:0 writer[integer]:null pad[text]:'it''s ]: x\ny'",
        "table public.big: UPDATE: old-key: id[integer]:1 new-tuple: id[integer]:2 n[integer]:5 body[text]:unchanged-toast-datum more[text]:'m'",
        "table public.\"Odd näme\": DELETE: \"Kéy \"\"q\"\"\"[integer]:7",
        "table public.elsewhere: DELETE: (no-tuple-data)",
        "table public.churn, public.reg: TRUNCATE: (no-flags)",
        "COMMIT 735",
        "BEGIN 736",
        "table public.lst: UPDATE: k[integer]:3 items[integer[]]:'{1,2}'",
    ];
    let told: Vec<String> = changes(lines).iter().map(ToString::to_string).collect();
    expect_test::expect![[r#"
        [
            "xid 735 Insert reg 1 k=1 pad=it's ]: x\ny ver=0 writer=NULL",
            "xid 735 Update big 2 from 1 id=2 more=m n=5 unchanged [\"body\"]",
            "xid 735 Delete Odd näme 7",
            "xid 735 Truncate churn ",
            "xid 735 Truncate reg ",
            "xid 736 Update lst 3 items={1,2} k=3",
        ]
    "#]]
    .assert_debug_eq(&told);
}
