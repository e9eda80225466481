//! Searches over what is no text: ranges, filters, orders and counts; and what keeps a search from harming anybody.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use walbridge::event::{Relation, Scalar, Shape};
use walbridge::sink::Sink;
use walbridge::sink::tantivy::{Analysis, Analyzer, SearchError, SearchRequest, Sort, TantivySink};

use super::{apply, keys, options, request, search};
use crate::sinks_rows::{put, table};

fn products() -> Arc<Relation> {
    table(
        "products",
        &[
            ("id", Shape::Scalar(Scalar::Integer)),
            ("title", Shape::TEXT),
            ("brand", Shape::TEXT),
            ("price", Shape::Scalar(Scalar::Numeric)),
            ("made", Shape::Scalar(Scalar::Date)),
            ("sold", Shape::Scalar(Scalar::Boolean)),
        ],
    )
}

/// Five products, committed in two segments, the second of which has none with a brand.
async fn shop() -> (TempDir, TantivySink) {
    let home = tempfile::tempdir().unwrap();
    let products = products();
    let brand = ("brand".to_owned(), Analyzer::new("keyword", None, false).unwrap());
    let mut options = options(&home.path().join("index"), &[Arc::clone(&products)]);
    options.analysis = Analysis { usual: Analyzer::WORDS, columns: [brand].into(), facets: vec!["brand".to_owned()] };
    let mut sink = TantivySink::new(options).unwrap();
    sink.resume().await.unwrap();
    let rows: [[Option<&str>; 6]; 5] = [
        [Some("1"), Some("red shoe"), Some("Acme"), Some("10.50"), Some("2026-01-31"), Some("t")],
        [Some("2"), Some("red red hat"), Some("Zeta & Sons"), Some("9"), Some("2026-02-01"), Some("f")],
        [Some("3"), Some("blue shoe"), Some("Acme"), Some("100"), Some("2025-12-24"), Some("f")],
        [Some("4"), Some("red scarf"), None, None, None, None],
        [Some("5"), Some("green shoe"), None, Some("-1"), Some("2026-02-14"), Some("t")],
    ];
    let put = |(n, row): (u64, &[Option<&str>; 6])| put(n, &products, row[0].unwrap(), row);
    let all: Vec<_> = (1..).zip(&rows).map(put).collect();
    apply(&mut sink, 3, &all[..3]).await;
    apply(&mut sink, 5, &all[3..]).await;
    (home, sink)
}

fn ordered(sink: &TantivySink, request: &SearchRequest) -> Vec<String> {
    sink.search_handle().search(request).unwrap().hits.into_iter().map(|hit| hit.key).collect()
}

#[tokio::test]
async fn ranges_and_filters_choose_and_an_order_sorts_with_what_has_no_value_last() {
    let (_home, sink) = shop().await;
    for (query, expected) in [
        ("price:[9 TO 10.5]", &["1", "2"][..]),
        ("price:{9 TO *}", &["1", "3"]),
        ("price:<0", &["5"]),
        ("made:[2026-01-31T00:00:00Z TO 2026-02-01T00:00:00Z]", &["1", "2"]),
        ("made:>=2026-02-01T00:00:00Z", &["2", "5"]),
        ("sold:true", &["1", "5"]),
        ("brand:\"Zeta & Sons\"", &["2"]),
        ("brand:IN [Acme Other]", &["1", "3"]),
        ("brand:zeta", &[]),
        ("_table:\"public.products\"", &["1", "2", "3", "4", "5"]),
    ] {
        assert_eq!(keys(&sink, query), expected, "{query}");
    }
    for (column, is_descending, expected) in [
        ("price", false, ["5", "2", "1", "3", "4"]),
        ("price", true, ["3", "1", "2", "5", "4"]),
        ("made", false, ["3", "1", "2", "5", "4"]),
        ("id", true, ["5", "4", "3", "2", "1"]),
    ] {
        let sort = Some(Sort { column: column.to_owned(), is_descending });
        assert_eq!(ordered(&sink, &SearchRequest { sort, ..request("*") }), expected, "{column} {is_descending}");
    }
    let sort = |column: &str| Some(Sort { column: column.to_owned(), is_descending: true });
    let by_brand = ordered(&sink, &SearchRequest { sort: sort("brand"), ..request("*") });
    assert_eq!((by_brand[0].as_str(), by_brand.len()), ("2", 5));
    let sold = ordered(&sink, &SearchRequest { sort: sort("sold"), ..request("sold:true sold:false") });
    assert_eq!(sold.len(), 4);
    let page = SearchRequest { sort: sort("price"), limit: 2, offset: 1, ..request("*") };
    assert_eq!(ordered(&sink, &page), ["1", "2"]);

    // What a filter asks for says nothing about how well a document matches.
    let handle = sink.search_handle();
    let plain = search(&handle, "red");
    let filters = vec!["price:[0 TO 50]".to_owned(), "brand:Acme brand:\"Zeta & Sons\"".to_owned()];
    let filtered = handle.search(&SearchRequest { filters, ..request("red") }).unwrap();
    let scores = |answer: &walbridge::sink::tantivy::SearchAnswer| -> Vec<(String, Option<f32>)> {
        let hits = answer.hits.iter().filter(|hit| hit.key != "4");
        hits.map(|hit| (hit.key.clone(), hit.score)).collect()
    };
    assert_eq!((plain.total, filtered.total), (3, 2));
    assert_eq!(scores(&filtered), scores(&plain));
    assert_eq!(filtered.hits[0].table.as_deref(), Some("public.products"));
}

