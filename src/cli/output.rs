//! Printing, and failing.

use std::io::{self, IsTerminal as _, Write as _};

use crate::config::ConfigErrors;
use crate::log::LogError;
use crate::status::{Code, ExitCode};

/// What keeps a command from its work.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] Box<ConfigErrors>),
    /// The log cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Something asked for on the command line cannot be.
    #[error("{0}")]
    Usage(String),
    /// The running walbridge cannot be asked.
    #[error("{0}")]
    Unreachable(String),
    /// Nowhere to print to.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
    /// A bug.
    #[error("{0}; this is a bug, please report it")]
    Internal(String),
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Self {
        Failure::Config(Box::new(errors))
    }
}

impl Failure {
    /// Says it on stderr, and how the process ends.
    pub(super) fn report(&self) -> ExitCode {
        match self {
            Failure::Config(errors) => {
                let _ = io::stderr().write_all(errors.render(is_colourful()).as_bytes());
            }
            // `walbridge tail | head` has seen enough.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::Clean,
            Failure::Log(_)
            | Failure::Usage(_)
            | Failure::Unreachable(_)
            | Failure::Output(_)
            | Failure::Internal(_) => {
                let _ = writeln!(io::stderr(), "error: {self}");
            }
        }
        self.exit_code()
    }

    fn exit_code(&self) -> ExitCode {
        match self {
            Failure::Config(_) | Failure::Usage(_) => ExitCode::Configuration,
            Failure::Log(error) if error.code() == Code::Internal => ExitCode::Internal,
            Failure::Log(_) | Failure::Unreachable(_) | Failure::Output(_) => ExitCode::Halted,
            Failure::Internal(_) => ExitCode::Internal,
        }
    }
}

/// Whether stderr takes colours.
pub(super) fn is_colourful() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints text and a newline.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// How far something has come, 0 to 100, as a picture: `[####----------------]`.
pub(super) fn bar(percent: f64) -> String {
    const WIDTH: usize = 20;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 20")]
    let full = (percent.clamp(0.0, 100.0) / 100.0 * WIDTH as f64) as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(WIDTH.saturating_sub(full)))
}

/// Shows on a terminal, in one place of it, how far something has come.
pub(super) fn show_bar(percent: f64, state: &str, is_done: bool) {
    let mut err = io::stderr();
    if err.is_terminal() {
        let end = if is_done { "\n" } else { "" };
        // Only for the eye.
        let _ = write!(err, "\r{} {percent:.1} % {state:<12}{end}", bar(percent)).and_then(|()| err.flush());
    }
}

/// Prints a value for programs.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(print(&text)?)
}

/// A runtime for a command that waits for something.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let built = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("walbridge").build();
    built.map_err(|error| {
        Failure::Unreachable(format!("cannot start threads: {error}. Raise the limit on processes (ulimit -u)"))
    })
}
