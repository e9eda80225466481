//! Wiring: the one place that names concrete types.

use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::status::{Code, ExitCode};

/// What a look at a source or sink has found.
#[derive(Clone, Debug)]
pub struct Finding {
    /// `source shop`, `sink user-cache`.
    pub subject: String,
    /// What is wrong; `None` if nothing is.
    pub problem: Option<(Code, String)>,
}

/// Looks at every source and sink without changing anything.
pub async fn check(_config: &Config) -> Vec<Finding> {
    Vec::new()
}

/// Runs until `stop`, or until an operator is needed.
pub async fn run(_config: Config, stop: CancellationToken) -> ExitCode {
    stop.cancelled().await;
    ExitCode::Clean
}
