//! The demo's picture, redrawn in place; or, where nobody watches, a line now and then.

use std::io::{IsTerminal, Write, stdout};
use std::time::Duration;

use crate::spotlight::Sighting;
use crate::status::{Report, Sink};

/// The picture is made for this, the smallest usual terminal.
const COLUMNS: usize = 80;
/// How much the word of a state, and its code, may take.
const STATE_COLUMNS: usize = 26;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const RED: &str = "\x1b[31m";
const CYAN: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// What there is to show at one moment.
pub(crate) struct Scene {
    /// Since the start.
    pub(crate) elapsed: Duration,
    /// Until the end, if that is set.
    pub(crate) remaining: Option<Duration>,
    /// How many connections write.
    pub(crate) writers: usize,
    /// Rows changed at the source.
    pub(crate) changes: u64,
    /// The same, lately.
    pub(crate) changes_per_second: f64,
    /// Keys in Redis.
    pub(crate) cache_keys: Option<u64>,
    /// Kind of each sink, by name.
    pub(crate) kinds: Vec<(String, String)>,
    /// What walbridge says, if it answers.
    pub(crate) report: Option<Report>,
    /// The change on its way.
    pub(crate) sighting: Sighting,
}

/// A screen, on a terminal; dropping it gives the terminal back.
pub(crate) struct Screen {
    live: bool,
}

impl Screen {
    /// Takes the terminal's second page, if there is a terminal.
    pub(crate) fn open() -> Screen {
        let live = stdout().is_terminal();
        if live {
            put("\x1b[?1049h\x1b[?25l\x1b[2J");
        }
        Screen { live }
    }

    /// Whether somebody watches.
    pub(crate) fn live(&self) -> bool {
        self.live
    }

