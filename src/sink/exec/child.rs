//! The program: started, spoken to, heard, ended.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout, Command};

use super::Options;
use super::protocol::{self, Answer};
use crate::sink::SinkError;

/// A line of the program's is no longer.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Of a line of its log so much is told.
const LOGGED_BYTES_MAX: usize = 1_000;
/// So long it has to end by itself once its input has ended.
const GRACE: Duration = Duration::from_secs(5);

/// Whether the program is where it is looked for.
pub(super) fn look(options: &Options) -> Result<(), SinkError> {
    let target = options.command.first().cloned().unwrap_or_default();
    let runs = |path: &Path| path.metadata().is_ok_and(|found| found.is_file() && found.mode() & 0o111 != 0);
    let places = std::env::var_os("PATH").unwrap_or_default();
    let found = match target.contains('/') {
        true => runs(Path::new(&target)),
        false => std::env::split_paths(&places).any(|place| runs(&place.join(&target))),
    };
    if found { Ok(()) } else { Err(unusable(target, "there is no such program".to_owned())) }
}

fn unusable(target: String, detail: String) -> SinkError {
    let remedy = "Mend `command` in the configuration, or the program, then restart walbridge".to_owned();
    SinkError::Unusable { target, detail, remedy }
}

/// A running program. Dropped, it is told to end, and killed if it does not.
pub(super) struct Child {
    target: String,
    process: tokio::process::Child,
    /// `None` once it has been closed.
    input: Option<BufWriter<ChildStdin>>,
    output: BufReader<ChildStdout>,
    timeout: Duration,
}

impl Child {
    /// Starts it, in a process group of its own: a signal to ours is not for it.
    pub(super) fn start(options: &Options) -> Result<Self, SinkError> {
        let target = options.command.first().cloned().unwrap_or_default();
        let arguments = options.command.get(1..).unwrap_or_default();
        let mut command = Command::new(&target);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = command.process_group(0).kill_on_drop(true).spawn();
        let mut process =
            process.map_err(|error| unusable(target.clone(), format!("it cannot be started: {error}")))?;
        let (input, output, log) = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        let (Some(input), Some(output)) = (input, output) else {
            let detail = "it has no input or output".to_owned();
            return Err(SinkError::Unavailable { target, detail });
        };
        if let Some(log) = log {
            tokio::spawn(tell(options.name.clone(), log));
        }
        let (input, output) = (Some(BufWriter::new(input)), BufReader::new(output));
        Ok(Child { target, process, input, output, timeout: options.timeout })
    }

    /// Gives it a line. It need not have read it.
    pub(super) async fn say(&mut self, line: &[u8]) -> Result<(), SinkError> {
        let timeout = self.timeout;
        let Some(input) = &mut self.input else { return Err(self.failed("it has been told to end")) };
        match tokio::time::timeout(timeout, input.write_all(line)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.gone(&error.to_string()).await),
            Err(_) => Err(self.failed(&format!("it has read nothing for {timeout:?}"))),
        }
    }

    /// Its next line.
    pub(super) async fn hear(&mut self) -> Result<Answer, SinkError> {
        let timeout = self.timeout;
        let mut line = Vec::new();
        let heard = async {
            if let Some(input) = &mut self.input {
                input.flush().await?;
            }
            (&mut self.output).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await
        };
        match tokio::time::timeout(timeout, heard).await {
            Ok(Ok(0)) => Err(self.gone("its output has ended").await),
            Ok(Ok(_)) => protocol::read(&String::from_utf8_lossy(&line)).map_err(|why| self.out_of_turn(&why)),
            Ok(Err(error)) => Err(self.gone(&error.to_string()).await),
            Err(_) => Err(self.failed(&format!("it has said nothing for {timeout:?}"))),
        }
    }

    /// Whether it runs.
    pub(super) fn check(&mut self) -> Result<(), SinkError> {
        match self.process.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failed(&format!("it has ended: {status}"))),
            Err(error) => Err(self.failed(&error.to_string())),
        }
    }

    /// It does not keep to the protocol.
    pub(super) fn out_of_turn(&self, detail: &str) -> SinkError {
        self.failed(&format!("{detail} (docs/exec.md)"))
    }

    /// Why it can be spoken to no more. A program that is ending is waited for a moment: how it ended says more.
    async fn gone(&mut self, why: &str) -> SinkError {
        match tokio::time::timeout(Duration::from_secs(1), self.process.wait()).await {
            Ok(Ok(status)) => self.failed(&format!("it has ended: {status}")),
            _ => self.failed(why),
        }
    }

    fn failed(&self, detail: &str) -> SinkError {
        SinkError::Unavailable { target: self.target.clone(), detail: detail.to_owned() }
    }
}

impl Drop for Child {
    /// Waits for it, because nobody will afterwards; no longer than it is given to end by itself. If it is killed, so are its children.
    fn drop(&mut self) {
        self.input = None;
        let Some(group) =
            self.process.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        else {
            return;
        };
        let deadline = Instant::now() + GRACE;
        while Instant::now() < deadline {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        // That it is gone is not left to whoever inherits it.
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline + GRACE {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// What it writes to its standard error goes to the log.
async fn tell(sink: String, log: ChildStderr) {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut log).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {
                let text = String::from_utf8_lossy(line.get(..LOGGED_BYTES_MAX.min(line.len())).unwrap_or_default())
                    .trim_end()
                    .to_owned();
                tracing::info!(sink, text, "the program says");
            }
        }
    }
}
