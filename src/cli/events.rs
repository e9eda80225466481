//! Events from the log to stdout: what `tail` and `log dump` share.

use std::io::{BufWriter, Stdout, Write};

use super::output::Failure;
use super::place::Place;
use crate::config::{Config, TablePatterns};
use crate::decode::json;
use crate::event::{Change, Event, Offset, OldRow};
use crate::log::embedded::{ReadOnly, ReadOnlyReader};
use crate::log::{Limit, LogError};
use crate::project::line::write_event;

/// How much is read at once.
const READ: Limit = Limit { events: 1_000, bytes: 1 << 20 };

/// How an event is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// A line for people.
    Text,
    /// A JSON object, as `docs/types.md` has it.
    Json,
}

/// A source's log, read from some place on.
pub(super) struct Feed {
    source: String,
    log: ReadOnly,
    reader: ReadOnlyReader,
}

impl Feed {
    /// Opens the log of a source. Beside a running walbridge too.
    pub(super) fn open(
        config: &Config,
        source: &str,
        from: impl FnOnce(&ReadOnly) -> Result<Offset, Failure>,
    ) -> Result<Self, Failure> {
        let log = open(config, source)?;
        let reader = log.reader(from(&log)?)?;
        Ok(Feed { source: source.to_owned(), log, reader })
    }

    /// Prints what there is up to the end; how many events that were.
    pub(super) fn print(&mut self, out: &mut Printer) -> Result<u64, Failure> {
        let mut printed = 0;
        while let Some(batch) = self.reader.next(&self.log, READ)? {
            // `next` is the offset behind the last event.
            let mut offset = batch.next.0.saturating_sub(u64::try_from(batch.events.len()).unwrap_or(0));
            for event in &batch.events {
                out.print(&self.source, Offset(offset), event)?;
                offset = offset.saturating_add(1);
                printed += 1;
            }
        }
        Ok(printed)
    }

    /// Looks for new events.
    pub(super) fn refresh(&mut self) -> Result<(), LogError> {
        self.log.refresh()
    }
}

/// Opens the log of a source, to be read.
pub(super) fn open(config: &Config, source: &str) -> Result<ReadOnly, Failure> {
    refuse_kafka(config)?;
    let directory = config.log.path_of(source);
    match ReadOnly::open(&directory) {
        Err(LogError::Io { source: error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
            let place = directory.display();
            Err(Failure::Unreachable(format!("there is no log at {place}: source {source} has not been started yet")))
        }
        opened => Ok(opened?),
    }
}

/// A log on Kafka is read by Kafka's own tools.
pub(super) fn refuse_kafka(config: &Config) -> Result<(), Failure> {
    let Some(kafka) = &config.log.kafka else { return Ok(()) };
    let (brokers, topic) = (&kafka.brokers, &kafka.topic);
    let why = format!(
        "the log is in Kafka at {brokers}, in topics named {topic}: read them with any consumer (docs/kafka.md)"
    );
    Err(Failure::Usage(why))
}

/// The sources asked for: the one named, or all.
pub(super) fn sources(config: &Config, wanted: Option<&str>) -> Result<Vec<String>, Failure> {
    let names = || config.sources.iter().map(|source| source.name.clone());
    let chosen: Vec<String> = names().filter(|name| wanted.is_none_or(|wanted| name == wanted)).collect();
    if chosen.is_empty() {
        let names = names().collect::<Vec<_>>().join(", ");
        return Err(Failure::Usage(format!("there is no such source; the configuration has {names}")));
    }
    Ok(chosen)
}

/// Begins at the place, or so many events before the end.
pub(super) fn begin(from: Option<Place>, last: Option<u64>) -> impl Fn(&ReadOnly) -> Result<Offset, Failure> {
    move |log| match (from, last) {
        (Some(place), _) => place.offset(log),
        (None, Some(last)) => Ok(Offset(log.end().offset.0.saturating_sub(last)).max(log.start())),
        (None, None) => Ok(log.start()),
    }
}

/// Writes events to stdout.
pub(super) struct Printer {
    out: BufWriter<Stdout>,
    style: Style,
    tables: Option<TablePatterns>,
    line: Vec<u8>,
}

impl Printer {
    /// Only events of these tables are printed, if any are given.
    pub(super) fn new(style: Style, tables: &[String]) -> Result<Self, Failure> {
        let patterns = TablePatterns::parse(tables.iter().map(String::as_str));
        let patterns = patterns.map_err(|error| Failure::Usage(format!("--table: {error}")))?;
        let tables = (!tables.is_empty()).then_some(patterns);
        Ok(Printer { out: BufWriter::with_capacity(64 << 10, std::io::stdout()), style, tables, line: Vec::new() })
    }

    fn print(&mut self, source: &str, offset: Offset, event: &Event) -> Result<(), Failure> {
        let relation = event.change.relation();
        let wanted = |tables: &TablePatterns| relation.is_some_and(|relation| tables.matches(&relation.name));
        if !self.tables.as_ref().is_none_or(wanted) {
            return Ok(());
        }
        self.line.clear();
        match self.style {
            Style::Json => write_event(source, event, &mut self.line),
            Style::Text => write_text(source, offset, event, &mut self.line),
        }
        self.line.push(b'\n');
        Ok(self.out.write_all(&self.line)?)
    }

    /// Shows what has been written so far.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.out.flush()?)
    }
}

/// `shop 17 2026-11-24T10:00:00.000000Z update public.users {"id":1,"name":"Ada"}`. Values are JSON, so nothing in them reaches the
/// terminal as a control character.
fn write_text(source: &str, offset: Offset, event: &Event, out: &mut Vec<u8>) {
    let transaction = &event.transaction;
    // Writing to a Vec does not fail.
    let _ = write!(out, "{source} {offset} {} {:<8} ", transaction.commit_time, event.change.op().as_str());
    match event.change.relation() {
        Some(relation) => {
            let mut name = Vec::new();
            json::write_string(relation.name.to_string().as_bytes(), &mut name);
            // The quotes are only needed by those who parse it.
            out.extend_from_slice(name.get(1..name.len().saturating_sub(1)).unwrap_or_default());
        }
        None => out.extend_from_slice(b"-"),
    }
    out.push(b' ');
    match &event.change {
        Change::Insert { relation, new } | Change::Read { relation, row: new } => json::write_row(relation, new, out),
        Change::Update { relation, old, new } => {
            if let Some(OldRow::Key(key)) = old {
                json::write_key(relation, key, None, out);
                out.extend_from_slice(b" to ");
            }
            json::write_row(relation, new, out);
        }
        Change::Delete { relation, old } => json::write_key(relation, old.row(), None, out),
        Change::Truncate { .. } => {}
        Change::CopyBegun { .. } => out.extend_from_slice(b"copy begun"),
        Change::CopyDone { since, .. } => {
            let _ = write!(out, "copy done since {since}");
        }
        Change::Message { prefix, content } => {
            json::write_string(prefix.as_bytes(), out);
            let _ = write!(out, ", {} bytes", content.len());
        }
    }
}
