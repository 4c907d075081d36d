//! The driver of the conformance suite, over the released host.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::task::{Context, Poll, Waker};

use conformance_driver::{
    Accepted, BoxFuture, Door, Frame, Frames, Host, Kind, LoadError, NotTaken, Plugin, Replies, Request, start,
};
use nylon_ring_host::{NrStatus, NylonRingHost, NylonRingHostError, PluginHandle, Result, StreamFrame, StreamReceiver};

/// One for the whole process, never dropped: a plugin is shut down when the last call of it is given up, which may be
/// after its unload, and until then it uses the functions that this host has given it.
static HOST: LazyLock<RwLock<NylonRingHost>> = LazyLock::new(RwLock::default);

const CANNOT: [(&str, &str); 4] = [
    (
        "metadata",
        "ABI v2 has no method, path, query and headers: a call is an entry and bytes",
    ),
    ("raw", "ABI v2 has one way in by name, and it takes bytes"),
    ("state", "ABI v2 offers plugins no state in the host"),
    (
        "answer_at_unload",
        "nylon-ring-host shuts a plugin down after its last call has ended or was given up",
    ),
];

fn host() -> RwLockReadGuard<'static, NylonRingHost> {
    HOST.read().unwrap_or_else(PoisonError::into_inner)
}

fn host_mut() -> RwLockWriteGuard<'static, NylonRingHost> {
    HOST.write().unwrap_or_else(PoisonError::into_inner)
}

/// nylon-ring-host 0.2.
pub struct ReleasedHost;

/// What the host knows a file by.
pub struct Loaded {
    name: String,
    path: String,
    inputs: Arc<Inputs>,
}

/// The open streams, and the instance that each is open at: it goes on after a reload, and after the unload.
#[derive(Default)]
struct Inputs(Mutex<HashMap<u64, PluginHandle>>);

impl Inputs {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, PluginHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that came back as an error, before or instead of its reply.
fn not_taken(error: NylonRingHostError) -> NotTaken {
    match error {
        NylonRingHostError::PluginHandleFailed(status) => NotTaken::Refused(status.as_raw()),
        NylonRingHostError::PluginPanicked => NotTaken::Refused(NrStatus::Panic.as_raw()),
        NylonRingHostError::PluginUnloaded => NotTaken::Gone(error.to_string()),
        other => NotTaken::Failed(other.to_string()),
    }
}

fn not_loaded(error: NylonRingHostError) -> LoadError {
    let init = match &error {
        NylonRingHostError::PluginInitFailed(status) => Some(status.as_raw()),
        _ => None,
    };
    LoadError {
        why: error.to_string(),
        init,
    }
}

fn reply((status, data): (NrStatus, Vec<u8>)) -> Frame {
    let status = status.as_raw();
    Frame { status, data }
}

/// The value of a future that does not wait: the host's calls are async, and some of them never suspend.
fn at_once<T>(future: impl Future<Output = T>) -> std::result::Result<T, NotTaken> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Ok(value),
        Poll::Pending => Err(NotTaken::Failed("the host waits in a call that never did".to_owned())),
    }
}

struct Receiver {
    frames: StreamReceiver,
    sid: u64,
    inputs: Arc<Inputs>,
}

impl Frames for Receiver {
    fn next(&mut self) -> BoxFuture<'_, Option<Frame>> {
        let frame = |StreamFrame { status, data }| reply((status, data));
        Box::pin(async move { self.frames.recv().await.map(frame) })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let handle = self.inputs.lock().remove(&self.sid);
        drop(handle); // not under the lock: the last one shuts the plugin down
    }
}

/// A fast call is over when it returns, with a reply or without.
fn fast(called: Result<(NrStatus, Vec<u8>)>) -> std::result::Result<Replies, NotTaken> {
    match called {
        Err(error @ NylonRingHostError::MissingSynchronousResponse) => Ok(Replies::ready(Err(error.to_string()))),
        called => Ok(Replies::ready(Ok(reply(called.map_err(not_taken)?)))),
    }
}

