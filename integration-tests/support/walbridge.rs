//! The real `walbridge` binary, run as a user runs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::ports;
use super::postgres::role;
use super::process::{self, Signal};

/// A running (or ended) `walbridge run`. Dropping it ends the process and removes its directory.
pub(crate) struct Walbridge {
    directory: TempDir,
    config: PathBuf,
    environment: Vec<(String, String)>,
    /// What `walbridge run` is run by, and its arguments; it replaces itself by it.
    runner: Vec<String>,
    only: Option<&'static str>,
    admin: String,
    child: Option<Child>,
    http: reqwest::Client,
}

impl Walbridge {
    /// Writes the configuration to a file in a directory of its own and starts `walbridge run --config FILE`. Where the
    /// configuration has no `[admin] listen`, one on a free port is added.
    pub(crate) fn start(config: &str) -> Walbridge {
        Walbridge::start_with(config, &[])
    }

    /// The same, with environment variables.
    pub(crate) fn start_with(config: &str, environment: &[(&str, &str)]) -> Walbridge {
        let mut walbridge = Walbridge::configured_with(config, environment);
        walbridge.start_again();
        walbridge
    }

    /// Configured, and not started yet.
    pub(crate) fn configured(config: &str) -> Walbridge {
        Walbridge::configured_with(config, &[])
    }

    /// The same, with environment variables.
    pub(crate) fn configured_with(config: &str, environment: &[(&str, &str)]) -> Walbridge {
        let mut walbridge = Walbridge::new(environment);
        walbridge.configure(config);
        walbridge
    }

    /// Starts it with a configuration file of the repository. `admin` is where that, with this environment, listens.
    pub(crate) fn start_file(config: &Path, admin: &str, environment: &[(&str, &str)]) -> Walbridge {
        let mut walbridge = Walbridge::new(environment);
        walbridge.config = config.to_owned();
        walbridge.admin = admin.to_owned();
        walbridge.start_again();
        walbridge
    }

