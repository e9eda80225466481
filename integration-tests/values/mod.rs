//! Values of every type: from the server's two forms to text, from snapshot and stream to JSON, and back.

mod cases;
mod database;
mod edges;
mod encodings;
mod large;
mod mid_stream;
mod rendered;
mod round_trip;
mod toast;

use crate::support::Postgres;

/// A seed: another in each run, unless `TEST_SEED` gives one again.
pub(crate) fn seed() -> f64 {
    let given = std::env::var("TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        f64::from(clock.subsec_nanos() % 1_000_000) / 1e6
    });
    eprintln!("TEST_SEED={seed}");
    seed
}

/// What our connections pin (`postgres::connection`), and the seed.
fn session(seed: f64) -> String {
    format!(
        "SET datestyle = 'ISO, YMD'; SET timezone = 'UTC'; SET extra_float_digits = 3; SET bytea_output = 'hex'; \
         SET intervalstyle = 'postgres'; SET client_encoding = 'UTF8'; SET lc_monetary = 'C'; \
         DO $$ BEGIN PERFORM setseed({seed}); END $$;\n"
    )
}

/// The generator's functions and the types of users.
fn install(postgres: &Postgres) {
    postgres.psql(include_str!("generate.sql"));
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).expect("a hex digit");
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0]) << 4 | digit(pair[1])).expect("two digits");
    text.as_bytes().chunks(2).map(byte).collect()
}

/// Every sink has what the log has, whatever the state is called.
pub(super) async fn caught_up_with_alarm(walbridge: &mut crate::support::Walbridge, postgres: &Postgres) {
    let end = postgres.end_of_wal();
    let reached = |status: &serde_json::Value| {
        let durable = status["sources"]["shop"]["durable_lsn"].as_str().and_then(|lsn| lsn.parse().ok());
        let mut sinks = status["sinks"].as_object().into_iter().flatten();
        durable.is_some_and(|durable: walbridge::event::Lsn| durable >= end)
            && sinks.all(|(_, sink)| sink["lag_events"] == 0)
    };
    walbridge.wait_for(crate::shop::PATIENCE, reached).await;
}