    /// Shows the moment.
    pub(crate) fn draw(&self, scene: &Scene) {
        if self.live {
            let lines = picture(scene);
            put(&format!("\x1b[H{}\x1b[J", lines.map(|line| format!("{line}\x1b[K\r\n")).collect::<String>()));
        } else {
            put(&format!("demo: {}\n", one_line(scene)));
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.live {
            give_back();
        }
    }
}

/// Shows the cursor and the terminal's first page again; for the panic hook too.
pub(crate) fn give_back() {
    if stdout().is_terminal() {
        put("\x1b[?25h\x1b[?1049l");
    }
}

/// A terminal that has gone away is no reason to stop.
fn put(text: &str) {
    let mut out = stdout().lock();
    let _gone = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn picture(scene: &Scene) -> impl Iterator<Item = String> {
    let mut lines = Vec::new();
    let left = match scene.remaining {
        Some(remaining) => format!("{} to go, Ctrl-C ends it now", clock(remaining)),
        None => "Ctrl-C ends it and compares".to_owned(),
    };
    let title = format!("walbridge demo  {}", clock(scene.elapsed));
    lines.push(format!("{BOLD} {title}{PLAIN}{DIM}{left:>width$}{PLAIN}", width = COLUMNS - 2 - title.len()));
    lines.push(String::new());
    lines.extend(pipeline(scene));
    lines.push(String::new());
    lines.extend(table(scene));
    lines.push(String::new());
    lines.extend(sighting(&scene.sighting));
    lines.into_iter()
}

/// The pipeline, with what flows through it.
fn pipeline(scene: &Scene) -> Vec<String> {
    let report = scene.report.clone().unwrap_or_default();
    let source = &report.source;
    let boxes = [
        ("PostgreSQL".to_owned(), "walbridge".to_owned()),
        (format!("{} writers", scene.writers), format!("log to {}", source.durable_lsn)),
        (format!("{:.0} changes/s", scene.changes_per_second), format!("{} behind", size(source.lag_bytes))),
        (format!("{} in all", grouped(scene.changes)), source.state.clone()),
    ];
    let rows = boxes.len().max(scene.kinds.len());
    let keys = scene.cache_keys.map(|keys| format!("     Redis: {} keys", grouped(keys))).unwrap_or_default();
    let mut lines = vec![format!(" {DIM}┌──────────────────┐   ┌──────────────────────┐{PLAIN}")];
    for row in 0..rows {
        let (left, middle) = boxes.get(row).cloned().unwrap_or_default();
        let target =
            scene.kinds.get(row).map(|(name, kind)| format!("{BOLD}{name}{PLAIN} {DIM}{}{PLAIN}", product(kind)));
        let first = if row == 0 { (BOLD, "──▶") } else { (PLAIN, "   ") };
        let arrow = match (row, scene.kinds.len()) {
            (row, sinks) if row >= sinks => "   ",
            (0, 1) => "──▶",
            (0, _) => "─┬▶",
            (row, sinks) if row + 1 == sinks => " └▶",
            _ => " ├▶",
        };
        lines.push(format!(
            " {DIM}│{PLAIN} {bold}{left:<16}{PLAIN} {DIM}│{PLAIN}{CYAN}{into}{PLAIN}{DIM}│{PLAIN} {bold}{middle:<20}{PLAIN} {DIM}│{PLAIN}{CYAN}{arrow}{PLAIN} {}",
            target.unwrap_or_default(),
            bold = first.0,
            into = first.1,
        ));
    }
    lines.push(format!(" {DIM}└──────────────────┘   └──────────────────────┘{keys}{PLAIN}"));
    lines
}

fn product(kind: &str) -> &str {
    match kind {
        "redis" => "Redis",
        "tantivy" => "full-text index",
        "file" => "JSON Lines",
        other => other,
    }
}

/// How each sink does.
fn table(scene: &Scene) -> Vec<String> {
    let Some(report) = &scene.report else { return vec![format!(" {YELLOW}walbridge does not answer yet{PLAIN}")] };
    let mut lines =
        vec![format!("{DIM} {:<26} {:<STATE_COLUMNS$} {:>10} {:>10}{PLAIN}", "", "state", "lag events", "lag s")];
    let source = &report.source;
    lines.push(format!(
        " {:<26} {} {DIM}confirmed to PostgreSQL {}{PLAIN}",
        "source",
        state(&source.state, &source.code),
        source.confirmed_flush_lsn
    ));
    lines.extend(report.sinks.iter().map(|sink| {
        let Sink { name, state: word, code, lag_events, lag_seconds } = sink;
        format!(" {name:<26} {} {:>10} {lag_seconds:>10.2}", state(word, code), grouped(*lag_events))
    }));
    lines
}

fn state(word: &str, code: &str) -> String {
    let colour = match word {
        "streaming" => GREEN,
        "halted" => RED,
        _ => YELLOW,
    };
    let text = if code.is_empty() { word.to_owned() } else { format!("{word} {code}") };
    format!("{colour}{}{PLAIN}", fit(&text, STATE_COLUMNS))
}

/// One UPDATE, seen in the cache and in the search.
fn sighting(sighting: &Sighting) -> Vec<String> {
    if sighting.sql.is_empty() {
        return Vec::new();
    }
    let took = |after: Option<Duration>| match after {
        Some(after) => format!("{GREEN}{:>6.1} ms{PLAIN}", after.as_secs_f64() * 1000.0),
        None => format!("{DIM}        …{PLAIN}"),
    };
    let row = |label: &str, text: &str, colour: &str| {
        format!(" {DIM}{}{PLAIN} {colour}{}{PLAIN}", fit(label, 18), fit(text, COLUMNS - 31))
    };
    let (old_answer, new_answer) = (sighting.answers.0.as_deref(), sighting.answers.1.as_deref());
    vec![
        format!(" {BOLD}{}{PLAIN}", fit(&sighting.sql, COLUMNS - 2)),
        row(&format!("GET {}", sighting.key), &sighting.before, DIM),
        format!("{} {}", row("", &sighting.after, BOLD), took(sighting.cached_after)),
        row(&format!("search {}", sighting.query), old_answer.unwrap_or("(nobody)"), DIM),
        format!("{} {}", row("", new_answer.unwrap_or_default(), BOLD), took(sighting.found_after)),
    ]
}

fn one_line(scene: &Scene) -> String {
    let Some(report) = &scene.report else { return format!("{} walbridge does not answer yet", clock(scene.elapsed)) };
    let sinks = report.sinks.iter().map(|sink| format!("{} {} ({} behind)", sink.name, sink.state, sink.lag_events));
    let seen = scene.sighting.cached_after.map(|after| format!("; last UPDATE in Redis after {:.1?}", after));
    format!(
        "{} {} changes, {:.0}/s; source {}, {} behind; {}{}",
        clock(scene.elapsed),
        grouped(scene.changes),
        scene.changes_per_second,
        report.source.state,
        size(report.source.lag_bytes),
        sinks.collect::<Vec<_>>().join(", "),
        seen.unwrap_or_default()
    )
}

fn clock(time: Duration) -> String {
    format!("{:02}:{:02}", time.as_secs() / 60, time.as_secs() % 60)
}

fn size(bytes: u64) -> String {
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes / 1_024),
        _ => format!("{} MiB", bytes / 1_048_576),
    }
}

/// 1234567 as 1,234,567.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// Cut or padded to a number of characters.
fn fit(text: &str, columns: usize) -> String {
    let length = text.chars().count();
    if length <= columns {
        return format!("{text:<columns$}");
    }
    text.chars().take(columns.saturating_sub(1)).chain(['…']).collect()
}
