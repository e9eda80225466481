//! The index's directory: made if need be, and refused if it is not one that we should write to.

use std::fmt;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::sink::SinkError;
use crate::sink::disk::{failed, unusable};

/// Which directory it is, so that one made anew under the same path is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// The file that makes a directory an index.
const META: &str = "meta.json";

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.device, self.inode)
    }
}

/// Makes the directory, or checks the one that is there; says whether it holds an index.
pub(super) fn prepare(path: &Path) -> Result<bool, SinkError> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            make(path).map_err(|error| failed(path, "create", &error))?;
            return Ok(false);
        }
        found => found.map_err(|error| failed(path, "open", &error))?,
    };
    if metadata.is_symlink() {
        return Err(unusable(path, "it is a symbolic link", "Configure the directory that it points to"));
    }
    if !metadata.is_dir() {
        return Err(unusable(path, "it is not a directory", "Move it away, or configure another path"));
    }
    let is_index = path.join(META).exists();
    if !is_index {
        refuse_foreign(path)?;
    }
    if metadata.permissions().mode() & 0o077 != 0 {
        if is_index {
            let detail = "other users can reach it, and it holds rows";
            return Err(unusable(path, detail, "Run `chmod 700` on it"));
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(|error| failed(path, "change the mode of", &error))?;
    }
    Ok(is_index)
}

/// Which directory stands there now, if it still is an index.
pub(super) fn identify(path: &Path) -> Option<Identity> {
    let metadata = fs::symlink_metadata(path).ok().filter(|_| path.join(META).exists())?;
    Some(Identity { device: metadata.dev(), inode: metadata.ino() })
}

fn make(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    DirBuilder::new().mode(0o700).create(path)?;
    fs::File::open(parent)?.sync_all()
}

/// Tantivy removes files that it does not know. What an interrupted creation leaves begins with a dot.
fn refuse_foreign(path: &Path) -> Result<(), SinkError> {
    for entry in fs::read_dir(path).map_err(|error| failed(path, "list", &error))? {
        let name = entry.map_err(|error| failed(path, "list", &error))?.file_name();
        if !name.to_string_lossy().starts_with('.') {
            let detail = format!("it holds `{}` but no index", name.to_string_lossy());
            return Err(unusable(path, &detail, "Configure an empty directory, or remove this one if it was an index"));
        }
    }
    Ok(())
}
