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
mod opensearch;
mod postgres_sink;
#[path = "redis.rs"]
mod redis_sink;
mod replay;
mod snapshot;
#[path = "../integration-tests/support/mod.rs"]
mod support;
#[cfg(feature = "search")]
mod tantivy;
mod values;

/// As the program has it, so that what runs in this process runs as it does there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    #[cfg(feature = "kafka")]
    if let Some((kafka::producer::WORD, rest)) = wanted.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        return kafka::producer::child(rest);
    }
    if let Some((opensearch::WORD, rest)) = wanted.split_first().map(|(word, rest)| (word.as_str(), rest)) {
        return opensearch::main(rest);
    }
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|wish| wish == name);
    let benches: &[(&str, fn())] = &[
        ("decode", decode::run),
        ("format", format::run),
        ("log", log::run),
        ("replay", replay::run),
        ("redis", redis_sink::run),
        ("postgres", postgres_sink::run),
        ("drain", drain::run),
        ("values", values::run),
        ("latency", latency::run),
        ("snapshot", snapshot::run),
        #[cfg(feature = "search")]
        ("tantivy", tantivy::run),
        #[cfg(feature = "kafka")]
        ("kafka", kafka::run),
        ("opensearch", opensearch::run),
    ];
    for (name, run) in benches {
        if chosen(name) {
            run();
        }
    }
}
