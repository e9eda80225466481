//! The result of `initdb`, made once and copied for each cluster: a copy costs a tenth of the time.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

use super::account::Account;
use super::role::{CREATE_ROLE, ROLE_PASSWORD};
use super::{PASSWORD, program_of};

/// Lives while a cluster does. A `static` would never be dropped and would leave its directory behind.
static SHARED: Mutex<BTreeMap<u32, Weak<Template>>> = Mutex::new(BTreeMap::new());

/// A cluster that was never started.
pub(super) struct Template {
    directory: TempDir,
}

impl Template {
    /// The template that this process's clusters of a major version share.
    pub(super) fn shared(account: &Account, major: u32) -> Arc<Template> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(template) = shared.get(&major).and_then(Weak::upgrade) {
            return template;
        }
        let template = Arc::new(Template::make(account, major));
        shared.insert(major, Arc::downgrade(&template));
        template
    }

    pub(super) fn make(account: &Account, major: u32) -> Template {
        let directory = account.directory("walbridge-pg-template-");
        let password = directory.path().join("password");
        fs::write(&password, PASSWORD).expect("the password file is written");
        let mut command = account.command(&program_of(major, "initdb"));
        command.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]);
        command.arg("--pwfile").arg(&password).arg("-D").arg(directory.path().join("data"));
        run(&mut command);
        let settings = directory.path().join("data/postgresql.conf");
        let text = fs::read_to_string(&settings).expect("initdb wrote its settings");
        fs::write(&settings, format!("{text}\ninclude 'walbridge.conf'\n")).expect("the settings are written");
        make_role(account, major, &directory.path().join("data"));
        Template { directory }
    }

    /// Copies the cluster, with its owner and modes.
    pub(super) fn copy_to(&self, data: &Path) {
        run(Command::new("cp").arg("-a").arg(self.directory.path().join("data")).arg(data));
    }
}

/// In single-user mode: `walbridge.conf`, which the settings include, is not there yet, and an empty one will do.
fn make_role(account: &Account, major: u32, data: &Path) {
    let settings = data.join("walbridge.conf");
    fs::write(&settings, "").expect("empty settings are written");
    let mut command = account.command(&program_of(major, "postgres"));
    command.args(["--single", "-j", "-D"]).arg(data).arg("postgres");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("postgres --single");
    let statement = format!("{CREATE_ROLE} PASSWORD '{ROLE_PASSWORD}';\n\n");
    child.stdin.take().expect("its stdin").write_all(statement.as_bytes()).expect("the statement is written");
    let output = child.wait_with_output().expect("postgres --single ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("ERROR"), "the role cannot be made: {said}");
    fs::remove_file(&settings).expect("the empty settings go");
}

fn run(command: &mut Command) {
    let output = command.output();
    assert!(output.is_ok(), "cannot run {command:?}: {:?}; run `make setup`", output.err());
    let output = output.expect("asserted above");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?} failed with {}: {said}", output.status);
}
