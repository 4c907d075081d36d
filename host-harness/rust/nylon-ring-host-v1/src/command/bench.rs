//! `bench`: what one call costs when a task awaits one at a time.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use nylon_ring_host_v1::{NrStatus, NylonRingHost};

use crate::CommandError;
use crate::args::{Args, Kind};
use crate::call::one;

/// The calls are made in this many rounds, whose median is given: a round in which the system had other work counts no
/// more than another.
const ROUNDS: u64 = 20;

/// Calls (or frames) awaited, and how long it took.
#[derive(Clone, Copy, Default)]
struct Round {
    calls: u64,
    took: Duration,
}

impl Round {
    fn ns_per_call(self) -> f64 {
        self.took.as_secs_f64() * 1e9 / self.calls.max(1) as f64
    }
}

pub async fn bench(args: Args) -> Result<(), CommandError> {
    let host = args.load()?;
    round(&host, &args, args.calls / 10 + 1).await?; // warm
    let (mut done, mut ns) = (0, Vec::new());
    while done < args.calls {
        let calls = (args.calls / ROUNDS).clamp(1, args.calls - done);
        let one = round(&host, &args, calls).await?;
        done += one.calls;
        ns.push(one.ns_per_call());
    }
    ns.sort_by(f64::total_cmp);
    Ok(print(&args, done, &ns)?)
}

async fn round(host: &NylonRingHost, args: &Args, calls: u64) -> Result<Round, CommandError> {
    let mut done = Round::default();
    let start = Instant::now();
    while done.calls < calls {
        done.calls += match args.kind {
            Kind::Stream => stream(host, args).await?,
            kind => {
                let (status, data) = one(host, args, kind).await?;
                answered(NrStatus::Ok, status, &data)?;
                has_length(args, &data)?;
                1
            }
        };
    }
    done.took = start.elapsed();
    Ok(done)
}

/// One stream to its end: how many frames it had, the last one included.
async fn stream(host: &NylonRingHost, args: &Args) -> Result<u64, CommandError> {
    let (_, mut frames) = host.call_stream(&args.entry, args.request()).await?;
    let mut count = 0;
    while let Some(frame) = frames.recv().await {
        count += 1;
        if frame.status.ends_stream() {
            answered(NrStatus::StreamEnd, frame.status, &frame.data)?;
        } else {
            has_length(args, &frame.data)?;
        }
    }
    Ok(count)
}

fn answered(expected: NrStatus, status: NrStatus, data: &[u8]) -> Result<(), CommandError> {
    if status == expected {
        return Ok(());
    }
    Err(CommandError::NotOk(format!(
        "{status}: {}",
        String::from_utf8_lossy(data)
    )))
}

/// A reply, or a frame before the last, against `--reply`.
fn has_length(args: &Args, data: &[u8]) -> Result<(), CommandError> {
    match args.reply {
        Some(wanted) if wanted != data.len() => Err(CommandError::Length(data.len(), wanted)),
        _ => Ok(()),
    }
}

/// `ns` of each round, sorted.
fn print(args: &Args, calls: u64, ns: &[f64]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let at = |place: usize| ns.get(place).copied().unwrap_or(f64::NAN);
    let (kind, median, best) = (args.kind.name(), at(ns.len() / 2), at(0));
    let per = if args.kind == Kind::Stream { "frame" } else { "call" };
    if args.json {
        let entry = quoted(&args.entry);
        return writeln!(
            out,
            "{{\"kind\": \"{kind}\", \"entry\": {entry}, \"per\": \"{per}\", \"calls\": {calls}, \
             \"ns_per_call\": {median:.3}, \"ns_per_call_best\": {best:.3}}}"
        );
    }
    writeln!(
        out,
        "{kind} {}: {median:.0} ns per {per} over {calls}, best round {best:.0}",
        args.entry
    )
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
