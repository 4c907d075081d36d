//! `bench`: what a call costs when a task awaits one at a time.

use std::io::{self, Write};
use std::time::Instant;

use nylon_ring_host::{NrStatus, NylonRingHost, NylonRingHostError, PluginEntry, PluginHandle, StreamReceiver};
use serde_json::json;
use thiserror::Error;

/// The calls are made in this many rounds, whose median is given.
const ROUNDS: usize = 21;
const NAME: &str = "bench";

#[derive(Debug, Error)]
pub enum BenchError {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    Host(#[from] NylonRingHostError),
    #[error("{entry} of {plugin}: {error}")]
    Refused {
        plugin: String,
        entry: String,
        error: NylonRingHostError,
    },
    #[error("the call was answered {0:?}: {1}")]
    NotOk(NrStatus, String),
    #[error("the stream had only {0} frames, and no end")]
    NoEnd(u64),
    #[error("a reply had {0} bytes, and not the {1} of --reply")]
    Length(usize, usize),
    #[error("{0}")]
    Io(#[from] io::Error),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    CallResponse,
    Bytes,
    Fast,
    Id,
    Stream,
}

const KINDS: [(&str, Kind); 5] = [
    ("call_response", Kind::CallResponse),
    ("bytes", Kind::Bytes),
    ("fast", Kind::Fast),
    ("id", Kind::Id),
    ("stream", Kind::Stream),
];

struct Args<'a> {
    plugin: &'a str,
    entry: &'a str,
    kind: (&'static str, Kind),
    body: Vec<u8>,
    calls: usize,
    frames: Option<u64>,
    reply: Option<usize>,
    json: bool,
}

fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T, BenchError> {
    text.parse()
        .map_err(|_| BenchError::Usage(format!("{option} wants a number, got {text:?}")))
}

fn parse<'a>(given: &[&'a str]) -> Result<Args<'a>, BenchError> {
    let [plugin, entry, options @ ..] = given else {
        return Err(BenchError::Usage("bench wants PLUGIN and ENTRY".to_owned()));
    };
    let mut kind = None;
    let mut args = Args {
        plugin,
        entry,
        kind: ("", Kind::CallResponse),
        body: Vec::new(),
        calls: 210_000,
        frames: None,
        reply: None,
        json: false,
    };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if *option == "--json" {
            args.json = true;
            continue;
        }
        let value = options
            .next()
            .ok_or_else(|| BenchError::Usage(format!("{option} wants a value")))?;
        match *option {
            "--kind" => kind = Some(*value),
            "--size" => args.body = vec![b'x'; number(option, value)?],
            "--body" => args.body = value.as_bytes().to_vec(),
            "--calls" => args.calls = number(option, value)?,
            "--reply" => args.reply = Some(number(option, value)?),
            "--frames" => args.frames = Some(number(option, value)?),
            other => return Err(BenchError::Usage(format!("no such option: {other}"))),
        }
    }
    let kind = kind.ok_or_else(|| BenchError::Usage("bench wants --kind".to_owned()))?;
    let mut known = KINDS.into_iter();
    args.kind = known
        .find(|(name, _)| *name == kind)
        .ok_or_else(|| BenchError::Usage(format!("no such kind: {kind}")))?;
    Ok(args)
}

fn is_ok(expected: NrStatus, status: NrStatus, data: &[u8]) -> Result<(), BenchError> {
    if status == expected {
        return Ok(());
    }
    Err(BenchError::NotOk(status, String::from_utf8_lossy(data).into_owned()))
}

fn has_length(wanted: Option<usize>, data: &[u8]) -> Result<(), BenchError> {
    match wanted {
        Some(wanted) if wanted != data.len() => Err(BenchError::Length(data.len(), wanted)),
        _ => Ok(()),
    }
}

