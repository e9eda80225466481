//! `walbridge teardown`.

use serde_json::json;

use super::output::{Failure, print, print_json, runtime};
use super::setup::Which;
use super::{ConfigFile, Outcome};
use crate::bridge::{self, Leftover};
use crate::status::ExitCode;

/// Take away what walbridge has on the servers: slots and publications
#[derive(clap::Args)]
#[command(after_help = "\
Without --yes it only lists. A slot that nobody reads keeps WAL for ever, so this belongs to leaving for good. Publications that walbridge
(or `walbridge setup`) did not make stay, only a publication's owner may remove it, and so does everything else: the role, its grants, the tables, the log, the targets.

Examples:
  walbridge teardown --config walbridge.toml                what there is
  walbridge teardown --config walbridge.toml --yes          remove it
  walbridge teardown --source shop --yes --json --admin-url 'postgres:///shop?host=/run/postgresql'")]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Remove what is listed
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    which: Which,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let config = arguments.config.load()?;
    let (sources, administrator) = arguments.which.choose(&config)?;
    let runtime = runtime()?;
    let mut found = Vec::new();
    for source in sources {
        let refuse = |error| Failure::Unreachable(format!("{}: {error}", source.name));
        let leftovers = runtime.block_on(bridge::find_leftovers(source, administrator.as_ref())).map_err(refuse)?;
        if !arguments.json {
            print(&leftovers.iter().map(|leftover| describe(leftover, arguments.yes)).collect::<String>())?;
        }
        if arguments.yes {
            runtime.block_on(bridge::remove(source, administrator.as_ref(), &leftovers)).map_err(refuse)?;
        }
        found.extend(leftovers);
    }
    let left = found.iter().any(|leftover| leftover.sql.is_none());
    if arguments.json {
        print_json(&found.iter().map(|leftover| as_json(leftover, arguments.yes)).collect::<Vec<_>>())?;
    } else if found.is_empty() {
        print("there is nothing of walbridge's\n")?;
    } else if !arguments.yes {
        print("nothing was changed; --yes removes what is marked so\n")?;
    }
    Ok(if arguments.yes && left { ExitCode::Halted } else { ExitCode::Clean })
}

fn as_json(leftover: &Leftover, removed: bool) -> serde_json::Value {
    let removed = removed && leftover.sql.is_some();
    json!({ "source": leftover.source, "what": leftover.what, "sql": leftover.sql, "removed": removed })
}

fn describe(leftover: &Leftover, yes: bool) -> String {
    match (&leftover.sql, yes) {
        (Some(_), true) => format!("{}: removing {}\n", leftover.source, leftover.what),
        (Some(sql), false) => format!("{}: would remove {} by: {sql};\n", leftover.source, leftover.what),
        (None, _) => format!("{}: {}\n", leftover.source, leftover.what),
    }
}
