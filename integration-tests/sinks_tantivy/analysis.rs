//! How text becomes terms: by language, as keywords, as beginnings of words; and an index that was made with other analyzers.

use std::path::Path;
use std::sync::Arc;

use walbridge::event::{Relation, Scalar, Shape};
use walbridge::sink::tantivy::{Analysis, Analyzer, TantivySink};
use walbridge::sink::{Sink, SinkError};

use super::{apply, keys, options, request};
use crate::sinks_rows::{put, table};

fn analyzer(name: &str) -> Analyzer {
    Analyzer::new(name, None, false).unwrap()
}

/// `products (id, title, sku, details jsonb)`.
fn products() -> Arc<Relation> {
    let id = ("id", Shape::Scalar(Scalar::Integer));
    let details = ("details", Shape::Scalar(Scalar::Json));
    table("products", &[id, ("title", Shape::TEXT), ("sku", Shape::TEXT), details])
}

fn with(path: &Path, usual: Analyzer, columns: &[(&str, Analyzer)]) -> Result<TantivySink, SinkError> {
    let columns = columns.iter().map(|(name, analyzer)| ((*name).to_owned(), *analyzer)).collect();
    let mut options = options(path, &[products()]);
    options.analysis = Analysis { usual, columns, facets: Vec::new() };
    TantivySink::new(options)
}

#[tokio::test]
async fn words_are_found_by_their_stems_keywords_as_they_are_and_names_while_they_are_typed() {
    let home = tempfile::tempdir().unwrap();
    let columns = [("sku", analyzer("keyword")), ("details", analyzer("english"))];
    let mut sink = with(&home.path().join("german"), analyzer("german"), &columns).unwrap();
    sink.resume().await.unwrap();
    let products = products();
    let row = [Some("1"), Some("Die H\u{e4}user am Meer"), Some("AB-12 red"), Some(r#"{"colour": "darkened woods"}"#)];
    apply(&mut sink, 1, &[put(1, &products, "p:1", &row)]).await;
    for (query, is_found) in [
        ("haus", true),
        ("H\u{c4}USER", true),
        ("die", false),
        ("sku:\"AB-12 red\"", true),
        ("sku:AB", false),
        ("details.colour:darken", true),
        ("details.colour:wood", true),
    ] {
        assert_eq!(keys(&sink, query), if is_found { vec!["p:1"] } else { vec![] }, "{query}");
    }

    let mut sink = with(&home.path().join("typed"), Analyzer::WORDS, &[("title", analyzer("prefix"))]).unwrap();
    sink.resume().await.unwrap();
    apply(&mut sink, 1, &[put(1, &products, "p:1", &[Some("1"), Some("Zo\u{eb} Lovelace"), None, None])]).await;
    for (query, is_found) in
        [("zo", true), ("zo\u{eb}", true), ("\"zo\u{eb} lov\"", true), ("lovelaces", false), ("ovel", false)]
    {
        assert_eq!(keys(&sink, query), if is_found { vec!["p:1"] } else { vec![] }, "{query}");
    }
    let mut asked = request("love");
    asked.highlight = true;
    let answer = serde_json::to_value(sink.search_handle().search(&asked).unwrap()).unwrap();
    assert_eq!(answer["hits"][0]["highlights"]["title"], "Zo\u{eb} <b>Love</b>lace");
}

/// Terms of two analyzers in one index would each be found by half of the searches.
#[tokio::test]
async fn an_index_made_with_another_analyzer_is_not_mixed_but_asks_for_its_rebuilding() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("index");
    let columns = [("title", analyzer("german"))];
    let mut first = with(&path, Analyzer::WORDS, &columns).unwrap();
    first.resume().await.unwrap();
    apply(&mut first, 1, &[put(1, &products(), "p:1", &[Some("1"), Some("H\u{e4}user"), None, None])]).await;
    drop(first);
    let folded = Analyzer::new("german", None, true).unwrap();
    for (usual, columns) in [
        (Analyzer::WORDS, vec![]),
        (Analyzer::WORDS, vec![("title", analyzer("english"))]),
        (Analyzer::WORDS, vec![("title", folded)]),
        (analyzer("german"), vec![]),
    ] {
        // With the tables known, as while it is being made, and without, as at each later start.
        for is_known in [true, false] {
            let mut options = options(&path, if is_known { vec![products()] } else { vec![] }.as_slice());
            let columns = columns.iter().map(|(name, analyzer)| ((*name).to_owned(), *analyzer)).collect();
            options.analysis = Analysis { usual, columns, facets: Vec::new() };
            let error = TantivySink::new(options).unwrap().resume().await.unwrap_err().to_string();
            assert!(error.contains("column `") && error.contains("(`"), "{error}");
            assert!(error.contains("walbridge rebuild search"), "{error}");
        }
    }
    let mut same = with(&path, Analyzer::WORDS, &columns).unwrap();
    same.resume().await.unwrap();
    assert_eq!(keys(&same, "haus"), ["p:1"]);
}

#[test]
fn an_analyzer_or_a_facet_for_what_has_no_text_is_refused_at_once() {
    for (columns, facets, expected) in [
        (vec![("titel", analyzer("german"))], vec![], "`titel`"),
        (vec![("id", analyzer("german"))], vec![], "has no text"),
        (vec![], vec!["colour"], "`colour`"),
        (vec![], vec!["details"], "JSON"),
    ] {
        let mut options = options(Path::new("index"), &[products()]);
        let columns = columns.into_iter().map(|(name, analyzer): (&str, _)| (name.to_owned(), analyzer)).collect();
        options.analysis =
            Analysis { usual: Analyzer::WORDS, columns, facets: facets.into_iter().map(str::to_owned).collect() };
        let error = TantivySink::new(options).err().expect("refused").to_string();
        assert!(error.contains(expected) && error.contains("Correct"), "{error}");
    }
}
