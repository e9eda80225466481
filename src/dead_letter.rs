//! Rows that a sink refused, kept with their reason and Position: one file of JSON Lines per sink.
//!
//! Written and synced before the sink's checkpoint can move past them. A crash in between delivers the rows again; the
//! Positions that are in the file already are not written twice.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::decode::json::write_row;
use crate::event::{Position, Timestamp};
use crate::project::line::write_event;
use crate::project::mutation::{Effect, Rejection};

/// One sink's refused rows.
#[derive(Debug)]
pub struct DeadLetters {
    sink: String,
    source: String,
    path: PathBuf,
    /// Opened with the first refusal: a sink that refuses nothing leaves no file.
    file: Option<File>,
    known: HashSet<Position>,
}

impl DeadLetters {
    /// Those of this sink, in `directory`, which is made if need be.
    ///
    /// # Errors
    /// The file that is there cannot be read.
    pub fn open(directory: &Path, sink: &str, source: &str) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let path = directory.join(format!("{sink}.jsonl"));
        let known = match File::open(&path) {
            Ok(file) => read_positions(file)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => HashSet::new(),
            Err(error) => return Err(error),
        };
        Ok(DeadLetters { sink: sink.to_owned(), source: source.to_owned(), path, file: None, known })
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Keeps these, durably.
    ///
    /// # Errors
    /// The disk.
    pub fn append(&mut self, rejections: &[Rejection]) -> io::Result<()> {
        let new: Vec<&Rejection> =
            rejections.iter().filter(|rejection| !self.known.contains(&rejection.mutation.position)).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for rejection in &new {
            serde_json::to_writer(&mut lines, &self.letter(rejection))?;
            lines.push(b'\n');
        }
        // Put back only if all went well: half a line, left by a disk that is full, is ended when the file is opened again.
        let mut file = match self.file.take() {
            Some(file) => file,
            None => open_private(&self.path)?,
        };
        file.write_all(&lines)?;
        file.sync_data()?;
        self.file = Some(file);
        self.known.extend(new.iter().map(|rejection| rejection.mutation.position));
        Ok(())
    }

    fn letter(&self, rejection: &Rejection) -> Value {
        let mutation = &rejection.mutation;
        let mut row = Vec::new();
        let (op, table) = match &mutation.effect {
            Effect::Put { document, .. } => {
                write_row(&document.relation, &document.row, &mut row);
                ("put", Some(document.relation.name.clone()))
            }
            Effect::Append(event) => {
                write_event(&self.source, event, &mut row);
                (event.change.op().as_str(), event.change.relation().map(|relation| relation.name.clone()))
            }
            Effect::Delete => ("delete", None),
            Effect::Clear(table) => ("truncate", Some(table.clone())),
            Effect::Sweep { relation, .. } => ("sweep", Some(relation.name.clone())),
        };
        json!({
            "time": Timestamp::now(),
            "sink": self.sink,
            "source": self.source,
            "position": mutation.position,
            "schema": table.as_ref().map(|name| &name.schema),
            "table": table.as_ref().map(|name| &name.table),
            "key": mutation.key.to_string(),
            "op": op,
            "reason": rejection.reason,
            "row": serde_json::from_slice::<Value>(&row).unwrap_or(Value::Null),
        })
    }
}

fn open_private(path: &Path) -> io::Result<File> {
    let mut file = OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    if last != [b'\n'] {
        file.write_all(b"\n")?;
    }
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(file)
}

/// A last line without its end is one that a crash cut short; its row is delivered, and refused, again.
fn read_positions(file: File) -> io::Result<HashSet<Position>> {
    #[derive(serde::Deserialize)]
    struct Letter {
        position: Position,
    }
    let mut known = HashSet::new();
    for line in BufReader::new(file).split(b'\n') {
        known.extend(serde_json::from_slice::<Letter>(&line?).map(|letter| letter.position).ok());
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Lsn;
    use crate::project::mutation::{Key, Mutation};

    fn rejection(commit: u64) -> Rejection {
        let position = Position { epoch: 1, commit_lsn: Lsn::new(commit), ordinal: 0 };
        let mutation = Mutation { key: Key("k".into()), position, effect: Effect::Delete };
        Rejection { mutation, reason: "too large\nreally".to_owned() }
    }

    #[test]
    fn a_row_refused_again_after_a_crash_is_kept_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut letters = DeadLetters::open(directory.path(), "s", "shop").expect("new");
        letters.append(&[rejection(1), rejection(2)]).expect("kept");
        let mut letters = DeadLetters::open(directory.path(), "s", "shop").expect("again");
        letters.append(&[rejection(2), rejection(3)]).expect("kept");
        assert_eq!(letters.len(), 3);
        let text = std::fs::read_to_string(directory.path().join("s.jsonl")).expect("a file");
        assert_eq!(text.lines().count(), 3);
        assert!(
            text.lines()
                .all(|line| serde_json::from_str::<Value>(line).is_ok_and(|v| v["reason"] == "too large\nreally"))
        );
    }

    #[test]
    fn a_line_cut_short_by_a_crash_does_not_swallow_the_next() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join("s.jsonl"), "{\"position\":").expect("half a line");
        let mut letters = DeadLetters::open(directory.path(), "s", "shop").expect("opens");
        letters.append(&[rejection(1)]).expect("kept");
        assert_eq!(DeadLetters::open(directory.path(), "s", "shop").expect("again").len(), 1);
    }

    #[test]
    fn a_sink_that_refuses_nothing_leaves_no_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let letters = DeadLetters::open(directory.path(), "s", "shop").expect("new");
        assert!(letters.is_empty() && std::fs::read_dir(directory.path()).expect("a directory").next().is_none());
    }
}
