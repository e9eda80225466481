//! Searches: what is found, what is shown of it, and what a bad query is told.

use std::path::Path;

use walbridge::sink::tantivy::{SearchError, SearchRequest, TantivySink};

use super::{apply, keys, open, options, request, search};
use crate::sinks_rows::put;

#[tokio::test]
async fn words_phrases_and_columns_are_found_and_highlighted() {
    let (_home, mut sink, users) = open().await;
    assert!(matches!(
        TantivySink::new(options(Path::new("x"), &[])).unwrap().search_handle().search(&request("a")),
        Err(SearchError::NotReady)
    ));
    let hash = "f".repeat(64);
    let mutations = [
        put(1, &users, "user:1", &[Some("1"), Some("Ada Lovelace"), Some("wrote <i>notes</i> & programs")]),
        put(2, &users, "user:2", &[Some("2"), Some("Grace Hopper"), Some("wrote a compiler")]),
        put(3, &users, "user:3", &[Some("3"), Some("Zoë"), Some(&hash)]),
    ];
    apply(&mut sink, 3, &mutations).await;
    for (query, expected) in [
        ("wrote", vec!["user:1", "user:2"]),
        ("LOVELACE compiler", vec!["user:1", "user:2"]),
        ("\"ada lovelace\"", vec!["user:1"]),
        ("\"lovelace ada\"", vec![]),
        ("name:wrote", vec![]),
        ("+wrote -compiler", vec!["user:1"]),
        ("id:[2 TO 3]", vec!["user:2", "user:3"]),
        ("zoë", vec!["user:3"]),
        (hash.as_str(), vec!["user:3"]),
    ] {
        assert_eq!(keys(&sink, query), expected, "{query}");
    }
    let handle = sink.search_handle();
    let mut asked = request("notes ada");
    asked.highlight = true;
    let answer = handle.search(&asked).unwrap();
    let json: serde_json::Value = serde_json::to_value(&answer).unwrap();
    assert_eq!(json["hits"][0]["highlights"]["name"], "<b>Ada</b> Lovelace");
    assert_eq!(json["hits"][0]["highlights"]["bio"], "wrote &lt;i&gt;<b>notes</b>&lt;/i&gt; &amp; programs");
    assert_eq!(json["hits"][0]["document"]["name"], "Ada Lovelace");
    assert!(json["took_ms"].is_u64());

    let only_name = SearchRequest { fields: Some(vec!["name".to_owned()]), ..request("wrote") };
    assert_eq!(handle.search(&only_name).unwrap().total, 0);
    let page = SearchRequest { limit: 1, offset: 1, ..request("wrote") };
    let page = handle.search(&page).unwrap();
    assert_eq!((page.total, page.hits.len()), (2, 1));
    let count = SearchRequest { limit: 0, ..request("wrote") };
    assert_eq!(handle.search(&count).unwrap().total, 2);
}

#[tokio::test]
async fn a_query_that_cannot_be_read_says_where_and_what_to_do() {
    let (_home, sink, _users) = open().await;
    let handle = sink.search_handle();
    let error = |q: &str| match handle.search(&request(q)) {
        Ok(answer) => panic!("{q} found {}", answer.total),
        Err(error) => error.to_string(),
    };
    assert!(error("nmae:ada").contains("did you mean `name`?"), "{}", error("nmae:ada"));
    assert!(error("nmae:ada").contains("bio, id, name"), "{}", error("nmae:ada"));
    assert!(error("_source:x").contains("no column `_source`"), "{}", error("_source:x"));
    assert!(error("ada AND (").contains("at character 1"), "{}", error("ada AND ("));
    assert!(error("name:").contains("its end"), "{}", error("name:"));
    assert!(error("\u{1F600} name:[a TO").contains("at character"), "{}", error("\u{1F600} name:[a TO"));
    assert!(error("id:abc").contains("value of its type"), "{}", error("id:abc"));
    assert!(error("-ada").contains("what not to find"), "{}", error("-ada"));
    assert!(error("  ").contains("empty"));
    assert!(error(&"(".repeat(1000)).contains("nested"));
    assert!(error(&"a ".repeat(10_000)).contains("bytes"));
    let nested = format!("{}ada{}", "(".repeat(16), ")".repeat(16));
    assert_eq!(search(&handle, &nested).total, 0);
    assert!(handle.search(&SearchRequest { limit: 1001, ..request("a") }).is_err());
    assert!(handle.search(&SearchRequest { offset: 10_000, ..request("a") }).is_err());
    let unknown = SearchRequest { fields: Some(vec!["nam".to_owned()]), ..request("a") };
    assert!(handle.search(&unknown).unwrap_err().to_string().contains("`name`"));
}
