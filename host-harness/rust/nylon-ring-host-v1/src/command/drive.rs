//! `drive`: this host as the conformance suite sees it.

use std::sync::{PoisonError, RwLock};

use conformance_driver::{
    Accepted, BoxFuture, Door, Frame, Frames, Host, Kind, LoadError, NotTaken, Plugin, Replies, Request,
};
use nylon_ring_host_v1::{
    HighLevelRequest, Layout, NrStatus, NylonRingHost, NylonRingHostError as Error, PendingReply, StreamReceiver,
};

pub struct Driver;

impl Host for Driver {
    type Plugin = Loaded;

    fn name(&self) -> &str {
        "rust-v1"
    }

    fn abi(&self) -> &[&str] {
        &["v1", "v1-raw"]
    }

    fn cannot(&self) -> &[(&str, &str)] {
        &[
            ("id", "ABI v1 has no entries by number"),
            ("backpressure", "the host's stream buffers are unbounded"),
        ]
    }

    fn load(&self, path: &str, abi: &str) -> Result<Loaded, LoadError> {
        let layout = if abi == "v1-raw" { Layout::Raw } else { Layout::Seed };
        Ok(Loaded {
            path: path.to_owned(),
            layout,
            host: RwLock::new(Some(open(path, layout)?)),
        })
    }
}

fn open(path: &str, layout: Layout) -> Result<NylonRingHost, LoadError> {
    NylonRingHost::load_with(path, layout).map_err(|error| LoadError {
        why: error.to_string(),
        init: match error {
            Error::InitFailed(status) => Some(status.0),
            _ => None,
        },
    })
}

/// A file, and the host of its present instance.
pub struct Loaded {
    path: String,
    layout: Layout,
    /// `None` once it is unloaded. Read by callers while they are inside the plugin, so that none is when it is taken
    /// out; what they wait for later needs no lock, and is answered when the plugin is shut down.
    host: RwLock<Option<NylonRingHost>>,
}

impl Loaded {
    fn with_host<R>(&self, use_it: impl FnOnce(&NylonRingHost) -> R) -> Result<R, String> {
        let host = self.host.read().unwrap_or_else(PoisonError::into_inner);
        host.as_ref()
            .map(use_it)
            .ok_or_else(|| "the plugin is unloaded".to_owned())
    }

    /// The instance that was there; it is shut down when it is dropped, which no caller waits for.
    fn replace(&self, next: Option<NylonRingHost>) -> Option<NylonRingHost> {
        std::mem::replace(&mut *self.host.write().unwrap_or_else(PoisonError::into_inner), next)
    }
}

impl Plugin for Loaded {
    fn submit(&self, request: Request) -> Result<Accepted, NotTaken> {
        self.with_host(|host| enter(host, request)).map_err(NotTaken::Gone)?
    }

    fn stream_data(&self, sid: u64, data: &[u8]) -> Result<u32, String> {
        self.with_host(|host| host.ask_stream_data(sid, data).0)
    }

    fn stream_close(&self, sid: u64) -> Result<u32, String> {
        self.with_host(|host| host.ask_stream_close(sid).0)
    }

    /// The new instance first; then the old one goes at once, and answers what it still has.
    fn reload(&self) -> Result<(), LoadError> {
        drop(self.replace(Some(open(&self.path, self.layout)?)));
        Ok(())
    }

    fn unload(&self) -> Result<Option<Vec<String>>, String> {
        drop(self.replace(None));
        Ok(None)
    }

    fn state_count(&self) -> Result<usize, String> {
        self.with_host(|host| host.stats().state_values)
    }
}

fn enter(host: &NylonRingHost, request: Request) -> Result<Accepted, NotTaken> {
    let (entry, kind, door) = (request.entry.clone(), request.kind, request.door);
    match (kind, door) {
        (Kind::Unary, Door::Handle) => unary(host.submit(&entry, with_metadata(request))),
        (Kind::Unary, Door::Raw) => unary(host.submit_raw(&entry, &request.body)),
        (Kind::Unary, Door::Fast) => fast(host.submit_raw_fast(&entry, &request.body)),
        (Kind::Stream, Door::Handle) => stream(host.submit_stream(&entry, with_metadata(request))),
        (Kind::Stream, Door::Raw) => stream(host.submit_stream_raw(&entry, &request.body)),
        (Kind::Stream, Door::Fast) => Err(NotTaken::Failed("a fast call has one reply, and no stream".to_owned())),
        (_, Door::Id) => Err(NotTaken::Failed("ABI v1 has no entries by number".to_owned())),
    }
}

fn with_metadata(request: Request) -> HighLevelRequest {
    HighLevelRequest {
        method: request.method,
        path: request.path,
        query: request.query,
        raw_headers: request.headers,
        body: request.body,
        ..Default::default()
    }
}

fn not_taken(error: Error) -> NotTaken {
    match error {
        Error::Refused(status) => NotTaken::Refused(status.0),
        other => NotTaken::Failed(other.to_string()),
    }
}

fn to_frame(status: NrStatus, data: Vec<u8>) -> Frame {
    Frame { status: status.0, data }
}

fn unary(submitted: Result<PendingReply, Error>) -> Result<Accepted, NotTaken> {
    let pending = submitted.map_err(not_taken)?;
    Ok(Accepted {
        sid: Some(pending.sid()),
        replies: Replies::Unary(Box::pin(async {
            let (status, data) = pending.await.map_err(|error| error.to_string())?;
            Ok(to_frame(status, data))
        })),
    })
}

/// A fast call is over when it returns, with a reply or without.
fn fast(called: Result<(NrStatus, Vec<u8>), Error>) -> Result<Accepted, NotTaken> {
    let reply = match called {
        Ok((status, data)) => Ok(to_frame(status, data)),
        Err(error @ Error::NoReplyInside) => Err(error.to_string()),
        Err(error) => return Err(not_taken(error)),
    };
    Ok(Accepted {
        sid: None,
        replies: Replies::ready(reply),
    })
}

struct Receiver(StreamReceiver);

impl Frames for Receiver {
    fn next(&mut self) -> BoxFuture<'_, Option<Frame>> {
        Box::pin(async {
            let frame = self.0.recv().await?;
            Some(to_frame(frame.status, frame.data))
        })
    }
}

fn stream(opened: Result<(u64, StreamReceiver), Error>) -> Result<Accepted, NotTaken> {
    let (sid, receiver) = opened.map_err(not_taken)?;
    Ok(Accepted {
        sid: Some(sid),
        replies: Replies::Stream(Box::new(Receiver(receiver))),
    })
}
