//! `walbridge doctor`: what [`check`](super::check()) finds, and everything else that a source, a log and a sink need of what surrounds them, item by
//! item: also what is well, and what only will go wrong one day. Nothing is changed anywhere.

#[cfg(feature = "kafka")]
mod cluster;
mod disk;
mod postgres;
#[cfg(feature = "kafka")]
mod registry;
mod target;

use crate::config::Config;
#[cfg(feature = "kafka")]
use crate::config::{Sink, Target};
use crate::status::Code;

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and there is something to know.
    Warning,
    /// It cannot work so.
    Failure,
}

impl Verdict {
    /// The word for it in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failure => "failure",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnosis {
    /// `source shop`, `log`, `sink cache`.
    pub subject: String,
    /// What was looked at: `wal_level`.
    pub check: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub message: String,
    /// What to do about it; empty if nothing is to be done, or the message tells.
    pub remedy: String,
    /// The code that the status would show for it.
    pub code: Option<Code>,
}

/// The things that were looked at of one subject.
struct Report {
    subject: String,
    found: Vec<Diagnosis>,
}

impl Report {
    fn of(subject: impl Into<String>) -> Self {
        Report { subject: subject.into(), found: Vec::new() }
    }

    fn add(&mut self, check: &'static str, verdict: Verdict, message: String, remedy: String, code: Option<Code>) {
        let subject = self.subject.clone();
        self.found.push(Diagnosis { subject, check, verdict, message, remedy, code });
    }

    fn ok(&mut self, check: &'static str, message: impl Into<String>) {
        self.add(check, Verdict::Ok, message.into(), String::new(), None);
    }

    fn warn(&mut self, check: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Verdict::Warning, message.into(), remedy.into(), None);
    }

    fn fail(&mut self, check: &'static str, message: impl Into<String>, remedy: impl Into<String>) {
        self.add(check, Verdict::Failure, message.into(), remedy.into(), None);
    }

    /// An error of ours, which tells its remedy itself, except that a running walbridge only waits for what cannot be reached.
    fn error(&mut self, check: &'static str, code: Code, error: &impl ToString) {
        let remedy = match code {
            Code::SourceUnreachable | Code::KafkaUnavailable | Code::SinkUnavailable => {
                "See that it runs and can be reached from here, or mend its address"
            }
            _ => "",
        };
        self.add(check, Verdict::Failure, error.to_string(), remedy.to_owned(), Some(code));
    }
}

/// Looks at everything that the configuration names.
pub async fn doctor(config: &Config) -> Vec<Diagnosis> {
    let mut found = disk::look(config).found;
    for source in &config.sources {
        let (report, tables) = postgres::look(source).await;
        found.extend(report.found);
        let sinks = config.sinks.iter().filter(|sink| sink.source == source.name);
        #[cfg(feature = "kafka")]
        if let Some(settings) = &config.log.kafka {
            let report = Report::of(format!("log {}", source.name));
            let by = cluster::Use::Log(groups(sinks.clone()));
            found.extend(cluster::look(report, by, settings, &source.name, &tables).await);
        }
        for sink in sinks {
            found.extend(target::look(source, sink, &tables).await.found);
        }
    }
    found
}

/// The consumer groups in which these sinks read the log.
#[cfg(feature = "kafka")]
fn groups<'a>(sinks: impl Iterator<Item = &'a Sink>) -> Vec<String> {
    let group = |sink: &Sink| match &sink.target {
        Target::Redis(redis) if redis.shared => crate::kafka::consumer::group_of(&sink.source, &sink.name),
        _ => crate::kafka::consumer::GROUP.to_owned(),
    };
    let mut groups: Vec<String> = sinks.map(group).collect();
    groups.sort();
    groups.dedup();
    groups
}
