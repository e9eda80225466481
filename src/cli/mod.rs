//! The command line. Each command is a file: what it takes, what it does, what it prints.
//!
//! Exit codes are [`ExitCode`]'s: 0 clean, 1 a sink differs from its source, 2 configuration or usage, 3 an operator is needed, 70 a bug. What a command was asked for goes to
//! stdout, everything else to stderr.

mod check;
mod client;
mod dead_letters;
mod doctor;
mod events;
mod log;
mod logging;
mod output;
mod place;
mod rebuild;
mod replay;
mod resnapshot;
mod run;
mod schema;
mod setup;
mod slots;
mod status;
mod tail;
mod teardown;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use self::logging::LogFormat;
use self::output::Failure;
use crate::config::{self, Config};
use crate::status::ExitCode;

#[derive(Parser)]
#[command(
    name = "walbridge",
    version,
    about = "PostgreSQL's write-ahead log into one durable log, and from it caches and search indexes",
    after_help = "\
Begin here:
  walbridge check --config walbridge.toml    is the configuration right, is the server ready?
  walbridge run --config walbridge.toml      start; Ctrl-C or SIGTERM stops it cleanly
  walbridge status --config walbridge.toml   what is it doing, how far behind is it?
  walbridge tail --config walbridge.toml     watch changes come in
  walbridge doctor --config walbridge.toml   is all that surrounds it as it should be?

Exit codes: 0 clean, 1 a sink differs from its source (verify), 2 wrong configuration or usage, 3 an operator is needed, 70 a bug.
Colours are off where stderr is not a terminal, and with NO_COLOR set.",
    max_term_width = 110
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How log lines look
    #[arg(long, global = true, value_name = "FORMAT", default_value = "text", env = "WALBRIDGE_LOG_FORMAT")]
    log_format: LogFormat,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Arguments),
    Check(check::Arguments),
    Doctor(doctor::Arguments),
    Status(status::Arguments),
    Tail(tail::Arguments),
    Log(log::Arguments),
    Schema(schema::Arguments),
    Setup(setup::Arguments),
    Slots(slots::Arguments),
    Resnapshot(resnapshot::Arguments),
    DeadLetters(dead_letters::Arguments),
    Replay(replay::Arguments),
    Rebuild(rebuild::Arguments),
    Verify(verify::Arguments),
    Teardown(teardown::Arguments),
}

/// Which configuration.
#[derive(Args)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "walbridge.toml", env = "WALBRIDGE_CONFIG")]
    config: PathBuf,
}

impl ConfigFile {
    fn load(&self) -> Result<Config, Failure> {
        config::load(&self.config).map_err(Failure::from)
    }
}

/// Makes sure that the configuration has a sink of this name.
fn require_sink(config: &Config, sink: &str) -> Result<(), Failure> {
    if config.sinks.iter().any(|known| known.name == sink) {
        return Ok(());
    }
    let names = config.sinks.iter().map(|sink| sink.name.as_str()).collect::<Vec<_>>().join(", ");
    Err(Failure::Usage(format!("there is no sink `{sink}`; there is: {names}")))
}

/// Runs the program: the command line in, the exit code out.
#[must_use]
pub fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    logging::start(cli.log_format);
    let result = match cli.command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Tail(arguments) => tail::run(&arguments),
        Command::Log(arguments) => log::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Setup(arguments) => setup::run(&arguments),
        Command::Slots(arguments) => slots::run(&arguments),
        Command::Resnapshot(arguments) => resnapshot::run(&arguments),
        Command::DeadLetters(arguments) => dead_letters::run(&arguments),
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Rebuild(arguments) => rebuild::run(&arguments),
        Command::Verify(arguments) => verify::run(&arguments),
        Command::Teardown(arguments) => teardown::run(&arguments),
    };
    let code = result.unwrap_or_else(|failure| failure.report());
    std::process::ExitCode::from(code as u8)
}

/// What a command ends with: the exit code, or what kept it from its work.
type Outcome = Result<ExitCode, Failure>;
