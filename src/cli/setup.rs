//! `walbridge setup`.

use std::fmt::Write as _;

use super::output::{Failure, print, print_json, runtime};
use super::{ConfigFile, Outcome};
use crate::bridge;
use crate::config::{self, Config};
use crate::status::ExitCode;

/// What has to be set up in the database, as SQL for its administrator
#[derive(clap::Args)]
#[command(after_help = "\
walbridge needs no superuser. Its role needs LOGIN and REPLICATION, SELECT on the tables it copies, and a publication of them; this
prints the statements for the tables that are there now. Read them, then run them as the tables' owner or a superuser. All of
them may be run again, after tables were added for example.

Examples:
  walbridge setup --config walbridge.toml --print-sql
  walbridge setup --print-sql --admin-url 'postgres:///shop?host=/run/postgresql' | psql -d shop
  walbridge setup --print-sql --source shop --json")]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Print the statements; nothing is changed
    #[arg(long, required = true)]
    print_sql: bool,
    #[command(flatten)]
    which: Which,
    /// Print them as JSON
    #[arg(long)]
    json: bool,
}

/// Whose databases, and as whom.
#[derive(clap::Args)]
pub(super) struct Which {
    /// Only for this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Do it as this role, where walbridge's own is not there yet or has not the rights
    #[arg(long, value_name = "URL")]
    admin_url: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let config = arguments.config.load()?;
    let (sources, administrator) = arguments.which.choose(&config)?;
    let runtime = runtime()?;
    let mut setups = Vec::new();
    for source in sources {
        let setup = runtime.block_on(bridge::setup(source, administrator.as_ref())).map_err(|error| {
            Failure::Unreachable(format!(
                "{}: {error}. If its role is not there yet, name one that is with --admin-url",
                source.name
            ))
        })?;
        setups.push(setup);
    }
    if arguments.json {
        print_json(&setups.iter().map(as_json).collect::<Vec<_>>())?;
    } else {
        print(&setups.iter().map(as_sql).collect::<String>())?;
    }
    Ok(ExitCode::Clean)
}

impl Which {
    /// The sources that are meant, and how to look at their databases.
    pub(super) fn choose<'a>(
        &self,
        config: &'a Config,
    ) -> Result<(Vec<&'a config::Source>, Option<bridge::Administrator>), Failure> {
        let wanted = |name: &str| self.source.as_ref().is_none_or(|source| source == name);
        let sources: Vec<_> = config.sources.iter().filter(|source| wanted(&source.name)).collect();
        if sources.is_empty() {
            return Err(Failure::Usage("there is no source of that name in the configuration".to_owned()));
        }
        if self.admin_url.is_some() && sources.len() > 1 {
            return Err(Failure::Usage("--admin-url is one database; say which source with --source NAME".to_owned()));
        }
        let administrator = self.admin_url.as_deref().map(str::parse).transpose();
        let administrator = administrator.map_err(|error| Failure::Usage(format!("--admin-url: {error}")))?;
        Ok((sources, administrator))
    }
}

fn as_json(setup: &bridge::Setup) -> serde_json::Value {
    let statements: Vec<_> = setup.statements.iter().map(|statement| format!("{};", statement.sql)).collect();
    serde_json::json!({ "source": setup.source, "database": setup.database, "role": setup.role, "statements": statements })
}

fn as_sql(setup: &bridge::Setup) -> String {
    let mut out = format!("-- source {}: in {}, for role {}\n", setup.source, setup.database, setup.role);
    for statement in &setup.statements {
        // Writing to a String does not fail.
        let _ = writeln!(out, "-- {}\n{};", statement.why, statement.sql);
    }
    let _ = writeln!(
        out,
        "-- pg_hba.conf lets the role in by a line for its database (not `replication`): host DATABASE {} ADDRESS scram-sha-256",
        setup.role
    );
    out
}
