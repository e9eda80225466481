//! A backlog that came while walbridge was away.
//!
//! `BACKLOG_TRANSACTIONS=3000000` makes a long run of it.

use crate::shop::{PATIENCE, Shop};
use crate::support::{PgOptions, process};

/// Scenario 18. What has piled up is worked off in bounded memory; what is told of the lag falls from look to look, and versions of a
/// row arrive in their order.
#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_worked_off_in_order_and_in_bounded_memory_with_a_lag_that_falls() {
    let transactions: u64 =
        std::env::var("BACKLOG_TRANSACTIONS").map_or(40_000, |text| text.parse().expect("a number"));
    let mut shop = Shop::open(PgOptions::default(), "").await;
    assert_eq!(shop.walbridge.sigterm(), Some(0));
    shop.postgres.psql(&format!(
        "DO $$ BEGIN FOR i IN 1..{transactions} LOOP
             UPDATE t SET n = n + 1 WHERE id = 1 + i % 500; PERFORM pg_logical_emit_message(true, 'filler', repeat('f', 1000)); COMMIT;
         END LOOP; END $$"
    ));
    let end = shop.postgres.end_of_wal();
    shop.walbridge.configure(&with_history(&shop));
    shop.walbridge.go_on();
    let pid = shop.walbridge.pid().expect("it runs");
    let (mut lags, mut memory) = (Vec::new(), 0);
    shop.walbridge.status().await;
    let before = process::memory(pid);
    let caught_up = |status: &serde_json::Value| {
        let durable = status["sources"]["shop"]["durable_lsn"].as_str().and_then(|lsn| lsn.parse().ok());
        let sinks = ["cache", "history"].iter().all(|name| status["sinks"][*name]["lag_events"] == 0);
        sinks && durable.is_some_and(|durable: walbridge::event::Lsn| durable >= end)
    };
    let started = std::time::Instant::now();
    loop {
        let status = shop.walbridge.status().await;
        let source = &status["sources"]["shop"];
        if source["state"] != "starting" {
            lags.push(source["lag_bytes"].as_u64().expect("a lag"));
        }
        memory = memory.max(process::memory(pid));
        if caught_up(&status) {
            break;
        }
        assert!(started.elapsed() < PATIENCE * 4, "{status:#}");
    }
    println!(
        "{transactions} transactions in {:.1?}, {} MiB, {} MiB before",
        started.elapsed(),
        memory >> 20,
        before >> 20
    );
    assert!(memory < before + (128 << 20), "{} MiB, {} MiB before", memory >> 20, before >> 20);
    let rose = lags.windows(2).filter(|pair| pair[1] > pair[0]).count();
    assert!(lags.first() > lags.last() && rose * 5 <= lags.len(), "{lags:?}");
    shop.same().await;
    in_order(&shop, transactions);
}

/// A file beside the cache, which has every version.
fn with_history(shop: &Shop) -> String {
    let text = std::fs::read_to_string(shop.walbridge.config_path()).expect("the configuration");
    format!("{text}\n[sinks.history]\nkind = \"file\"\npath = \"history.jsonl\"\nfrom = \"public.*\"\n")
}

fn in_order(shop: &Shop, transactions: u64) {
    let text = std::fs::read_to_string(shop.walbridge.directory().join("history.jsonl")).expect("the file");
    let mut versions = std::collections::HashMap::new();
    let mut updates = 0;
    for line in text.lines() {
        let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
        if event["op"] != "update" {
            continue;
        }
        updates += 1;
        let (id, n) = (event["key"]["id"].as_i64(), event["after"]["n"].as_i64().expect("a number"));
        let before = versions.insert(id, n).unwrap_or(0);
        assert_eq!(n, before + 1, "row {id:?}");
    }
    assert_eq!(updates, transactions);
}