fn unary(plugin: PluginHandle, request: Request) -> std::result::Result<Replies, NotTaken> {
    let Request { entry, body, .. } = request;
    match request.door {
        Door::Fast => fast(at_once(plugin.call_response_fast(&entry, &body))?),
        Door::Id => {
            let entry = plugin.entry(&entry).map_err(not_taken)?;
            start(async move { entry.call_response(&body).await.map(reply) }, not_taken)
        }
        Door::Handle | Door::Raw => start(
            async move { plugin.call_response(&entry, &body).await.map(reply) },
            not_taken,
        ),
    }
}

impl Loaded {
    fn handle(&self) -> Option<PluginHandle> {
        host().plugin(&self.name)
    }

    fn open(
        &self,
        plugin: PluginHandle,
        stream: impl Future<Output = Result<(u64, StreamReceiver)>>,
    ) -> std::result::Result<Accepted, NotTaken> {
        let (sid, frames) = at_once(stream)?.map_err(not_taken)?;
        self.inputs.lock().insert(sid, plugin);
        let inputs = Arc::clone(&self.inputs);
        Ok(Accepted {
            sid: Some(sid),
            replies: Replies::Stream(Box::new(Receiver { frames, sid, inputs })),
        })
    }

    /// Whom a stream's input goes to: where no such stream is open the present instance, which refuses it.
    fn input(&self, sid: u64) -> std::result::Result<PluginHandle, String> {
        let open = self.inputs.lock().get(&sid).cloned();
        open.map_or_else(|| self.needed(), Ok)
    }

    fn needed(&self) -> std::result::Result<PluginHandle, String> {
        self.handle().ok_or_else(|| "the plugin is unloaded".to_owned())
    }
}

impl Host for ReleasedHost {
    type Plugin = Loaded;

    fn name(&self) -> &str {
        "nylon-ring-host 0.2"
    }

    fn abi(&self) -> &[&str] {
        &["v2"]
    }

    fn cannot(&self) -> &[(&str, &str)] {
        &CANNOT
    }

    fn load(&self, path: &str, _abi: &str) -> std::result::Result<Loaded, LoadError> {
        static LOADS: AtomicU64 = AtomicU64::new(0);
        let loaded = Loaded {
            name: LOADS.fetch_add(1, Ordering::Relaxed).to_string(),
            path: path.to_owned(),
            inputs: Arc::default(),
        };
        host_mut().load(&loaded.name, path).map_err(not_loaded)?;
        Ok(loaded)
    }
}

impl Plugin for Loaded {
    fn submit(&self, request: Request) -> std::result::Result<Accepted, NotTaken> {
        if request.door == Door::Raw {
            return Err(NotTaken::Failed("there is no raw door in ABI v2".to_owned()));
        }
        let plugin = self.needed().map_err(NotTaken::Gone)?;
        match (request.kind, request.door) {
            (Kind::Unary, _) => Ok(Accepted {
                sid: None,
                replies: unary(plugin, request)?,
            }),
            (Kind::Stream, Door::Fast) => Err(NotTaken::Failed("a fast call has one reply".to_owned())),
            (Kind::Stream, Door::Id) => {
                let entry = plugin.entry(&request.entry).map_err(not_taken)?;
                self.open(plugin, entry.call_stream(&request.body))
            }
            (Kind::Stream, _) => self.open(plugin.clone(), plugin.call_stream(&request.entry, &request.body)),
        }
    }

    fn stream_data(&self, sid: u64, data: &[u8]) -> std::result::Result<u32, String> {
        let status = self.input(sid)?.send_stream_data(sid, data);
        status.map(NrStatus::as_raw).map_err(|error| error.to_string())
    }

    fn stream_close(&self, sid: u64) -> std::result::Result<u32, String> {
        let status = self.input(sid)?.close_stream(sid);
        status.map(NrStatus::as_raw).map_err(|error| error.to_string())
    }

    /// A second load under the same name. `NylonRingHost::reload` does the same to every plugin of an idle host, and
    /// refuses when a call is in progress.
    fn reload(&self) -> std::result::Result<(), LoadError> {
        host_mut().load(&self.name, &self.path).map_err(not_loaded)
    }

    fn unload(&self) -> std::result::Result<Option<Vec<String>>, String> {
        host_mut().unload(&self.name).map_err(|error| error.to_string())?;
        Ok(None)
    }

    fn state_count(&self) -> std::result::Result<usize, String> {
        Ok(host().metrics().state_sessions)
    }
}
