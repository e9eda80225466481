//! `walbridge run`.

use tokio_util::sync::CancellationToken;

use super::output::runtime;
use super::{ConfigFile, Outcome};
use crate::bridge::{self, Part};

/// Capture, keep, deliver: until told to stop
#[derive(clap::Args)]
#[command(after_help = "\
The configuration is checked first; all mistakes are shown at once. SIGTERM and Ctrl-C stop cleanly: what is under way is finished.
A second one, or SIGKILL, loses nothing either; the next start goes on where the log and the sinks are.

Examples:
  walbridge run --config walbridge.toml
  walbridge run --config walbridge.toml --only deliver
  WALBRIDGE_LOG=debug walbridge run --config walbridge.toml --log-format json")]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,

    /// Do one half of the work; several processes share it over a log in Kafka
    #[arg(long, value_enum, value_name = "PART")]
    only: Option<Only>,
}

/// A half of the bridge.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Only {
    /// From the sources into the log
    Capture,
    /// From the log into the sinks
    Deliver,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let config = arguments.config.load()?;
    let part = match arguments.only {
        None => Part::Whole,
        Some(Only::Capture) => Part::Capture,
        Some(Only::Deliver) => Part::Deliver,
    };
    Ok(runtime()?.block_on(bridge::run(config, part, CancellationToken::new())))
}
