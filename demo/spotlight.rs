//! One UPDATE after another, followed with a stopwatch into the cache and into the search index.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use serde_json::Value;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use crate::network::sinks::SinkPlan;

/// Words that nobody else in the network uses, so that a search finds one person.
const WORDS: [&str; 16] = [
    "Lighthouses",
    "Marmalade",
    "Accordions",
    "Glaciers",
    "Telescopes",
    "Origami",
    "Lanterns",
    "Sundials",
    "Kites",
    "Compasses",
    "Mosaics",
    "Tramways",
    "Orchards",
    "Windmills",
    "Fjords",
    "Typewriters",
];
/// Long enough that the eye can follow.
const REST: Duration = Duration::from_millis(2_500);
/// Not seen by then: said so, and on to the next.
const PATIENCE: Duration = Duration::from_secs(4);

/// One change on its way, as far as it has been seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sighting {
    /// The statement.
    pub(crate) sql: String,
    /// The cache's key.
    pub(crate) key: String,
    /// What was cached before.
    pub(crate) before: String,
    /// What is cached now.
    pub(crate) after: String,
    /// From the commit to the cache.
    pub(crate) cached_after: Option<Duration>,
    /// What was searched for.
    pub(crate) query: String,
    /// The answers before and after.
    pub(crate) answers: (Option<String>, Option<String>),
    /// From the commit to the index.
    pub(crate) found_after: Option<Duration>,
}

/// Where to look.
pub(crate) struct Spotlight {
    /// Writes the rows.
    pub(crate) client: Client,
    /// The cache.
    pub(crate) cache: MultiplexedConnection,
    /// The sink that caches `public.users`.
    pub(crate) cache_sink: Option<SinkPlan>,
    /// `http://…/search/SINK` of the sink that indexes them.
    pub(crate) search_url: Option<String>,
    /// Asks there.
    pub(crate) http: reqwest::Client,
    /// What is shown.
    pub(crate) shown: Arc<Mutex<Sighting>>,
}

impl Spotlight {
    /// Goes on until told to stop.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        for word in WORDS.iter().cycle() {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = async { self.follow(word).await; tokio::time::sleep(REST).await; } => {}
            }
        }
    }

    async fn follow(&mut self, word: &str) {
        let person = "SELECT id, name FROM users ORDER BY random() LIMIT 1";
        let Ok(person) = self.client.query_one(person, &[]).await else { return };
        let (id, name) = (person.get::<_, i64>(0), person.get::<_, String>(1));
        let headline = format!("Collects {}", word.to_lowercase());
        let key = self.cache_sink.as_ref().map(|sink| sink.key.replace("{id}", &id.to_string())).unwrap_or_default();
        let query = word.to_lowercase();
        // Until the existing rows have arrived there is nothing to see changing.
        let Some(before) = self.cached(&key).await.or(self.cache_sink.is_none().then(String::new)) else { return };
        let answer_before = self.search(&query).await.first().cloned();
        let sql = format!("UPDATE users SET headline = '{headline}' WHERE id = {id};");
        let sighting =
            Sighting { sql: sql.clone(), key: key.clone(), before, query: query.clone(), ..Sighting::default() };
        self.show(|shown| *shown = Sighting { answers: (answer_before, None), ..sighting });
        if self.client.batch_execute(&sql).await.is_err() {
            return;
        }
        let committed = Instant::now();
        self.watch_cache(&key, &headline, committed).await;
        self.watch_search(&query, &name, committed).await;
    }

    async fn watch_cache(&mut self, key: &str, headline: &str, committed: Instant) {
        while self.cache_sink.is_some() && committed.elapsed() < PATIENCE {
            match self.cached(key).await {
                Some(row) if row.contains(headline) => {
                    let after = committed.elapsed();
                    return self.show(|shown| (shown.after, shown.cached_after) = (row, Some(after)));
                }
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }

    async fn watch_search(&mut self, query: &str, name: &str, committed: Instant) {
        while self.search_url.is_some() && committed.elapsed() < PATIENCE {
            let answers = self.search(query).await;
            if let Some(answer) = answers.into_iter().find(|answer| answer.contains(name)) {
                let after = committed.elapsed();
                return self.show(|shown| (shown.answers.1, shown.found_after) = (Some(answer), Some(after)));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Name and headline of a cached row.
    async fn cached(&mut self, key: &str) -> Option<String> {
        let row: Option<String> = self.cache.get(key).await.ok()?;
        let row: Value = serde_json::from_str(&row?).ok()?;
        let of = |column: &str| row.get(column).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(format!("{}, “{}”", of("name"), of("headline")))
    }

    /// Name and headline of what a search finds, the best first.
    async fn search(&self, query: &str) -> Vec<String> {
        let Some(url) = &self.search_url else { return Vec::new() };
        let answer = match self.http.get(format!("{url}?q={query}&limit=5")).send().await {
            Ok(answer) => answer.json::<Value>().await.unwrap_or_default(),
            Err(_not_yet) => return Vec::new(),
        };
        let hits = answer.get("hits").and_then(Value::as_array).into_iter().flatten();
        hits.map(|hit| {
            let row = hit.get("document").unwrap_or(hit);
            let of = |column: &str| row.get(column).and_then(Value::as_str).unwrap_or_default();
            format!("{}, “{}”", of("name"), of("headline"))
        })
        .collect()
    }

    fn show(&self, change: impl FnOnce(&mut Sighting)) {
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
