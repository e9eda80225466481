//! `walbridge tail`.

use std::time::Duration;

use super::events::{Feed, Printer, Style, begin, sources};
use super::place::{self, Place};
use super::{ConfigFile, Outcome};
use crate::status::ExitCode;

/// Print the newest events, and with --follow those to come
#[derive(clap::Args)]
#[command(after_help = "\
Reads the log itself: it works beside a running walbridge and without one, and slows nothing down. With several sources, the
events of each are in order; those of different sources are not put into one.

Examples:
  walbridge tail --config walbridge.toml --follow
  walbridge tail --config walbridge.toml --from 10m --table 'public.users' --json | jq .after
  walbridge tail --config walbridge.toml --from 16/B374D848 --source shop")]
pub(super) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Only this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Only these tables: schema.table, with * and ?; may be given several times
    #[arg(long, value_name = "PATTERN")]
    table: Vec<String>,
    #[arg(long, value_name = "PLACE", help = place::HELP)]
    from: Option<Place>,
    /// Without --from: how many events before the end to begin with
    #[arg(long, short = 'n', value_name = "COUNT", default_value_t = 10)]
    lines: u64,
    /// Go on with what comes; Ctrl-C ends it
    #[arg(long, short)]
    follow: bool,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

pub(super) fn run(arguments: &Arguments) -> Outcome {
    let config = arguments.config.load()?;
    let style = if arguments.json { Style::Json } else { Style::Text };
    let mut out = Printer::new(style, &arguments.table)?;
    let mut feeds = Vec::new();
    for source in sources(&config, arguments.source.as_deref())? {
        feeds.push(Feed::open(&config, &source, begin(arguments.from, Some(arguments.lines)))?);
    }
    loop {
        let mut printed = 0;
        for feed in &mut feeds {
            printed += feed.print(&mut out)?;
        }
        out.flush()?;
        if !arguments.follow {
            return Ok(ExitCode::Clean);
        }
        if printed == 0 {
            std::thread::sleep(PAUSE);
        }
        for feed in &mut feeds {
            feed.refresh()?;
        }
    }
}
