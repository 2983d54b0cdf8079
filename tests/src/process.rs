//! One process of the binary.

use std::{
    fs::OpenOptions,
    path::{Path, PathBuf},
    process::{ExitStatus, Output, Stdio},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::{Child, Command};

use crate::PATIENCE;

/// Lines of a log that a failed test shows.
const TAIL_LINES: usize = 40;

/// The binary under test: `CIFER_BIN`, else the one that Cargo put beside the tests.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("CIFER_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the path of this test");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("target/debug/deps");
    let path = folder.join("cifer");
    assert!(
        path.is_file(),
        "{} is missing: build it with `cargo build -p cifer-node`, or run `cargo nextest run \
         --workspace`, or name another one in CIFER_BIN",
        path.display()
    );
    path
}

/// The binary with no settings from this process's environment.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CIFER_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).kill_on_drop(true);
    command
}

/// Runs the binary until it ends by itself.
///
/// # Panics
/// If it does not start, or does not end in time.
pub async fn run(arguments: &[&str]) -> Output {
    let output = command(arguments).stdin(Stdio::null()).output();
    tokio::time::timeout(PATIENCE, output)
        .await
        .unwrap_or_else(|_| panic!("cifer {arguments:?} does not end"))
        .unwrap_or_else(|error| panic!("{} does not start: {error}", binary().display()))
}

/// A process in the background. It is killed when this is dropped, and stops by itself when the
/// test is killed, because its standard input ends then.
#[derive(Debug)]
pub struct Process {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts the binary. What it says goes to the end of `<dir>/<name>.log`, its results to
    /// `<dir>/<name>.out`.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn spawn(dir: &Path, name: &str, arguments: &[&str]) -> Self {
        let file = |suffix: &str| {
            let path = dir.join(format!("{name}.{suffix}"));
            let file = OpenOptions::new().create(true).append(true).open(&path);
            (
                file.unwrap_or_else(|error| panic!("{}: {error}", path.display())),
                path,
            )
        };
        let ((out, _), (errors, log)) = (file("out"), file("log"));
        let child = command(arguments)
            .stdin(Stdio::piped())
            .stdout(out)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", binary().display()));
        Self {
            name: name.to_owned(),
            log,
            child,
        }
    }

    /// Its process id, until it ended.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// The most that it ever had resident, by the kernel's account, which misses nothing between two looks.
    ///
    /// # Panics
    /// Where there is no `/proc`, or when it has ended.
    #[must_use]
    pub fn peak_rss_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.id().expect("a running process"));
        let status = std::fs::read_to_string(path).expect("the process's status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.expect("VmHWM in kB") * 1024
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Kills it as a power failure would.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub async fn kill(mut self) {
        self.child
            .kill()
            .await
            .unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Asks it to end, and waits.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn terminate(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait().await
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended meanwhile.
            let _ = kill(Pid::from_raw(id), signal);
        }
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not end in time.
    pub async fn wait(&mut self) -> ExitStatus {
        // Waiting closes standard input, which would make the process stop.
        let stdin = self.child.stdin.take();
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        drop(stdin);
        match status {
            Ok(status) => status.expect("the state of a child"),
            Err(_) => panic!("{} does not end; {}", self.name, tail(&self.log)),
        }
    }
}

/// The end of a log, for a failure's message.
pub(crate) fn tail(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(TAIL_LINES);
    format!(
        "{} (without {skipped} lines):\n{}",
        log.display(),
        lines[skipped..].join("\n")
    )
}
