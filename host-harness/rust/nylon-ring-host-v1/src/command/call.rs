//! `call` and `stream`: what a plugin answers, printed.

use std::io::{self, Write};

use nylon_ring_host_v1::{NrStatus, NylonRingHost, NylonRingHostError};
use tokio::time::timeout;

use crate::CommandError;
use crate::args::{Args, Kind};

fn print(status: NrStatus, data: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if data.is_empty() {
        return writeln!(out, "{status}, 0 bytes");
    }
    write!(out, "{status}, {} bytes: ", data.len())?;
    out.write_all(data)?;
    out.write_all(b"\n")
}

/// One call, of a kind that has one reply.
pub async fn one(host: &NylonRingHost, args: &Args, kind: Kind) -> Result<(NrStatus, Vec<u8>), NylonRingHostError> {
    match kind {
        Kind::Raw => host.call_raw(&args.entry, &args.body).await,
        Kind::Fast => host.call_raw_unary_fast(&args.entry, &args.body).await,
        Kind::Unary | Kind::Stream => host.call(&args.entry, args.request()).await,
    }
}

pub async fn call(args: Args) -> Result<(), CommandError> {
    let host = args.load()?;
    let too_late = |_| CommandError::Timeout(args.timeout.as_secs_f64());
    let (status, data) = timeout(args.timeout, one(&host, &args, args.kind))
        .await
        .map_err(too_late)??;
    print(status, &data)?;
    expect(NrStatus::Ok, status)
}

pub async fn stream(args: Args) -> Result<(), CommandError> {
    let host = args.load()?;
    let (sid, mut frames) = host.call_stream(&args.entry, args.request()).await?;
    for text in &args.sends {
        expect(NrStatus::Ok, host.send_stream_data(sid, text.as_bytes())?)?;
    }
    if args.close {
        expect(NrStatus::Ok, host.close_stream(sid)?)?;
    }
    let mut last = None;
    loop {
        let too_late = |_| CommandError::Timeout(args.timeout.as_secs_f64());
        let Some(frame) = timeout(args.timeout, frames.recv()).await.map_err(too_late)? else {
            break;
        };
        print(frame.status, &frame.data)?;
        last = Some(frame.status);
    }
    expect(NrStatus::StreamEnd, last.unwrap_or(NrStatus::Err))
}

fn expect(expected: NrStatus, status: NrStatus) -> Result<(), CommandError> {
    if status == expected {
        Ok(())
    } else {
        Err(CommandError::NotOk(status.to_string()))
    }
}
