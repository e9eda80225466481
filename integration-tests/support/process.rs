//! Child processes: started, watched and ended by their own process id, never by name.

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

static OWN_GROUPS: AtomicBool = AtomicBool::new(false);

/// From now on each child gets a process group of its own, so that Ctrl-C in the terminal reaches this program only,
/// and it ends its children in the order it wants. Tests do not want that: there Ctrl-C ends everything at once.
pub(crate) fn own_groups() {
    OWN_GROUPS.store(true, Ordering::Relaxed);
}

/// Starts a child.
pub(crate) fn spawn(command: &mut Command) -> Child {
    if OWN_GROUPS.load(Ordering::Relaxed) {
        command.process_group(0);
    }
    let child = command.spawn();
    assert!(child.is_ok(), "cannot start {command:?}: {:?}; run `make setup`", child.err());
    child.expect("asserted above")
}

/// Sends a signal to one process; true if it was there to get it.
pub(crate) fn signal(pid: u32, signal: Signal) -> bool {
    pid_of(pid).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Waits for a child to end by itself.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => thread::sleep(Duration::from_millis(5)),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Ends a child: `gently` first, SIGKILL when it has not gone after `patience`.
pub(crate) fn end(child: &mut Child, gently: Signal, patience: Duration) -> Option<ExitStatus> {
    if let Ok(Some(status)) = child.try_wait() {
        return Some(status);
    }
    signal(child.id(), gently);
    if let Some(status) = wait(child, patience) {
        return Some(status);
    }
    // The standard library's `kill` and `wait` go by this child's id and reap it.
    let _already_gone = child.kill();
    child.wait().ok()
}

/// The processes a process has started, by `/proc`.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    // Each thread has its own.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let listed = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let children = |text: String| text.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<u32>>();
    listed.flat_map(children).collect()
}

/// Whether a process is there (a zombie is not).
pub(crate) fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the program's name, which may itself hold anything, in the last pair of brackets.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'))
}

/// The most memory that a process ever had, in bytes.
pub(crate) fn memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or_default() * 1024
}
