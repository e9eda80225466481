//! What two looks at the catalog add up to.

use std::collections::BTreeMap;

use super::*;
use crate::status::Code;

fn column(number: i16, name: &str) -> ColumnPrint {
    ColumnPrint {
        number,
        name: name.into(),
        type_oid: 23,
        type_modifier: -1,
        generated: String::new(),
        has_missing: false,
        version: 700,
    }
}

fn table(oid: u32, name: &str) -> Fingerprint {
    Fingerprint {
        oid,
        schema: "public".into(),
        table: name.into(),
        logged: true,
        identity: "d".into(),
        primary_key: vec!["id".into()],
        identity_index: Vec::new(),
        named: true,
        columns: vec![column(1, "id"), column(2, "a")],
        types: BTreeMap::new(),
        filenode: 1000 + oid,
        members: Vec::new(),
        published: Some(Published { membership: 5, columns: vec!["id".into(), "a".into()], row_filter: None }),
        readable: true,
        hides_rows: false,
    }
}

fn publish_all(print: &mut Fingerprint) {
    let names = print.columns.iter().map(|column| column.name.clone()).collect();
    if let Some(published) = &mut print.published {
        published.columns = names;
    }
}

fn inventory(tables: Vec<Fingerprint>) -> Inventory {
    let publication = Some(Publication { oid: 1, via_root: true, complete: true, counts_generated: false });
    let tables: BTreeMap<u32, Fingerprint> = tables.into_iter().map(|print| (print.oid, print)).collect();
    Inventory { publication, tables, left: Vec::new() }
}

/// What became of table `t` under this change.
fn after(change: impl FnOnce(&mut Fingerprint)) -> Option<What> {
    let then = table(1, "t");
    let mut now = then.clone();
    change(&mut now);
    let changes = compare(&inventory(vec![then]), &inventory(vec![now]));
    assert!(changes.len() <= 1, "{changes:?}");
    changes.into_iter().next().map(|change| change.what)
}

fn differs(what: Option<What>) -> bool {
    matches!(what, Some(What::RowsDiffer { .. }))
}

#[test]
fn a_file_that_changed_alone_is_no_rewrite() {
    // VACUUM FULL, CLUSTER, TRUNCATE, SET TABLESPACE: the rows are the same, or an event tells.
    assert_eq!(after(|now| now.filenode += 1), None);
    // VACUUM FULL makes missing values real, which touches the columns' entries.
    let mut then = table(1, "t");
    then.columns[1].has_missing = true;
    let mut now = then.clone();
    (now.filenode, now.columns[1].has_missing, now.columns[1].version) = (9, false, 800);
    assert_eq!(compare(&inventory(vec![then]), &inventory(vec![now])), []);
    // SET STATISTICS, SET NOT NULL: the definition alone.
    assert_eq!(after(|now| now.columns[1].version = 800), None);
}

#[test]
fn a_rewrite_that_keeps_every_type_is_found_out() {
    // ALTER TABLE t ALTER a TYPE int USING a * 2
    assert!(differs(after(|now| (now.filenode, now.columns[1].version) = (9, 800))));
}

#[test]
fn a_type_that_has_other_words_for_the_same_values_differs_however_deep_it_lies() {
    let mood = |labels: &[(u32, &str)]| TypePrint {
        labels: labels.iter().map(|&(oid, label)| (oid, label.to_owned())).collect(),
        ..TypePrint::default()
    };
    let over = |part| TypePrint { made_of: vec![part], ..TypePrint::default() };
    let mut then = table(1, "t");
    then.columns[1].type_oid = 40_000;
    // An array of a domain over the enum.
    then.types = BTreeMap::from([(40_000, over(30_000)), (30_000, over(20_000)), (20_000, mood(&[(1, "sad")]))]);
    let after = |change: &dyn Fn(&mut BTreeMap<u32, TypePrint>)| {
        let mut now = then.clone();
        change(&mut now.types);
        compare(&inventory(vec![then.clone()]), &inventory(vec![now])).len()
    };
    assert_eq!(after(&|types| _ = types.insert(20_000, mood(&[(1, "sad"), (2, "glad")]))), 0, "added");
    assert_eq!(after(&|types| _ = types.insert(20_000, mood(&[(1, "blue")]))), 1, "renamed");
    assert_eq!(after(&|types| types.get_mut(&30_000).expect("it").attributes.push(2)), 1, "a composite that grew");
    // Nobody looked at types then: no reason to copy everything.
    let unknown = Fingerprint { types: BTreeMap::new(), ..then.clone() };
    assert_eq!(compare(&inventory(vec![unknown]), &inventory(vec![then.clone()])), []);
}

#[test]
fn a_new_column_is_copied_with_a_default_or_without() {
    let add = |now: &mut Fingerprint| {
        now.columns.push(ColumnPrint { version: 800, ..column(3, "b") });
        publish_all(now);
    };
    // Every row has it, as null, and no document says so.
    assert!(differs(after(add)));
    assert!(differs(after(|now| {
        add(now);
        now.columns[2].has_missing = true;
    })));
    // A volatile default rewrites; so does a VACUUM FULL before anybody looked.
    assert!(differs(after(|now| {
        add(now);
        now.filenode = 9;
    })));
}

