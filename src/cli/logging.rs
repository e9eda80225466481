//! Log lines, on stderr.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// What is shown unless `WALBRIDGE_LOG` says otherwise.
const DEFAULT_FILTER: &str = "info,tantivy=warn";

/// Starts it. `WALBRIDGE_LOG` chooses, as in `WALBRIDGE_LOG=debug` or `WALBRIDGE_LOG=info,walbridge::capture=trace`.
pub(super) fn start(format: LogFormat) {
    let chosen = std::env::var("WALBRIDGE_LOG").unwrap_or_default();
    let text = if chosen.is_empty() { DEFAULT_FILTER } else { &chosen };
    let (filter, wrong) = match EnvFilter::try_new(text) {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(DEFAULT_FILTER), Some(error)),
    };
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second start, in a test, changes nothing.
    let _ = match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    if let Some(error) = wrong {
        tracing::warn!(%error, "WALBRIDGE_LOG is not a filter; going on with {DEFAULT_FILTER}");
    }
}
