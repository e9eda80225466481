//! `make bench`: walbridge measured beside `pg_recvlogical` on the same server in the same run, and its parts alone.

mod backlog;
mod decode;
mod drain;
mod format;
#[cfg(feature = "kafka")]
mod kafka;
mod latency;
mod log;
mod meter;
mod replay;
mod snapshot;
#[path = "../integration-tests/support/mod.rs"]
mod support;
mod values;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    #[cfg(feature = "kafka")]
    if let Some((kafka::producer::WORD, rest)) = wanted.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        return kafka::producer::child(rest);
    }
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|wish| wish == name);
    let benches: &[(&str, fn())] = &[
        ("decode", decode::run),
        ("format", format::run),
        ("log", log::run),
        ("replay", replay::run),
        ("drain", drain::run),
        ("values", values::run),
        ("latency", latency::run),
        ("snapshot", snapshot::run),
        #[cfg(feature = "kafka")]
        ("kafka", kafka::run),
    ];
    for (name, run) in benches {
        if chosen(name) {
            run();
        }
    }
}
