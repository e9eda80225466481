//! What the server says of the values that others find in topics with schemas.

use std::sync::Arc;

use serde_json::Value as Json;

use super::types::{SETUP, rows, table_of_types};
use crate::pipeline::caught_up;
use crate::support::kafka::Record;
use crate::support::{Kafka, PgOptions, Postgres, Registry, Walbridge};

/// A table of all types, and what is in its topic in this format.
pub(super) struct Told {
    pub(super) registry: Arc<Registry>,
    pub(super) records: Vec<Record>,
    postgres: Postgres,
}

impl Told {
    /// Every type's values, copied and streamed, in each of PostgreSQL's wire forms.
    pub(super) async fn of_all_types(format: &str) -> Told {
        let (kafka, registry, postgres) =
            (Kafka::shared(), Registry::shared().await, Postgres::start(PgOptions::default()));
        postgres.psql(&format!("{SETUP}{}{}", table_of_types(), rows(0)));
        let mut walbridge = Walbridge::start(&format!(
            "[sources.typed-{format}]\nurl = \"{}\"\ntables = [\"public.*\"]\n[log]\nkind = \"kafka\"\npath = \"log\"\nbrokers = \"{}\"\n\
             format = \"{format}\"\nschema_registry = {{ url = \"{}\" }}\n",
            postgres.superuser_url(),
            kafka.brokers(),
            registry.url()
        ));
        caught_up(&mut walbridge, &postgres).await;
        postgres.psql(&rows(1000));
        caught_up(&mut walbridge, &postgres).await;
        let records = kafka.read_settled(&format!("typed-{format}.public.types"));
        Told { registry, records, postgres }
    }

    /// The server's answers to questions about a row.
    pub(super) fn ask(&self, id: impl std::fmt::Display, questions: &[String]) -> Vec<Json> {
        // No function takes more than a hundred.
        let questions: Vec<String> =
            questions.chunks(50).map(|some| format!("jsonb_build_array({})", some.join(", "))).collect();
        let said = self.postgres.psql(&format!(
            "SET timezone = 'UTC'; SET lc_monetary = 'C'; SELECT {} FROM types WHERE id = {id}",
            questions.join(" || ")
        ));
        serde_json::from_str(said.lines().last().expect("a row")).expect("an array")
    }
}

/// SQL for what a column's value is to be, where the question of the value itself is this one.
pub(super) fn unless_null(column: &str, question: &str) -> String {
    format!("CASE WHEN {column} IS NULL THEN NULL ELSE {question} END")
}

/// SQL for what an array's elements are to be, where the question of one, `e`, is this one.
pub(super) fn of_each(column: &str, question: &str) -> String {
    format!(
        "(SELECT jsonb_agg({question} ORDER BY i) FROM (SELECT i, {column}[i] AS e FROM generate_subscripts({column}, 1) i) each)"
    )
}

/// SQL for a number that counts from 1970, as text, or `infinity`.
pub(super) fn finite(column: &str, number: &str) -> String {
    format!("CASE WHEN isfinite({column}) THEN ({number})::text ELSE format('%s', {column}) END")
}

/// Microseconds since 1970.
pub(super) fn micros(column: &str) -> String {
    finite(column, &format!("(extract(epoch FROM {column}) * 1000000)::numeric(30, 0)"))
}

/// Microseconds since midnight.
pub(super) fn micros_of_day(column: &str) -> String {
    format!("(extract(epoch FROM {column}) * 1000000)::bigint::text")
}

/// Days since 1970.
pub(super) fn days(column: &str) -> String {
    finite(column, &format!("{column} - date '1970-01-01'"))
}

/// `true` or `false`, also of a bit.
pub(super) fn truth(column: &str) -> String {
    format!("CASE WHEN format('%s', {column}) IN ('t', '1') THEN 'true' ELSE 'false' END")
}
