//! The server's clock is stepped, back and forth, while walbridge streams: nothing is ordered by it, and no lag comes out absurd.

use serde_json::Value;

use crate::pipeline::caught_up;
use crate::shop::Shop;
use crate::support::PgOptions;

/// Everything that tells of a time difference, in the status and in the metrics.
async fn lags(shop: &Shop) -> Vec<(String, f64)> {
    let metrics = shop.walbridge.get("/metrics").await.expect("the metrics");
    // NaN where nothing was verified, by its own help.
    let is_lag = |line: &&str| line.contains("_seconds") && !line.contains("_verified_age_") && !line.starts_with('#');
    let told = metrics.lines().filter(is_lag);
    let mut lags: Vec<(String, f64)> = told
        .filter_map(|line| line.rsplit_once(' '))
        .map(|(name, value)| (name.to_owned(), value.parse().expect("a number")))
        .collect();
    let status = shop.walbridge.status().await;
    let lag = &status["sinks"]["cache"]["lag_seconds"];
    lags.push(("status".to_owned(), lag.as_f64().unwrap_or(f64::NAN)));
    lags
}

/// Scenario 84. Commit times that go back by an hour, and on by a day.
#[tokio::test(flavor = "multi_thread")]
async fn commit_times_that_go_back_change_no_order_and_make_no_lag_negative() {
    let mut shop = Shop::open(PgOptions { clock: true, ..PgOptions::default() }, "").await;
    for (round, seconds) in [0, -3600, 86_400, -7200, 0].into_iter().enumerate() {
        shop.postgres.set_clock(seconds);
        let sql = "SELECT abs(extract(epoch FROM clock_timestamp()) - {now} - {seconds}) < 60";
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
        let sql = sql.replace("{now}", &now.to_string()).replace("{seconds}", &seconds.to_string());
        assert_eq!(shop.postgres.psql(&sql), "t", "the server's clock is stepped");
        // A sink that is held up has a lag by the clock of the source.
        shop.redis.freeze();
        for n in 0..20 {
            shop.postgres.psql(&format!("UPDATE t SET n = {} WHERE id <= 20", round * 100 + n));
        }
        shop.until(|source| source["events"].as_u64() >= Some(500 + 400 * (round as u64 + 1))).await;
        let lags = lags(&shop).await;
        assert!(lags.iter().all(|(_, lag)| lag.is_finite() && *lag >= 0.0), "clock {seconds}: {lags:?}");
        shop.redis.thaw();
        caught_up(&mut shop.walbridge, &shop.postgres).await;
        shop.same().await;
    }
    let dump = shop.walbridge.run(&["log", "dump", "--json"]);
    let numbers: Vec<i64> = String::from_utf8_lossy(&dump.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|event| event["op"] == "update" && event["key"]["id"] == 7)
        .map(|event| event["after"]["n"].as_i64().expect("a number"))
        .collect();
    assert!(numbers.len() == 100 && numbers.is_sorted(), "{numbers:?}");
}
