//! `walbridge run`.

use tokio_util::sync::CancellationToken;

use super::output::runtime;
use super::{ConfigFile, Outcome};
use crate::bridge;

/// Capture, keep, deliver: until told to stop
#[derive(clap::Args)]
#[command(after_help = "\
The configuration is checked first; all mistakes are shown at once. SIGTERM and Ctrl-C stop cleanly: what is under way is finished.
A second one, or SIGKILL, loses nothing either; the next start goes on where the log and the sinks are.

Examples:
  walbridge run --config walbridge.toml
  WALBRIDGE_LOG=debug walbridge run --config walbridge.toml --log-format json")]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let config = arguments.config.load()?;
    Ok(runtime()?.block_on(bridge::run(config, CancellationToken::new())))
}
