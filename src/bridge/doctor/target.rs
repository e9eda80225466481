//! A sink's target.

use std::sync::Arc;

use super::Report;
use crate::bridge::check::look_at_sink;
use crate::bridge::tables;
use crate::config::{self, Target};
use crate::event::TableName;
use crate::sink::SinkError;
use crate::sink::redis::RedisSink;
use crate::sink::redis::facts::Facts;

/// Looks at it. `tables`: those of its source that can be captured.
pub(super) async fn look(source: &config::Source, sink: &config::Sink, tables: &[TableName]) -> Report {
    let mut report = Report::of(format!("sink {}", sink.name));
    let wanted: Vec<TableName> = tables.iter().filter(|table| sink.tables.matches(table)).cloned().collect();
    if wanted.is_empty() && !tables.is_empty() {
        report.warn("tables", format!("no table matches {}", sink.tables), "Mend `from`, or make the tables");
    }
    match look_at_sink(source, sink, !tables.is_empty()).await {
        Some((code, message)) => report.error("target", code, &message),
        None if matches!(sink.target, Target::Kafka(_)) => {}
        None => report.ok("target", format!("{} is ready", sink.target.kind())),
    }
    match &sink.target {
        Target::Redis(target) => match look_at_redis(sink, target).await {
            Ok(found) => {
                for (host, facts) in found {
                    let at = host.map_or_else(String::new, |host| format!(" at {host}"));
                    let mut of_server = Report::of(format!("{}{at}", report.subject));
                    redis(&mut of_server, &facts);
                    report.found.extend(of_server.found);
                }
            }
            Err(error) => {
                let remedy = "Mend what is said above, or allow its user INFO";
                report.warn("server", format!("it does not tell how it is set up: {error}"), remedy);
            }
        },
        #[cfg(feature = "kafka")]
        Target::Kafka(settings) => {
            let by = super::cluster::Use::Sink(&sink.name);
            let found = super::cluster::look(Report::of(report.subject.clone()), by, settings, &source.name, &wanted);
            report.found.extend(found.await);
        }
        #[cfg(not(feature = "kafka"))]
        Target::Kafka(_) => {}
        Target::Tantivy(_)
        | Target::OpenSearch(_)
        | Target::Postgres(_)
        | Target::Webhook(_)
        | Target::Exec(_)
        | Target::File(_) => {}
    }
    report
}

async fn look_at_redis(sink: &config::Sink, target: &config::Redis) -> Result<Vec<(Option<String>, Facts)>, SinkError> {
    let options = tables::redis_options(sink, target, &Arc::default());
    RedisSink::new(options)?.facts().await
}

fn redis(report: &mut Report, facts: &Facts) {
    report.ok("server", format!("Redis {}", facts.version));
    if facts.role == "master" {
        report.ok("role", "it takes writes");
    } else {
        report.fail("role", format!("it is a {}, which takes none", facts.role), "Point the url at the primary");
    }
    match (facts.memory_max, facts.policy.as_str()) {
        (0, _) => report.warn(
            "maxmemory",
            "no limit is set: what is kept there may take all of the machine's memory",
            "Set maxmemory, with maxmemory-policy noeviction",
        ),
        (max, "noeviction") => {
            report.ok("maxmemory", format!("{} of {max} bytes, and nothing is evicted", facts.memory))
        }
        (max, policy) if policy.starts_with("volatile") => report.warn(
            "maxmemory",
            format!("beyond {max} bytes keys with a ttl are evicted before their time ({policy})"),
            "Set maxmemory-policy noeviction, unless what is kept is only a cache",
        ),
        (max, policy) => report.warn(
            "maxmemory",
            format!(
                "beyond {max} bytes keys are evicted ({policy}), walbridge's checkpoint too: then all is filled again"
            ),
            "Set maxmemory-policy noeviction, unless what is kept is only a cache",
        ),
    }
    if facts.keeps {
        report.ok("persistence", "what it has is kept over a restart");
    } else {
        let message =
            "nothing is kept over a restart: it is filled again from the log then, as far as the log goes back";
        report.warn("persistence", message, "Turn appendonly on, unless that is wanted");
    }
}