/// How many frames were taken, the last one included.
async fn read(mut stream: StreamReceiver, args: &Args<'_>) -> Result<u64, BenchError> {
    let mut taken = 0;
    while args.frames.is_none_or(|wanted| taken < wanted) {
        let frame = stream.recv().await.ok_or(BenchError::NoEnd(taken))?;
        taken += 1;
        if frame.status.is_terminal() {
            is_ok(NrStatus::StreamEnd, frame.status, &frame.data)?;
            break;
        }
        has_length(args.reply, &frame.data)?;
    }
    Ok(taken)
}

/// What is called; the entry is resolved once, for `id`.
struct Target<'a> {
    args: &'a Args<'a>,
    plugin: PluginHandle,
    entry: Option<PluginEntry>,
}

impl Target<'_> {
    /// How many frames came.
    async fn call(&self) -> Result<u64, BenchError> {
        let Args { entry, body, reply, .. } = self.args;
        let (status, data) = match (self.args.kind.1, &self.entry) {
            (Kind::Stream, _) => {
                let (_, stream) = self.plugin.call_stream(entry, body).await?;
                return read(stream, self.args).await;
            }
            (Kind::Bytes, _) => {
                let (status, view) = self.plugin.call_response_bytes(entry, body).await?;
                is_ok(NrStatus::Ok, status, &view)?; // a view: into_vec would copy what this call is there to spare
                has_length(*reply, &view)?;
                return Ok(1);
            }
            (Kind::Fast, _) => self.plugin.call_response_fast(entry, body).await?,
            (Kind::Id, Some(resolved)) => resolved.call_response(body).await?,
            (Kind::CallResponse | Kind::Id, _) => self.plugin.call_response(entry, body).await?,
        };
        is_ok(NrStatus::Ok, status, &data)?;
        has_length(*reply, &data)?;
        Ok(1)
    }

    /// Nanoseconds per call, and frames per call.
    async fn round(&self, calls: usize) -> Result<(f64, f64), BenchError> {
        let (mut frames, start) = (0, Instant::now());
        for _ in 0..calls {
            frames += self.call().await?;
        }
        let took = start.elapsed().as_secs_f64();
        Ok((took * 1e9 / calls as f64, frames as f64 / calls as f64))
    }
}

async fn run(args: &Args<'_>) -> Result<(), BenchError> {
    let mut host = NylonRingHost::new();
    host.load(NAME, args.plugin)?;
    let plugin = host
        .plugin(NAME)
        .ok_or_else(|| NylonRingHostError::PluginNotFound(NAME.to_owned()))?;
    let entry = match args.kind.1 {
        Kind::Id => Some(plugin.entry(args.entry)?),
        _ => None,
    };
    let target = Target { args, plugin, entry };
    let calls = (args.calls / ROUNDS).max(1);
    let (_, frames) = target.round(calls).await?; // warm
    let mut ns = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        ns.push(target.round(calls).await?.0);
    }
    ns.sort_by(f64::total_cmp);
    let at = |place: usize| ns.get(place).copied().unwrap_or(f64::NAN);
    let (median, best, worst) = (at(ROUNDS / 2), at(0), at(ROUNDS - 1));
    let (kind, entry, size) = (args.kind.0, args.entry, args.body.len());
    let mut out = io::stdout().lock();
    if args.json {
        let line = json!({
            "kind": kind, "entry": entry, "size": size, "calls": calls * ROUNDS, "frames_per_call": frames,
            "ns_per_call": median, "ns_per_call_best": best, "ns_per_call_worst": worst,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(
            out,
            "{kind} {entry}, {size} bytes: {median:.0} ns per call ({best:.0} to {worst:.0} in {ROUNDS} rounds of {calls})"
        )?;
        if args.kind.1 == Kind::Stream {
            writeln!(
                out,
                "{frames:.1} frames per call, {:.0} ns each",
                median / frames.max(1.0)
            )?;
        }
    }
    Ok(())
}

/// Reads the arguments, measures, prints.
pub fn bench(given: &[&str]) -> Result<(), BenchError> {
    let args = parse(given)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(run(&args)).map_err(|error| match error {
        BenchError::Host(error) => BenchError::Refused {
            plugin: args.plugin.to_owned(),
            entry: args.entry.to_owned(),
            error,
        },
        other => other,
    })
}