#[tokio::test]
async fn all_that_matches_is_counted_by_the_values_of_columns() {
    let (_home, mut sink) = shop().await;
    let facets = |q: &str, names: &[&str], facet_limit| {
        let facets = names.iter().map(|name| (*name).to_owned()).collect();
        let asked = SearchRequest { facets, facet_limit, limit: 0, ..request(q) };
        let answer = sink.search_handle().search(&asked).unwrap();
        assert!(answer.hits.is_empty());
        serde_json::to_value(answer.facets).unwrap()
    };
    let counts = |facet: &Value| -> Vec<Value> {
        let values = facet["values"].as_array().unwrap().iter();
        values.map(|value| json!([value["value"], value["count"]])).collect()
    };
    let all = facets("*", &["brand", "sold", "made", "price", "_table"], 10);
    assert_eq!(counts(&all["brand"]), [json!(["Acme", 2]), json!(["Zeta & Sons", 1])]);
    let mut sold = counts(&all["sold"]);
    sold.sort_by_key(ToString::to_string);
    assert_eq!(sold, [json!([false, 2]), json!([true, 2])]);
    assert!(counts(&all["made"]).contains(&json!(["2026-01-31T00:00:00Z", 1])), "{}", all["made"]);
    assert!(counts(&all["price"]).contains(&json!([10.5, 1])), "{}", all["price"]);
    assert_eq!(counts(&all["_table"]), [json!(["public.products", 5])]);
    let first = facets("*", &["brand"], 1);
    assert_eq!(first["brand"], json!({ "values": [{ "value": "Acme", "count": 2 }], "other": 1, "error": 0 }));
    assert_eq!(counts(&facets("shoe", &["brand"], 10)["brand"]), [json!(["Acme", 2])]);

    // A row that is gone is not counted, nor one that has another value now.
    let changed = [Some("1"), Some("red shoe"), Some("Zeta & Sons"), Some("1"), None, None];
    apply(&mut sink, 7, &[crate::sinks_rows::delete(6, "3"), put(7, &products(), "1", &changed)]).await;
    let asked = SearchRequest { facets: vec!["brand".to_owned()], ..request("*") };
    let answer = serde_json::to_value(sink.search_handle().search(&asked).unwrap().facets).unwrap();
    assert_eq!(counts(&answer["brand"]), [json!(["Zeta & Sons", 2])]);
}

#[tokio::test]
async fn a_word_with_a_letter_wrong_is_found_where_that_is_asked_for() {
    let (_home, sink) = shop().await;
    assert_eq!(keys(&sink, "scrafs"), [""; 0]);
    for (word, fuzzy, expected) in
        [("scrafs", 1, &[][..]), ("scrafs", 2, &["4"]), ("shoo", 1, &["1", "3", "5"]), ("title:grene", 1, &["5"])]
    {
        let mut found = ordered(&sink, &SearchRequest { fuzzy, ..request(word) });
        found.sort();
        assert_eq!(found, expected, "{word} {fuzzy}");
    }
}

#[tokio::test]
async fn a_search_that_asks_for_too_much_or_takes_too_long_gets_no_answer() {
    let (_home, sink) = shop().await;
    let handle = sink.search_handle();
    let refused = |request: SearchRequest| handle.search(&request).unwrap_err().to_string();
    let facets = |name: &str| SearchRequest { facets: vec![name.to_owned()], ..request("*") };
    assert!(refused(facets("title")).contains("`facets`"), "{}", refused(facets("title")));
    assert!(refused(facets("title")).contains("brand, id, made, price, sold"), "{}", refused(facets("title")));
    assert!(refused(facets("brnad")).contains("did you mean `brand`?"));
    assert!(refused(SearchRequest { facet_limit: 1001, ..request("*") }).contains("1000"));
    assert!(refused(SearchRequest { facets: vec!["id".to_owned(); 9], ..request("*") }).contains('8'));
    assert!(refused(SearchRequest { filters: vec!["*".to_owned(); 17], ..request("*") }).contains("16"));
    assert!(refused(SearchRequest { fuzzy: 3, ..request("*") }).contains("at most 2"));
    let filters = vec!["red".to_owned(), "price:[1 TO".to_owned()];
    let error = refused(SearchRequest { filters, ..request("*") });
    assert!(error.starts_with("filter 2 cannot be read at character"), "{error}");
    let sort = Some(Sort { column: "title".to_owned(), is_descending: false });
    assert!(refused(SearchRequest { sort, ..request("*") }).contains("brand, id, made"));

    for asked in [request("*"), facets("brand"), SearchRequest { limit: 0, ..request("red") }] {
        let cut = handle.search_within(&asked, Duration::ZERO).unwrap_err();
        assert!(matches!(cut, SearchError::TooSlow { .. }), "{cut}");
    }
    assert_eq!(search(&handle, "*").total, 5, "the next is as ever");
}
