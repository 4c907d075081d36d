//! `libbench_peer.so`: what a v1 plugin in Rust does that is written by the guide to nylon-ring and its macro
//! `define_plugin!`: entries routed by name, the host in a `OnceLock`, a panic answered `Err`, handlers that are given
//! the host's own request and bytes, and copy what outlives the call.
//!
//! `sync` and `raw` echo inside `handle`; `pool` echoes a copy on one worker behind an `mpsc` channel, where the guide
//! starts a thread for each call; the worker polls for as long as ours does before it parks; `gen` sends its thousand
//! frames inside `handle`, which is quickest: a v1 host takes all;
//! `gen_worker` sends them on the worker; `echo` sends each frame back inside `stream_data`.
//!
//! Left out: a second instance in one image, and ABI v2.

use std::ffi::c_void;
use std::hint::spin_loop;
use std::panic::catch_unwind;
use std::ptr;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nylon_ring_abi::{NR_ABI_VERSION, NrBytes, NrHostVTable, NrPluginInfo, NrPluginVTable, NrRequest, NrStatus, NrStr};

const FRAMES: usize = 1000;
static FRAME: [u8; 128] = [0; 128];
const POLLS_FOR: Duration = Duration::from_micros(50);
const LOOKS_BETWEEN_CLOCKS: u32 = 16;

#[derive(Clone, Copy)]
struct Host {
    ctx: *mut c_void,
    vtable: *const NrHostVTable,
}

// SAFETY: the ABI lets a plugin use both from any of its threads.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

enum Job {
    Echo { sid: u64, body: Vec<u8> },
    Frames { sid: u64 },
    End,
}

struct Peer {
    host: Host,
    jobs: Sender<Job>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

/// Set by `init`.
static PEER: OnceLock<Peer> = OnceLock::new();

impl Host {
    fn send(self, sid: u64, status: NrStatus, payload: NrBytes) {
        // SAFETY: `shutdown` ends the worker before it returns, and the host calls nothing of this plugin after it.
        unsafe { ((*self.vtable).send_result)(self.ctx, sid, status, payload) }
    }

    fn send_frames(self, sid: u64) {
        for _ in 0..FRAMES {
            self.send(sid, NrStatus::Ok, NrBytes::from_slice(&FRAME));
        }
        self.send(sid, NrStatus::StreamEnd, NrBytes::from_slice(&[]));
    }

    fn work(self, jobs: &Receiver<Job>) {
        while let Some(job) = next(jobs) {
            match job {
                Job::Echo { sid, body } => self.send(sid, NrStatus::Ok, NrBytes::from_slice(&body)),
                Job::Frames { sid } => self.send_frames(sid),
                Job::End => break,
            }
        }
    }
}

/// Waits for a job; `None` when nobody can send one any more.
fn next(jobs: &Receiver<Job>) -> Option<Job> {
    let mut until = None;
    loop {
        for _ in 0..LOOKS_BETWEEN_CLOCKS {
            match jobs.try_recv() {
                Ok(job) => return Some(job),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => spin_loop(),
            }
        }
        let now = Instant::now();
        if now >= *until.get_or_insert(now + POLLS_FOR) {
            return jobs.recv().ok();
        }
    }
}

impl Peer {
    fn start(host: Host) -> Option<Self> {
        let (jobs, queue) = channel();
        let worker = thread::Builder::new().spawn(move || host.work(&queue)).ok()?;
        Some(Self {
            host,
            jobs,
            worker: Mutex::new(Some(worker)),
        })
    }

    fn submit(&self, job: Job) -> NrStatus {
        self.jobs.send(job).map_or(NrStatus::Err, |()| NrStatus::Ok)
    }

    fn handle(&self, entry: &str, sid: u64, payload: NrBytes) -> Option<NrStatus> {
        match entry {
            "sync" | "raw" => {
                self.host.send(sid, NrStatus::Ok, payload);
                Some(NrStatus::Ok)
            }
            "pool" => {
                // SAFETY: the host's bytes are valid until `handle` returns.
                let body = unsafe { payload.as_slice() }?.to_vec();
                Some(self.submit(Job::Echo { sid, body }))
            }
            "gen" => {
                self.host.send_frames(sid);
                Some(NrStatus::Ok)
            }
            "echo" => Some(NrStatus::Ok),
            "gen_worker" => Some(self.submit(Job::Frames { sid })),
            _ => None,
        }
    }

    fn stop(&self) {
        let worker = self.worker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if self.submit(Job::End) == NrStatus::Ok
            && let Some(worker) = worker
        {
            let _ = worker.join(); // it has ended, by a panic too
        }
    }
}

unsafe extern "C" fn init(_: *mut c_void, ctx: *mut c_void, vtable: *const NrHostVTable) -> NrStatus {
    let started = catch_unwind(|| Peer::start(Host { ctx, vtable }).and_then(|peer| PEER.set(peer).ok()));
    match started {
        Ok(Some(())) => NrStatus::Ok,
        _ => NrStatus::Err,
    }
}

unsafe extern "C" fn handle(_: *mut c_void, entry: NrStr, sid: u64, _: *const NrRequest, payload: NrBytes) -> NrStatus {
    // SAFETY: the host's text is valid until `handle` returns.
    let handled = catch_unwind(|| PEER.get()?.handle(unsafe { entry.as_str() }?, sid, payload));
    handled.map_or(NrStatus::Err, |status| status.unwrap_or(NrStatus::Invalid))
}

unsafe extern "C" fn shutdown(_: *mut c_void) {
    let _ = catch_unwind(|| PEER.get().map(Peer::stop)); // nobody could be told of a panic
}

fn send_back(sid: u64, status: NrStatus, payload: NrBytes) -> NrStatus {
    let sent = catch_unwind(|| PEER.get().map(|peer| peer.host.send(sid, status, payload)));
    sent.map_or(NrStatus::Err, |sent| sent.map_or(NrStatus::Invalid, |()| NrStatus::Ok))
}

unsafe extern "C" fn stream_data(_: *mut c_void, sid: u64, data: NrBytes) -> NrStatus {
    send_back(sid, NrStatus::Ok, data)
}

unsafe extern "C" fn stream_close(_: *mut c_void, sid: u64) -> NrStatus {
    send_back(sid, NrStatus::StreamEnd, NrBytes::from_slice(&[]))
}

static FUNCTIONS: NrPluginVTable = NrPluginVTable {
    init: Some(init),
    handle: Some(handle),
    shutdown: Some(shutdown),
    stream_data: Some(stream_data),
    stream_close: Some(stream_close),
};

/// Pointers to what is static and never written.
struct Info(NrPluginInfo);

// SAFETY: see above.
unsafe impl Sync for Info {}

static INFO: Info = Info(NrPluginInfo {
    abi_version: NR_ABI_VERSION,
    struct_size: size_of::<NrPluginInfo>() as u32,
    name: NrStr::EMPTY,
    version: NrStr::EMPTY,
    plugin_ctx: ptr::null_mut(),
    vtable: (&raw const FUNCTIONS).cast(),
});

/// The ABI's export.
#[unsafe(no_mangle)]
pub extern "C" fn nylon_ring_get_plugin_v1() -> *const NrPluginInfo {
    &raw const INFO.0
}
