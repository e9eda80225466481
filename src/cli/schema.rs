//! `walbridge schema`.

use super::Outcome;
use super::output::print_json;
use crate::config;
use crate::status::ExitCode;

/// Print the configuration's JSON Schema
#[derive(clap::Args)]
#[command(after_help = "\
Editors complete and check by it: save it, and name it in the first line of the configuration.

Example:
  walbridge schema > walbridge.schema.json
  #:schema ./walbridge.schema.json         (first line of walbridge.toml)")]
pub(super) struct Arguments {
    /// It is JSON in any case; accepted because every command that prints takes it
    #[arg(long)]
    json: bool,
}

pub(super) fn run(_arguments: &Arguments) -> Outcome {
    print_json(&config::json_schema())?;
    Ok(ExitCode::Clean)
}
