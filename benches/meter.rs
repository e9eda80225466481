//! What a process has used, by `/proc`, and what to make of several rounds.

use std::fs;

/// `/proc` counts CPU time in ticks of this size on every Linux that runs Rust's standard library.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU seconds, user and system, of all threads a process has and had. A zombie still tells.
pub(crate) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name may hold anything, but it ends with the last bracket; utime and stime are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map_while(|field| field.parse::<u32>().ok());
    Some((f64::from(ticks.next()?) + f64::from(ticks.next()?)) / TICKS_PER_SECOND)
}

/// The most memory a process ever had resident, in MiB. Unknown once it has ended.
pub(crate) fn peak_mib(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib = line.split_whitespace().next()?.parse::<u32>().ok()?;
    Some(f64::from(kib) / 1024.0)
}

/// The readings of one process, kept up to date while it lives.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    /// CPU seconds.
    pub(crate) cpu_seconds: f64,
    /// Peak of resident memory.
    pub(crate) peak_mib: f64,
}

impl Meter {
    /// Reads what there still is to read.
    pub(crate) fn read(&mut self, pid: u32) {
        self.cpu_seconds = cpu_seconds(pid).unwrap_or(self.cpu_seconds);
        self.peak_mib = peak_mib(pid).unwrap_or(self.peak_mib);
    }
}

/// The middle value (the upper one of two middles); 0 of nothing.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    quantile(&mut values.into_iter().collect::<Vec<_>>(), 1, 2)
}

/// The value at `part / whole` of the sorted values; 0 of nothing.
pub(crate) fn quantile(values: &mut [f64], part: usize, whole: usize) -> f64 {
    values.sort_by(f64::total_cmp);
    let place = (values.len() * part / whole).min(values.len().saturating_sub(1));
    values.get(place).copied().unwrap_or_default()
}

/// A whole number from the environment, for short trial runs.
pub(crate) fn setting(name: &str, default: u32) -> u32 {
    let Ok(text) = std::env::var(name) else { return default };
    let number = text.replace('_', "").parse();
    assert!(number.is_ok(), "{name}={text} is not a whole number");
    number.unwrap_or(default)
}
