//! Values and keys that are hard on an index.

use std::sync::Arc;

use walbridge::event::{Scalar, Shape};
use walbridge::sink::Sink;

use super::{apply, keys, open, request, search, sink};
use crate::sinks_rows::{delete, put, table};

/// One column of each kind, with values that an index or JSON cannot hold: each must be in the document, and none may stop
/// the sink.
#[tokio::test]
async fn values_that_fit_no_field_are_in_the_document_all_the_same() {
    let home = tempfile::tempdir().unwrap();
    let scalar = Shape::Scalar;
    let types = table(
        "types",
        &[
            ("id", scalar(Scalar::Integer)),
            ("ratio", scalar(Scalar::Float)),
            ("price", scalar(Scalar::Numeric)),
            ("active", scalar(Scalar::Boolean)),
            ("born", scalar(Scalar::Date)),
            ("seen", scalar(Scalar::TimestampTz)),
            ("data", scalar(Scalar::Json)),
            ("raw", scalar(Scalar::Bytea)),
            ("tags", Shape::Array { element: Scalar::Text, delimiter: b',' }),
            ("_source", Shape::TEXT),
            ("-odd", Shape::TEXT),
        ],
    );
    let mut sink = sink(&home.path().join("index"), &[Arc::clone(&types)]);
    sink.resume().await.unwrap();
    let deep = format!("{}{}", "[".repeat(5000), "]".repeat(5000));
    let long_name = format!("{{\"{}\":\"x\"}}", "k".repeat(100_000));
    let plain = ["9223372036854775807", "1.5", "12.50", "t", "2000-02-29", "2026-11-24 10:00:00.25+00"];
    let nasty = ["-1", "NaN", "Infinity", "f", "infinity", "0044-03-15 10:00:00+00 BC"];
    let mut mutations = Vec::new();
    for (n, (values, json)) in [
        (plain, r#"{"a":{"b":"needle"},"n":1e300,"d":"2026-01-01T00:00:00Z"}"#),
        (nasty, "1e999"),
        (nasty, deep.as_str()),
        (nasty, long_name.as_str()),
        (nasty, "\"scalar\""),
        (nasty, "not json"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut row: Vec<Option<&str>> = values.into_iter().map(Some).collect();
        row.extend([Some(json), Some(r"\x00ff"), Some(r#"{"red apple",NULL,"{}"}"#), Some("mine"), Some("odd")]);
        let n = u64::try_from(n).unwrap() + 1;
        mutations.push(put(n, &types, &format!("k{n}"), &row));
    }
    apply(&mut sink, 6, &mutations).await;
    assert_eq!(keys(&sink, "*").len(), 6);
    for (query, expected) in [
        ("id:9223372036854775807", vec!["k1"]),
        ("ratio:[1 TO 2]", vec!["k1"]),
        ("price:12.5", vec!["k1"]),
        ("active:true", vec!["k1"]),
        ("born:[2000-02-29T00:00:00Z TO 2000-03-01T00:00:00Z}", vec!["k1"]),
        ("seen:[2026-11-24T10:00:00.2Z TO 2026-11-24T10:00:00.3Z]", vec!["k1"]),
        ("data.a.b:needle", vec!["k1"]),
        ("tags:\"red apple\" AND id:[0 TO *}", vec!["k1"]),
    ] {
        assert_eq!(keys(&sink, query), expected, "{query}");
    }
    let hits = search(&sink.search_handle(), "active:true").hits;
    let document: serde_json::Value = serde_json::from_str(hits[0].document.get()).unwrap();
    assert_eq!(document["price"], "12.50");
    assert_eq!(document["_source"], "mine");
    assert_eq!(document["-odd"], "odd");
    assert_eq!(document["raw"], r"\x00ff");
}

#[tokio::test]
async fn tables_that_disagree_about_a_column_make_it_text() {
    let home = tempfile::tempdir().unwrap();
    let one = table("one", &[("id", Shape::Scalar(Scalar::Integer)), ("code", Shape::Scalar(Scalar::Integer))]);
    let two = table("two", &[("id", Shape::Scalar(Scalar::Integer)), ("code", Shape::Scalar(Scalar::Json))]);
    let mut sink = sink(&home.path().join("index"), &[Arc::clone(&one), Arc::clone(&two)]);
    sink.resume().await.unwrap();
    let nested = format!("{}\"x\"{}", "[".repeat(100), "]".repeat(100));
    let mutations = [
        put(1, &one, "a", &[Some("1"), Some("42")]),
        put(2, &two, "b", &[Some("1"), Some(r#"{"q":"forty two"}"#)]),
        put(3, &two, "c", &[Some("1"), Some(&nested)]),
    ];
    apply(&mut sink, 3, &mutations).await;
    assert_eq!(keys(&sink, "code:42"), ["a"]);
    assert_eq!(keys(&sink, "forty"), ["b"]);
}

/// A table without a primary key has the whole row for a key: more than an index term can be.
#[tokio::test]
async fn keys_of_any_length_and_any_bytes_stay_apart() {
    let (_home, mut sink, users) = open().await;
    let long = "k".repeat(100_000);
    let longer = format!("{long}k");
    let keys_in = ["", "\0", "\u{1}", long.as_str(), longer.as_str(), "a b\"c\\\u{7f}", "ключ"];
    for (n, key) in (1..).zip(keys_in) {
        let id = n.to_string();
        apply(&mut sink, n, &[put(n, &users, key, &[Some(&id), None, None])]).await;
    }
    assert_eq!(search(&sink.search_handle(), "*").total, keys_in.len());
    apply(&mut sink, 8, &[delete(8, &long), put(8, &users, "", &[Some("8"), None, None])]).await;
    let mut left = keys_in.to_vec();
    left.retain(|key| *key != long);
    left.sort_unstable();
    assert_eq!(keys(&sink, "*"), left);
    assert_eq!(keys(&sink, "id:8"), [""]);
}

#[tokio::test]
async fn a_value_of_five_megabytes_is_kept_searched_and_carried_over() {
    let (_home, mut sink, users) = open().await;
    let large = format!("{} lastword", "lorem ipsum ".repeat(5 << 20 >> 3));
    apply(&mut sink, 1, &[put(1, &users, "user:1", &[Some("1"), Some("Ada"), Some(&large)])]).await;
    apply(&mut sink, 2, &[put(2, &users, "user:1", &[Some("1"), Some("Eve"), Some("UNCHANGED")])]).await;
    let mut request = request("lastword ipsum");
    request.highlight = true;
    let answer = sink.search_handle().search(&request).unwrap();
    assert_eq!(answer.total, 1);
    assert_eq!(answer.hits[0].document.get(), format!(r#"{{"id":1,"name":"Eve","bio":"{large}"}}"#));
    assert!(answer.hits[0].highlights["bio"].contains("<b>ipsum</b>"));
}
