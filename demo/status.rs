//! What `/api/status` says, in the demo's own shape.

use serde_json::Value;

/// The bridge at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// The one source of the demo.
    pub(crate) source: Source,
    /// In the order of the status page.
    pub(crate) sinks: Vec<Sink>,
}

/// The source's part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    /// Such as `streaming`.
    pub(crate) state: String,
    /// Why, if there is a reason.
    pub(crate) code: String,
    /// Everything before it is in the log.
    pub(crate) durable_lsn: String,
    /// What PostgreSQL may forget.
    pub(crate) confirmed_flush_lsn: String,
    /// WAL that is not in the log yet.
    pub(crate) lag_bytes: u64,
}

/// A sink's part.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sink {
    /// As configured.
    pub(crate) name: String,
    /// Such as `streaming`.
    pub(crate) state: String,
    /// Why, if there is a reason.
    pub(crate) code: String,
    /// Events it has yet to apply.
    pub(crate) lag_events: u64,
    /// Age of the oldest of them.
    pub(crate) lag_seconds: f64,
}

impl Report {
    /// Reads the page.
    pub(crate) fn of(status: &Value) -> Report {
        let source = named(status.get("sources")).next().map(|(_, source)| source_of(source)).unwrap_or_default();
        let sinks = named(status.get("sinks")).map(|(name, sink)| sink_of(name, sink)).collect();
        Report { source, sinks }
    }

    /// Whether every sink has all that is in the log.
    pub(crate) fn caught_up(&self) -> bool {
        !self.sinks.is_empty() && self.sinks.iter().all(|sink| sink.lag_events == 0)
    }
}

/// A list of things with names, whether the page has it as an object or as an array.
fn named(list: Option<&Value>) -> Box<dyn Iterator<Item = (&str, &Value)> + '_> {
    match list {
        Some(Value::Object(by_name)) => Box::new(by_name.iter().map(|(name, thing)| (name.as_str(), thing))),
        Some(Value::Array(list)) => Box::new(list.iter().map(|thing| (text(thing, "name"), thing))),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => Box::new(std::iter::empty()),
    }
}

fn text<'a>(thing: &'a Value, key: &str) -> &'a str {
    thing.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn source_of(source: &Value) -> Source {
    Source {
        state: text(source, "state").to_owned(),
        code: text(source, "code").to_owned(),
        durable_lsn: text(source, "durable_lsn").to_owned(),
        confirmed_flush_lsn: text(source, "confirmed_flush_lsn").to_owned(),
        lag_bytes: source.get("lag_bytes").and_then(Value::as_u64).unwrap_or_default(),
    }
}

fn sink_of(name: &str, sink: &Value) -> Sink {
    Sink {
        name: name.to_owned(),
        state: text(sink, "state").to_owned(),
        code: text(sink, "code").to_owned(),
        lag_events: sink.get("lag_events").and_then(Value::as_u64).unwrap_or_default(),
        lag_seconds: sink.get("lag_seconds").and_then(Value::as_f64).unwrap_or_default(),
    }
}
