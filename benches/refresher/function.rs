//! A function in its own process. The benchmark starts it, sends it events, and reads `/proc`.

use std::fs::{File, read_dir, read_to_string};
use std::ops::Add;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::runtime_api::{Message, RuntimeApi};

/// The longest time until a function that waits for its next event sleeps. Only then has the kernel
/// booked its CPU time.
const SETTLING: Duration = Duration::from_millis(5);
/// The file for the function's log. Each start empties it. Look there if a function fails.
const LOG: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/function.log");

/// The binary in the release folder, even if this benchmark was built with another profile.
pub(crate) fn binary(name: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_BIN_EXE_refresher"));
    let binary = own.ancestors().nth(2).expect("a target folder").join("release").join(name);
    assert!(binary.is_file(), "{} is not there: run `make bench`, which builds it", binary.display());
    binary
}

/// How long something took: wall time and CPU time.
#[derive(Clone, Copy)]
pub(crate) struct Spent {
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

impl Add for Spent {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { wall: self.wall + other.wall, cpu: self.cpu + other.cpu }
    }
}

/// A running function. It stops when this value is dropped.
pub(crate) struct Function {
    child: Child,
    api: RuntimeApi,
}

impl Function {
    /// Starts the function with only this environment. The start ends when the function asks for
    /// its first event.
    pub(crate) fn start(binary: &Path, environment: &[(String, String)]) -> (Self, Spent) {
        let api = RuntimeApi::start();
        let log = File::create(LOG).expect("a log file in the target folder");
        let mut command = Command::new(binary);
        command.env_clear().stdout(log.try_clone().expect("a second handle")).stderr(log);
        command.env("AWS_LAMBDA_RUNTIME_API", api.address());
        command.env("AWS_LAMBDA_FUNCTION_NAME", "benchmark");
        command.env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST");
        command.env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128");
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        let started = Instant::now();
        let child = command.spawn().expect("a binary that runs");
        let function = Self { child, api };
        let wall = function.until_ready() - started;
        let cpu = function.cpu();
        (function, Spent { wall, cpu })
    }

    /// Sends an event and waits for the answer. The CPU time includes asking for the next event.
    pub(crate) fn invoke(&self, event: Value) -> (Value, Spent) {
        let cpu = self.cpu();
        let sent = Instant::now();
        self.api.send(event);
        let (answered, Message::Answer(answer)) = self.api.receive() else { panic!("no answer to the event") };
        self.until_ready();
        (answer, Spent { wall: answered - sent, cpu: self.cpu().saturating_sub(cpu) })
    }

    /// The most memory that the process has used so far, in MB.
    pub(crate) fn peak_memory(&self) -> f64 {
        let status = read_to_string(format!("/proc/{}/status", self.child.id())).expect("a running process");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        peak.and_then(|peak| peak.parse::<f64>().ok()).expect("a peak in kB") * 1024e-6
    }

    fn until_ready(&self) -> Instant {
        let (asked, Message::Ready) = self.api.receive() else { panic!("two answers to one event") };
        asked
    }

    /// CPU time of all threads so far. `/proc/PID/stat` counts in hundredths of a second, so this
    /// reads the kernel's nanoseconds.
    fn cpu(&self) -> Duration {
        sleep(SETTLING);
        let threads = read_dir(format!("/proc/{}/task", self.child.id())).expect("a running process");
        let nanoseconds = threads.map(|thread| {
            let booked =
                read_to_string(thread.expect("a thread").path().join("schedstat")).expect("a kernel with schedstat");
            booked.split(' ').next().and_then(|first| first.parse::<u64>().ok()).expect("nanoseconds first")
        });
        Duration::from_nanos(nanoseconds.sum())
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
