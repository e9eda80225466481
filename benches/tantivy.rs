//! From a filled log into a search index, beside a bare index writer that is given the same documents.
//!
//! The bare writer has them ready in memory, has as much memory as ours, one indexing thread as ours, the same fields, and commits once, at the
//! end. Ours reads the log, makes documents of rows, sees to it that each key has one document, and commits every batch with its checkpoint.

use std::path::Path;
use std::time::Instant;

use tantivy::indexer::IndexWriterOptions;
use tantivy::tokenizer::{LowerCaser, RemoveLongFilter, SimpleTokenizer, TextAnalyzer};
use tantivy::{DateTime, Index, TantivyDocument};
use walbridge::config::BatchLimits;
use walbridge::event::Offset;
use walbridge::log::embedded;
use walbridge::sink::tantivy::{Analysis, MEMORY_BYTES_DEFAULT, Options, SearchRequest, TantivySink};

use crate::meter::{median, setting};
use crate::replay::{ROUNDS, deliver, fill, relation};

const WORDS_PER_TEXT: u32 = 15;
const WORDS: u32 = 20_000;

/// Prints its figures, one a line.
pub(crate) fn run() {
    let rows = setting("BENCH_ROWS", 300_000);
    let directory = tempfile::Builder::new().prefix("walbridge-tantivy-").tempdir().expect("a temporary directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let log = runtime.block_on(async {
        let path = directory.path().join("log");
        let (mut writer, log, _) = embedded::open(&path, embedded::Options::default()).expect("a new log");
        fill(&mut writer, rows, text).await;
        log
    });
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let path = directory.path().join(format!("ours-{round}"));
        let sink = TantivySink::new(options(&path)).expect("a sink");
        let search = sink.search_handle();
        let started = Instant::now();
        runtime.block_on(deliver(
            log.clone(),
            directory.path(),
            Offset(u64::from(rows)),
            sink,
            BatchLimits::OF_TANTIVY,
        ));
        ours.push(f64::from(rows) / started.elapsed().as_secs_f64());
        let found = search.search(&SearchRequest::new("*")).expect("an answer").total;
        assert_eq!(u32::try_from(found).ok(), Some(rows), "every row is found");
        let rate = write_bare(&path, &directory.path().join(format!("bare-{round}")), rows);
        bare.push(rate);
    }
    let (ours, bare) = (median(ours), median(bare));
    println!("tantivy walbridge rows/s {ours:.0}");
    println!("tantivy bare writer rows/s {bare:.0}");
    println!("tantivy ratio {:.2}", ours / bare);
}

fn options(path: &Path) -> Options {
    Options {
        name: "bench".to_owned(),
        path: path.to_owned(),
        fields: None,
        analysis: Analysis::default(),
        relations: vec![relation()],
        memory_bytes: MEMORY_BYTES_DEFAULT,
    }
}

/// About 100 characters of words, some of them frequent.
fn text(id: u32) -> String {
    let word = |place: u32| {
        let mixed = (id * WORDS_PER_TEXT + place).wrapping_mul(2_654_435_761) >> 8;
        // The lower half of all numbers is drawn as often as the rest.
        let number = if place.is_multiple_of(2) { mixed % WORDS } else { mixed % 100 };
        format!("w{number:05}")
    };
    (0..WORDS_PER_TEXT).map(word).collect::<Vec<_>>().join(" ")
}

/// Documents with the fields of the index at `like` into a new one; rows per second.
fn write_bare(like: &Path, path: &Path, rows: u32) -> f64 {
    let schema = Index::open_in_dir(like).expect("our index").schema();
    std::fs::create_dir(path).expect("a directory");
    let index = Index::create_in_dir(path, schema.clone()).expect("a new index");
    let words =
        TextAnalyzer::builder(SimpleTokenizer::default()).filter(RemoveLongFilter::limit(256)).filter(LowerCaser);
    index.tokenizers().register("walbridge", words.build());
    let field = |name: &str| schema.get_field(name).expect("a field of ours");
    let [id, key, source, table] = ["_id", "_key", "_source", "_table"].map(field);
    let [row_id, k, v, ts] = ["id", "k", "v", "ts"].map(field);
    let time = DateTime::from_timestamp_micros(1_795_514_400_123_456);
    let documents: Vec<TantivyDocument> = (1..=rows)
        .map(|number| {
            let text = text(number);
            let mut document = TantivyDocument::default();
            document.add_bytes(id, format!("\0public.narrow:{number}").as_bytes());
            document.add_bytes(key, format!("public.narrow:{number}").as_bytes());
            document.add_text(table, "public.narrow");
            document.add_i64(row_id, i64::from(number));
            document.add_i64(k, i64::from(number % 1_000));
            document.add_text(v, &text);
            document.add_date(ts, time);
            let whole = format!(
                "{{\"id\":{number},\"k\":{},\"v\":\"{text}\",\"ts\":\"2026-11-24T10:00:00.123456Z\"}}",
                number % 1_000
            );
            document.add_text(source, whole);
            document
        })
        .collect();
    let options = IndexWriterOptions::builder()
        .num_worker_threads(1)
        .num_merge_threads(1)
        .memory_budget_per_thread(MEMORY_BYTES_DEFAULT)
        .build();
    let mut writer = index.writer_with_options(options).expect("a writer");
    let started = Instant::now();
    for document in documents {
        writer.add_document(document).expect("it takes it");
    }
    writer.commit().expect("a commit");
    let rate = f64::from(rows) / started.elapsed().as_secs_f64();
    writer.wait_merging_threads().expect("merged");
    rate
}