    fn new(environment: &[(&str, &str)]) -> Walbridge {
        let directory = tempfile::Builder::new().prefix("walbridge-run-").tempdir().expect("a temporary directory");
        let config = directory.path().join("walbridge.toml");
        let environment = environment.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(5)).no_proxy().build().expect("a client");
        Walbridge {
            directory,
            config,
            environment,
            runner: Vec::new(),
            only: None,
            admin: String::new(),
            child: None,
            http,
        }
    }

    /// Replaces the configuration file; it counts from the next start on.
    pub(crate) fn configure(&mut self, config: &str) {
        let parsed = config.parse::<toml::Table>().unwrap_or_default();
        let listen = parsed.get("admin").and_then(|admin| admin.get("listen")).and_then(toml::Value::as_str);
        let (admin, config) = match listen {
            Some(listen) => (listen.to_owned(), config.to_owned()),
            None => {
                let listen = format!("127.0.0.1:{}", ports::free());
                let added = format!("{config}\n[admin]\nlisten = \"{listen}\"\n");
                (listen, added)
            }
        };
        self.admin = admin;
        fs::write(&self.config, config).expect("the configuration is written");
    }

    /// From the next start on `walbridge run` is run by this program, which must replace itself by what it is given.
    pub(crate) fn run_by(&mut self, runner: &[&str]) {
        self.runner = runner.iter().map(|&word| word.to_owned()).collect();
    }

    /// From the next start on it does only this half of the work: `capture` or `deliver`.
    pub(crate) fn only(&mut self, part: &'static str) {
        self.only = Some(part);
    }

    /// Starts it again after it ended, with the same configuration; its log goes on in the same file.
    pub(crate) fn start_again(&mut self) {
        self.set_up();
        self.go_on();
    }

    /// The same where the database is set up already.
    pub(crate) fn go_on(&mut self) {
        assert!(self.child.is_none(), "walbridge is still running");
        let log = fs::File::options().create(true).append(true).open(self.log_path()).expect("the log file");
        let mut command = self.command_by(&self.runner, &["run"]);
        if let Some(part) = self.only {
            command.args(["--only", part]);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("the log file")).stderr(log);
        self.child = Some(process::spawn(&mut command));
    }

    /// Lets `walbridge setup --print-sql` say what each source's role needs, and an administrator run it: for the sources whose
    /// url is `Postgres::url` and whose server runs.
    pub(crate) fn set_up(&self) {
        let text = fs::read_to_string(&self.config).unwrap_or_default();
        let parsed = text.parse::<toml::Table>().unwrap_or_default();
        let sources = parsed.get("sources").and_then(toml::Value::as_table).into_iter().flatten();
        for (name, source) in sources {
            let url = source.get("url").and_then(toml::Value::as_str).unwrap_or_default();
            let filled = |url: String, (name, value): &(String, String)| url.replace(&format!("${{{name}}}"), value);
            let url = self.environment.iter().fold(url.to_owned(), filled);
            let Some(administrator) = role::administrator_of(&url) else { continue };
            let setup = self.run(&["setup", "--print-sql", "--source", name, "--admin-url", &administrator]);
            if setup.status.success() {
                let sql = String::from_utf8_lossy(&setup.stdout);
                let ran = role::run_as(&administrator, &sql);
                assert!(ran.is_ok(), "{}\n{sql}", ran.err().unwrap_or_default());
            }
        }
    }

    /// Runs another command beside it (`["log", "dump", "--json"]`) with the same configuration, to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).stdin(Stdio::null()).output().expect("walbridge runs")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_by(&[], arguments)
    }

    fn command_by(&self, runner: &[String], arguments: &[&str]) -> Command {
        let mut command = match runner.split_first() {
            Some((program, before)) => {
                let mut command = Command::new(program);
                command.args(before).arg(binary());
                command
            }
            None => Command::new(binary()),
        };
        command.args(arguments).arg("--config").arg(&self.config);
        command.current_dir(self.directory.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// `GET /api/status`, or why not.
    pub(crate) async fn try_status(&self) -> Result<Value, String> {
        self.get("/api/status").await.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()))
    }

    /// `GET /api/status`; waits for the admin port to open.
    pub(crate) async fn status(&self) -> Value {
        super::eventually(Duration::from_secs(20), || self.try_status()).await
    }

    /// The body of a page of the admin port, whatever its HTTP status.
    pub(crate) async fn get(&self, path: &str) -> Result<String, String> {
        let answer = self.http.get(self.admin_url(path)).send().await.map_err(|error| format!("{error:?}"))?;
        answer.text().await.map_err(|error| format!("{error:?}"))
    }

    /// `http://HOST:PORT` and the path.
    pub(crate) fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// Waits until the status is as `wanted` says, and returns it. Fails at the deadline, and at once when the process
    /// ends, with the last status and the log.
    pub(crate) async fn wait_for(&mut self, deadline: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        let mut last = Err("nothing asked yet".to_owned());
        while started.elapsed() < deadline {
            last = self.try_status().await;
            match &last {
                Ok(status) if wanted(status) => return status.clone(),
                _ => {}
            }
            let ended = self.ended();
            assert!(ended.is_none(), "walbridge ended with {ended:?}; last status {last:#?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!("not so after {deadline:.1?}; last status {last:#?}\n{}", self.log())
    }

    /// Its process id, while it runs.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
        if status.is_some() {
            self.child = None;
        }
        status
    }

    /// Waits for it to end by itself, and returns its exit code (`None`: a signal ended it).
    pub(crate) fn exit_code(&mut self, patience: Duration) -> Option<i32> {
        let status = self.child.as_mut().and_then(|child| process::wait(child, patience));
        assert!(status.is_some(), "walbridge has not ended within {patience:?}\n{}", self.log());
        self.child = None;
        status.and_then(|status| status.code())
    }

    /// Asks it to stop (SIGTERM) and returns its exit code.
    pub(crate) fn sigterm(&mut self) -> Option<i32> {
        if let Some(pid) = self.pid() {
            process::signal(pid, Signal::TERM);
        }
        self.exit_code(Duration::from_secs(30))
    }

    /// Ends it with SIGKILL, wherever it is.
    pub(crate) fn sigkill(&mut self) {
        if let Some(mut child) = self.child.take() {
            process::end(&mut child, Signal::KILL, Duration::from_secs(5));
        }
    }

    /// All it has written to stdout and stderr, over all its starts.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// The directory it runs in: relative paths of the configuration start here.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Its configuration file.
    pub(crate) fn config_path(&self) -> &Path {
        &self.config
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("walbridge.out")
    }
}

impl Drop for Walbridge {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            process::end(&mut child, Signal::TERM, Duration::from_secs(10));
        }
    }
}

/// The binary under test. Cargo names it to tests and benches; the demo is built beside it.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = option_env!("CARGO_BIN_EXE_walbridge") {
        return PathBuf::from(path);
    }
    let here = std::env::current_exe().unwrap_or_default();
    // target/PROFILE/examples/demo → target/PROFILE/walbridge
    let found = here.ancestors().skip(1).map(|folder| folder.join("walbridge")).find(|path| path.is_file());
    assert!(found.is_some(), "no walbridge beside {}; build it first: cargo build --bin walbridge", here.display());
    found.unwrap_or_default()
}
