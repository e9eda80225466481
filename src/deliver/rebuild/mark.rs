//! What is remembered of a rebuild until it is done: an order is not forgotten, and what was begun is finished first, whatever crashes.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::event::Offset;
use crate::sink::Old;

/// A rebuild under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mark {
    /// What becomes of the target that readers have now.
    pub(super) old: Old,
    /// The first event that is applied.
    pub(super) from: Offset,
    /// It begins with new copies of the tables.
    pub(super) copy: bool,
    /// Which copy of each table that is, once they have begun.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) copies: BTreeMap<String, u32>,
    /// How far it is.
    pub(super) step: Step,
}

/// What a rebuild is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Step {
    /// It is built.
    Building,
    /// What is built, known by its identity, takes its place: nothing else is written before that is done.
    Replacing(String),
    /// It has, and the old one has still to be removed.
    Replaced,
}

/// Where the mark of a sink's rebuild, and the letters of what is built, are kept.
#[derive(Clone, Debug)]
pub(super) struct Marks {
    mark: PathBuf,
    letters_beside: PathBuf,
    letters: PathBuf,
}

impl Marks {
    /// `letters`: the directory of all sinks' letters. `beside`: the one of all that is built beside.
    pub(super) fn new(beside: &Path, letters: &Path, sink: &str) -> Self {
        let file = format!("{sink}.jsonl");
        Marks {
            mark: beside.join(format!("{sink}.json")),
            letters_beside: beside.join(&file),
            letters: letters.join(file),
        }
    }

    /// `None`: there is no rebuild.
    pub(super) fn read(&self) -> io::Result<Option<Mark>> {
        match fs::read(&self.mark) {
            Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whoever reads finds the mark of before or this one.
    pub(super) fn write(&self, mark: &Mark) -> io::Result<()> {
        let new = self.mark.with_extension("new");
        fs::create_dir_all(self.directory())?;
        let mut file = OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(mark)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.mark)?;
        sync(self.directory())
    }

    /// It is over, and what was built has no letters beside.
    pub(super) fn remove(&self) -> io::Result<()> {
        remove(&self.letters_beside)?;
        remove(&self.mark)?;
        sync(self.directory())
    }

    /// The letters of what was built will be the sink's: there are some, if only none.
    pub(super) fn keep_letters(&self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.letters_beside)?;
        file.sync_all()?;
        sync(self.directory())
    }

    /// They are. Doing it again changes nothing.
    pub(super) fn move_letters(&self) -> io::Result<()> {
        match fs::rename(&self.letters_beside, &self.letters) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync(self.letters.parent().unwrap_or(Path::new("."))),
        }
    }

    fn directory(&self) -> &Path {
        self.mark.parent().unwrap_or(Path::new("."))
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_and_the_letters_that_go_with_it_outlive_a_crash_at_any_step() {
        let home = tempfile::tempdir().expect("a directory");
        let (letters, beside) = (home.path().to_owned(), home.path().join("rebuild"));
        let marks = || Marks::new(&beside, &letters, "s");
        assert_eq!(marks().read().expect("none"), None);
        let mut mark =
            Mark { old: Old::Kept, from: Offset(3), copy: true, copies: BTreeMap::new(), step: Step::Building };
        marks().write(&mark).expect("a disk");
        mark.copies.insert("public.t".to_owned(), 2);
        mark.step = Step::Replacing("it".to_owned());
        marks().write(&mark).expect("a disk");
        assert_eq!(marks().read().expect("a disk"), Some(mark));
        fs::write(letters.join("s.jsonl"), "old").expect("a disk");
        marks().move_letters().expect("nothing to move");
        marks().keep_letters().expect("a disk");
        for _ in 0..2 {
            marks().move_letters().expect("a disk");
            assert_eq!(fs::read(letters.join("s.jsonl")).expect("a file"), b"");
        }
        marks().remove().expect("a disk");
        assert_eq!(marks().read().expect("none"), None);
    }
}