#[test]
fn what_leaves_old_values_or_names_in_documents_is_copied() {
    assert!(differs(after(|now| {
        now.columns[1].name = "z".into();
        publish_all(now);
    })));
    assert!(differs(after(|now| {
        now.columns.pop();
        publish_all(now);
    })));
    assert!(differs(after(|now| now.columns[1].type_oid = 20)));
    assert!(differs(after(|now| now.primary_key = vec!["a".into()])));
    assert!(differs(after(|now| {
        now.published.as_mut().expect("published").row_filter = Some("(a > 1)".into());
    })));
    assert!(differs(after(|now| now.published.as_mut().expect("published").membership = 6)));
    // varchar(10) to varchar(20): no rewrite, and no text is another.
    assert!(matches!(after(|now| now.columns[1].type_modifier = 24), Some(What::Followed { .. })));
    assert!(matches!(after(|now| now.identity = "f".into()), Some(What::Followed { .. })));
}

#[test]
fn columns_that_are_not_sent_do_not_matter() {
    let hide = |now: &mut Fingerprint| now.columns.push(ColumnPrint { has_missing: true, ..column(3, "hidden") });
    assert_eq!(after(hide), None);
}

#[test]
fn partitions_with_rows_of_their_own_are_copied_and_new_ones_are_not() {
    let member = |oid, born| Member { oid, filenode: oid, since: 700, born };
    let root = |members| Fingerprint { filenode: 0, members, ..table(1, "r") };
    let what = |then, now| compare(&inventory(vec![root(then)]), &inventory(vec![root(now)]));
    let one = || vec![member(10, true)];
    assert_eq!(what(one(), vec![member(10, true), member(11, true)]), []);
    for (now, why) in [
        (vec![member(10, true), member(11, false)], "1 partition was attached"),
        (vec![], "1 partition was detached or dropped"),
        (vec![Member { since: 701, ..member(10, false) }], "1 partition was attached"),
        (vec![Member { filenode: 99, ..member(10, true) }], "1 partition was truncated, or rewritten"),
    ] {
        let changes = what(one(), now);
        assert_eq!(changes[0].what, What::RowsDiffer { why: why.into() });
    }
}

#[test]
fn names_are_followed_and_freed() {
    let kinds = |then: Vec<Fingerprint>, now: Vec<Fingerprint>| {
        compare(&inventory(then), &inventory(now)).iter().map(Change::told).collect::<Vec<_>>()
    };
    assert_eq!(kinds(vec![table(1, "t")], vec![table(1, "u")]), ["table public.t is called public.u now"]);
    assert_eq!(kinds(vec![table(1, "t")], vec![]), ["table public.t is gone, or no longer meant by `tables`"]);
    assert_eq!(kinds(vec![], vec![table(1, "t")]), ["table public.t is new"]);
    assert_eq!(kinds(vec![table(1, "t")], vec![table(2, "t")]), ["table public.t is another one under the same name"]);
    // Two that swapped their names.
    let swapped = kinds(vec![table(1, "t"), table(2, "u")], vec![table(1, "u"), table(2, "t")]);
    assert_eq!(swapped, ["table public.t is called public.u now", "table public.u is called public.t now"]);
}

#[test]
fn alarms_stand_for_what_keeps_changes_from_coming() {
    let expected = Expected { publication: "\"p\"".into(), via_root: true, whole_rows: false, copies: true };
    let codes = |change: &dyn Fn(&mut Fingerprint)| {
        let mut print = table(1, "t");
        change(&mut print);
        inspect(&inventory(vec![print]), &expected).iter().map(|alarm| alarm.code).collect::<Vec<_>>()
    };
    assert_eq!(codes(&|_| ()), []);
    assert_eq!(codes(&|print| print.logged = false), [Code::SourcePublication]);
    assert_eq!(codes(&|print| print.published = None), [Code::SourcePublication]);
    assert_eq!(codes(&|print| print.identity = "n".into()), [Code::SourceIdentity]);
    assert_eq!(codes(&|print| print.identity = "i".into()), [Code::SourceIdentity]);
    assert_eq!(codes(&|print| print.primary_key.clear()), [Code::SourceIdentity]);
    assert_eq!(codes(&|print| print.readable = false), [Code::SourcePrivilege]);
    assert_eq!(codes(&|print| print.hides_rows = true), [Code::SnapshotPartialView]);
    // REPLICA IDENTITY FULL with a column that the publication's list leaves out.
    let list = |print: &mut Fingerprint| {
        print.identity = "f".into();
        print.published.as_mut().expect("published").columns.pop();
    };
    assert_eq!(codes(&list), [Code::SourceIdentity]);
    let gone = Inventory { publication: None, ..inventory(vec![]) };
    assert_eq!(inspect(&gone, &expected).len(), 1);
}
