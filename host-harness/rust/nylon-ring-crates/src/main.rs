//! nylon-ring-crates: plugins of ABI v2 through the released host crate, `nylon-ring-host`.

mod bench;
mod drive;

use std::io::{self, Write};
use std::process::ExitCode;

use bench::BenchError;

const USAGE: &str = "\
nylon-ring-crates: nylon-ring v2 plugins through the released crate nylon-ring-host

  nylon-ring-crates drive     the driver of the conformance suite: commands on stdin, answers on stdout
  nylon-ring-crates bench PLUGIN ENTRY --kind KIND [--size N | --body TEXT] [--calls N] [--frames N]
                          [--reply N] [--json]

KIND:      call_response, bytes (call_response_bytes), fast (call_response_fast), id (call_response of a resolved entry)
           or stream (call_stream, read to its end)
--size     bytes of the body; --body gives them
--calls    how many, over all rounds (default 210000)
--frames   of a stream: take so many, then drop it
--reply    bytes of each reply, or frame before the last: another length is a failure

bench awaits one call at a time on a current-thread runtime, and gives the median of 21 rounds.

Exit code: 0, 1 when a call was not answered Ok (a stream: StreamEnd), 2 for wrong usage.
";

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    let done = match given.as_slice() {
        ["drive"] => return conformance_driver::run(drive::ReleasedHost),
        ["bench", rest @ ..] => bench::bench(rest),
        [] | ["--help"] => io::stdout().write_all(USAGE.as_bytes()).map_err(BenchError::from),
        [other, ..] => Err(BenchError::Usage(format!("no such command: {other}"))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let usage = matches!(error, BenchError::Usage(_));
            let _ = writeln!(io::stderr(), "nylon-ring-crates: {error}"); // nobody may be reading
            if usage {
                let _ = write!(io::stderr(), "\n{USAGE}");
            }
            ExitCode::from(if usage { 2 } else { 1 })
        }
    }
}
