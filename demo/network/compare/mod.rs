//! The end of the demo: every sink against `SELECT`, key by key, in both directions.
//!
//! It reads PostgreSQL's own JSON (`to_jsonb`) and the targets themselves, nothing of walbridge's code: what is compared
//! is what an application would see.

mod file;
mod rows;
mod search;
mod store;

use crate::network::sinks::SinkPlan;
use crate::network::stage::Stage;
pub(crate) use rows::Rows;

/// More differences than this of one table are counted, not told.
const TOLD: usize = 5;

/// What a table and a sink had to say to each other.
#[derive(Clone, Debug)]
pub(crate) struct Verdict {
    /// The sink.
    pub(crate) sink: String,
    /// What was compared.
    pub(crate) what: String,
    /// Keys that were compared.
    pub(crate) keys: usize,
    /// Each key that is missing, different or too much, told for people.
    pub(crate) differences: Vec<String>,
}

impl Verdict {
    fn new(sink: &SinkPlan, what: String, keys: usize, differences: Vec<String>) -> Verdict {
        Verdict { sink: sink.name.clone(), what, keys, differences }
    }

    /// The first differences, and how many more there are.
    pub(crate) fn told(&self) -> impl Iterator<Item = String> {
        let more = self.differences.len().saturating_sub(TOLD);
        let more = (more > 0).then(|| format!("and {more} more"));
        self.differences.iter().take(TOLD).cloned().chain(more)
    }
}

/// Compares every table of every sink. Nobody may be writing.
pub(crate) async fn all(stage: &Stage) -> Vec<Verdict> {
    let client = stage.postgres.client().await;
    let mut verdicts = Vec::new();
    for table in Rows::tables(&client).await {
        let rows = Rows::of(&client, &table).await;
        for sink in stage.sinks.iter().filter(|sink| sink.takes(&table)) {
            let verdict = match (sink.kind.as_str(), sink.value.as_str()) {
                ("redis", "json" | "hash") => store::compare(sink, &rows, &stage.redis).await,
                ("redis", _) => continue,
                ("tantivy", _) => search::compare(sink, &rows, &stage.walbridge).await,
                ("file", _) => file::compare(sink, &rows),
                (kind, _) => Verdict::new(sink, table.clone(), 0, vec![format!("the demo cannot look into a {kind}")]),
            };
            verdicts.push(verdict);
        }
    }
    verdicts
}
