//! nylon-ring-host: load a v1 plugin and call it, by hand.
//!
//! SIGPIPE is ignored, as Rust's start-up does for every program: a plugin that writes into a closed pipe must get an
//! error, not end its host.

mod args;
mod bench;
mod call;
mod drive;

use std::io::{self, Write};
use std::process::ExitCode;

use args::{Args, Command};
use nylon_ring_host_v1::NylonRingHostError;
use thiserror::Error;

const USAGE: &str = "\
nylon-ring-host: load a nylon-ring v1 plugin and call it, through tokio

  nylon-ring-host call PLUGIN ENTRY [--raw | --fast] [--timeout SECONDS] [request]
  nylon-ring-host stream PLUGIN ENTRY [--send TEXT ...] [--close] [--timeout SECONDS] [request]
  nylon-ring-host bench PLUGIN ENTRY --kind unary|raw|fast|stream [--calls N] [--workers N] [--reply N] [--json]
                        [request]
  nylon-ring-host drive             the conformance suite's commands on stdin, JSON on stdout

request:  --method M  --path P  --query Q  --header K:V ...  --body TEXT|@FILE
plugin:   --layout seed|raw   seed (default): five functions; raw: six, with handle_raw
bench:    awaits one call at a time, on a worker of tokio's; for a stream one frame at a time, stream after stream
          --reply N: a reply, or a frame before the last, of another length is a failure

Exit code: 0 when every call was answered Ok (a stream: StreamEnd), 1 when not, 2 for wrong usage.
";

#[derive(Debug, Error)]
enum CommandError {
    #[error("{0}\n\n{USAGE}")]
    Usage(String),
    #[error(transparent)]
    Host(#[from] NylonRingHostError),
    #[error("no reply within {0} s")]
    Timeout(f64),
    #[error("cannot read {0}: {1}")]
    Body(String, io::Error),
    #[error("the call was answered {0}")]
    NotOk(String),
    #[error("a reply had {0} bytes, and not the {1} of --reply")]
    Length(usize, usize),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the measuring task failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

fn run() -> Result<(), CommandError> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if given.is_empty() || given.iter().any(|argument| argument == "--help") {
        io::stdout().write_all(USAGE.as_bytes())?;
        return Ok(());
    }
    let args = Args::parse(given)?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = args.workers {
        runtime.worker_threads(workers);
    }
    let runtime = runtime.enable_time().build()?;
    match args.command {
        Command::Call => runtime.block_on(call::call(args)),
        Command::Stream => runtime.block_on(call::stream(args)),
        // On a worker, where a server's handlers run: waking the thread in block_on costs something else.
        Command::Bench => runtime.block_on(runtime.spawn(bench::bench(args)))?,
    }
}

fn main() -> ExitCode {
    let mut given = std::env::args().skip(1);
    if given.len() == 1 && given.next().as_deref() == Some("drive") {
        return conformance_driver::run(drive::Driver);
    }
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "nylon-ring-host: {error}"); // nobody may be reading
            ExitCode::from(if matches!(error, CommandError::Usage(_)) { 2 } else { 1 })
        }
    }
}
