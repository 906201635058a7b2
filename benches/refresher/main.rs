//! Measures what the refresher costs: `make bench`.
//!
//! It runs the release binary as Lambda does: as a process that talks to a Runtime API. Stand-ins
//! play AWS and a Zoho that takes 150 ms. A function that does nothing runs beside it for
//! comparison. A figure that misses its aim is only shown. A wrong report or a wrong number of
//! calls fails the benchmark. It needs Linux (`/proc`) and python3 (to pack).

mod function;
mod installation;
mod quotas;
mod runtime_api;
mod table;

use std::fs::{metadata, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread::available_parallelism;
use std::time::Duration;

use function::{Function, Spent, binary};
use installation::{CONCURRENCY, Calls, Installation, ZOHO_LATENCY};
use serde_json::{Value, json};
use table::Table;

/// Each figure is the median of this many starts.
const STARTS: usize = 15;
/// The most CPU time until the function is ready, as a multiple of the empty function's.
const INIT_AIM: f64 = 2.5;
/// The most CPU time in ms to refresh one due connection, with the start of the process.
const FIRST_REPORT_AIM: f64 = 20.0;
/// The number of connections in the large run.
const MANY: u32 = 1000;
/// The most time for that many connections, as a multiple of the time that Zoho alone needs, plus
/// seconds in which the pace of puts, which starts at three a second, speeds up.
const WALL_AIM: (f64, f64) = (1.2, 3.0);
/// The most memory in MB to refresh that many connections.
const MEMORY_AIM: f64 = 24.0;
/// Prints the size of a zip with the file as `bootstrap`.
const ZIP: &str = "
import io, sys, zipfile
zipped = io.BytesIO()
with zipfile.ZipFile(zipped, 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
    archive.write(sys.argv[1], 'bootstrap')
print(len(zipped.getvalue()))";

fn main() -> ExitCode {
    let mut bench = Bench { ours: binary("refresher"), empty: binary("empty-function"), ..Bench::default() };
    bench.sizes();
    bench.cold_starts();
    bench.tls_starts();
    for connections in [1, 100, MANY] {
        bench.runs(connections);
    }
    bench.quotas();
    print!("{}\n\n{}", machine(), bench.table);
    println!(
        "\nStarts: medians of {STARTS}. Zoho takes {} ms; {CONCURRENCY} connections at a time. AWS has its quotas where a row names\n\
         them, and none elsewhere. Calls: BatchGetSecretValue + GetParametersByPath + PutParameter; Zoho.",
        ZOHO_LATENCY.as_millis()
    );
    for wrong in &bench.wrong {
        eprintln!("WRONG: {wrong}");
    }
    if bench.wrong.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The two functions, and the results.
#[derive(Default)]
struct Bench {
    ours: PathBuf,
    empty: PathBuf,
    table: Table,
    wrong: Vec<String>,
}

/// One start and its first event.
struct ColdStart {
    init: Spent,
    first_answer: Spent,
    peak_memory: f64,
}

impl Bench {
    fn sizes(&mut self) {
        for (what, size) in [("binary", file_size as fn(&Path) -> f64), ("zip", zip_size)] {
            self.table.row(what, mb(size(&self.ours))).beside(mb(size(&self.empty)));
        }
    }

    fn cold_starts(&mut self) {
        // Alternately, so that both see the same state of the machine. The first start of each
        // loads its file into memory and does not count.
        let starts =
            (0..=STARTS).map(|_| (self.cold_start(&Installation::with_due(1)), self.cold_start_of_empty())).skip(1);
        let (ours, empty): (Vec<_>, Vec<_>) = starts.unzip();
        let both = |figure: fn(&ColdStart) -> f64| (median(&ours, figure), median(&empty, figure));
        let table = &mut self.table;

        let (ours, empty) = both(|start| millis(start.init.wall));
        table.row("start until ready", ms(ours)).beside(ms(empty));
        let (ours, empty) = both(|start| millis(start.init.cpu));
        table.row("… CPU", ms(ours)).beside(ms(empty)).aim(format!("≤ {INIT_AIM} × empty"), ours <= INIT_AIM * empty);
        let (ours, empty) = both(|start| millis(start.first_answer.wall));
        table.row("start until first report, 1 due", ms(ours)).beside(ms(empty));
        table.row("… beyond Zoho's latency", ms(ours - millis(ZOHO_LATENCY))).beside(ms(empty));
        let (ours, empty) = both(|start| millis(start.first_answer.cpu));
        table
            .row("… CPU", ms(ours))
            .beside(ms(empty))
            .aim(format!("< {}", ms(FIRST_REPORT_AIM)), ours < FIRST_REPORT_AIM);
        let (ours, empty) = both(|start| start.peak_memory);
        table.row("… peak memory", mb(ours)).beside(mb(empty));
    }

    /// The same start and first report over TLS: each of the three services costs a handshake. The
    /// wall time includes the stand-ins' half of each handshake, some 2 ms of unoptimised code.
    fn tls_starts(&mut self) {
        let starts = (0..=STARTS).map(|_| self.cold_start(&Installation::with_due_over_tls(1))).skip(1);
        let starts: Vec<_> = starts.collect();
        let wall = median(&starts, |start| millis(start.first_answer.wall));
        self.table.row("start until first report over TLS, 1 due", ms(wall));
        self.table.row("… CPU", ms(median(&starts, |start| millis(start.first_answer.cpu))));
    }

    fn cold_start(&mut self, installation: &Installation) -> ColdStart {
        let (function, init) = Function::start(&self.ours, &installation.environment());
        let (report, run) = function.invoke(json!({}));
        self.check("a cold start", &report, &installation.take_calls(), 1, 1);
        ColdStart { init, first_answer: init + run, peak_memory: function.peak_memory() }
    }

    fn cold_start_of_empty(&self) -> ColdStart {
        let (function, init) = Function::start(&self.empty, &[]);
        let (_, run) = function.invoke(json!({}));
        ColdStart { init, first_answer: init + run, peak_memory: function.peak_memory() }
    }

    /// A run in which all connections are due. With many connections, also a run in the same
    /// process in which none is due.
    fn runs(&mut self, connections: u32) {
        let installation = Installation::with_due(connections);
        let (function, _) = Function::start(&self.ours, &installation.environment());
        self.run(&installation, &function, connections, connections);
        if connections == MANY {
            self.run(&installation, &function, connections, 0);
        }
    }

    fn run(&mut self, installation: &Installation, function: &Function, connections: u32, due: u32) {
        let (report, Spent { wall, cpu }) = function.invoke(json!({}));
        let (wall, peak) = (millis(wall), function.peak_memory());
        let calls = installation.take_calls();
        let name = if due > 0 { format!("{due} due") } else { format!("{connections} fresh") };
        self.check(&name, &report, &calls, connections, due);

        let time = self.table.row(&name, ms(wall));
        if due == MANY {
            let aim = WALL_AIM.0 * millis(ZOHO_LATENCY * due / CONCURRENCY) + 1000.0 * WALL_AIM.1;
            time.aim(format!("≤ {}", ms(aim)), wall <= aim);
        }
        self.table.row("… CPU", ms(millis(cpu)));
        let memory = self.table.row("… peak memory so far", mb(peak));
        if connections == MANY {
            memory.aim(format!("< {}", mb(MEMORY_AIM)), peak < MEMORY_AIM);
        }
        let needed = Calls::needed(connections, due);
        self.table.row("… calls", &calls).aim(&needed, calls == needed);
    }

    /// Notes a wrong report, and calls that the run did not need.
    fn check(&mut self, run: &str, report: &Value, calls: &Calls, connections: u32, due: u32) {
        let needed = Calls::needed(connections, due);
        if *calls != needed {
            self.wrong.push(format!("{run}: calls {calls}, needed {needed}"));
        }
        let none: [&str; 0] = [];
        let expected = json!({
            "schema": 1, "connections": connections, "fresh": connections - due, "refreshed": due, "awaiting_consent": 0,
            "consent_required": none, "misconfigured": none, "throttled": none, "failed": none, "deferred": none, "recovered": none,
        });
        for (field, expected) in expected.as_object().expect("the fields just named") {
            if report[field] != *expected {
                self.wrong.push(format!("{run}: the report's {field} is {}, not {expected}", report[field]));
            }
        }
    }
}

/// The middle one of an odd number of values.
fn median(starts: &[ColdStart], figure: fn(&ColdStart) -> f64) -> f64 {
    let mut figures: Vec<_> = starts.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// In MB.
fn file_size(file: &Path) -> f64 {
    let bytes = metadata(file).expect("a binary").len();
    f64::from(u32::try_from(bytes).expect("a binary of less than 4 GB")) / 1e6
}

/// In MB.
fn zip_size(file: &Path) -> f64 {
    let zip = Command::new("python3").args(["-c", ZIP]).arg(file).output().expect("python3");
    let bytes = String::from_utf8_lossy(&zip.stdout).trim().parse::<f64>();
    bytes.unwrap_or_else(|_| panic!("no zip: {}", String::from_utf8_lossy(&zip.stderr))) / 1e6
}

fn machine() -> String {
    let cpus = read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown", |(_, name)| name);
    let cores = available_parallelism().map_or(1, usize::from);
    format!("Measured on {cores} cores, {model}, {}.", std::env::consts::ARCH)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn ms(milliseconds: f64) -> String {
    if milliseconds < 100.0 { format!("{milliseconds:.1} ms") } else { format!("{milliseconds:.0} ms") }
}

fn secs(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

fn mb(megabytes: f64) -> String {
    format!("{megabytes:.1} MB")
}
