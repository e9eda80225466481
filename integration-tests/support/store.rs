//! Reads the directory of a `file` sink as an outsider: finished files, and what is appended to and committed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Below which scripts/setup puts DuckDB, a folder for each version.
const DUCKDB: &str = "/var/cache/walbridge/duckdb";

/// Of each directory the events in JSON Lines: the finished files in the order of a listing, then what is not finished.
pub(crate) fn lines(root: &Path) -> BTreeMap<String, Vec<Value>> {
    let mut events: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for path in finished(root) {
        let directory = path.parent().expect("a directory").strip_prefix(root).expect("below the root");
        let directory = directory.to_str().expect("UTF-8").to_owned();
        events.entry(directory).or_default().extend(of_text(&text(&path)));
    }
    for (directory, path, length) in unfinished(root) {
        let mut bytes = fs::read(&path).expect("an unfinished file");
        bytes.truncate(length);
        events.entry(directory).or_default().extend(of_text(std::str::from_utf8(&bytes).expect("UTF-8")));
    }
    events
}

fn of_text(text: &str) -> impl Iterator<Item = Value> {
    assert!(text.is_empty() || text.ends_with('\n'), "the last line is whole");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"))
}

/// The finished files, in the order of a listing.
pub(crate) fn finished(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(root).map(|entries| entries.map(|entry| entry.expect("an entry").path()).collect());
    let mut entries: Vec<PathBuf> = entries.unwrap_or_default();
    entries.sort();
    for path in entries {
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        if path.is_dir() && !name.starts_with('.') {
            found.extend(finished(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}

/// What its compression hides.
pub(crate) fn text(path: &Path) -> String {
    let (mut file, mut text) = (File::open(path).expect("a file"), String::new());
    let read = match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text),
        Some("zst") => zstd::Decoder::new(file).expect("a decoder").read_to_string(&mut text),
        _ => file.read_to_string(&mut text),
    };
    read.expect("whole");
    text
}

/// Directory, file and committed length of what is appended to.
fn unfinished(root: &Path) -> Vec<(String, PathBuf, usize)> {
    let Ok(manifest) = fs::read(root.join(".walbridge/manifest")) else { return Vec::new() };
    let manifest: Value = serde_json::from_slice(&manifest).expect("a manifest");
    let states = ["full", "open"].into_iter().filter_map(|state| manifest.get(state)?.as_array());
    let entry = |entry: &Value| {
        let path = root.join(".walbridge/unfinished").join(entry.get("number")?.to_string());
        let length = usize::try_from(entry.get("length")?.as_u64()?).ok()?;
        Some((entry.get("directory")?.as_str()?.to_owned(), path, length))
    };
    let entries = states.flatten().map(|state| entry(state).expect("an entry of the manifest"));
    entries.filter(|(_, path, _)| path.exists()).collect()
}

/// The events of all finished Parquet files, as DuckDB reads them: each value as its text.
pub(crate) fn parquet(root: &Path) -> Vec<Value> {
    let folder =
        fs::read_dir(DUCKDB).ok().and_then(|mut versions| versions.next()).expect("no DuckDB: run scripts/setup");
    let output = Command::new("python3")
        .args(["-c", include_str!("parquet.py")])
        .args(finished(root).iter().filter(|path| path.extension().is_some_and(|extension| extension == "parquet")))
        .env("PYTHONPATH", folder.expect("a folder").path())
        .output()
        .expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    of_text(std::str::from_utf8(&output.stdout).expect("UTF-8")).collect()
}
