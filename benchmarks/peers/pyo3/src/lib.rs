//! The PyO3 peer: a plugin in Rust that embeds Python with PyO3, by its guide: `Python::initialize` once,
//! `Python::attach` for each call, a `#[pyclass]` for the request, `PyBytes` for bodies.
//!
//! It speaks ABI v1. Two entries are answered on the host's thread with the GIL held: `sync`, which is given a request,
//! and `raw`. `busy` is a stream whose one frame says that a thread computes in Python, until a call of `busy_end`. A
//! panic is answered `Err`, and so is an exception, whose traceback goes to stderr.
//!
//! What PyO3 costs is in `attach`: by CPython's PyGILState functions it makes a thread state for each call of a thread
//! that is not Python's own, and ends it when the call is over. Left out: a pool, streams, ABI v2, and an unload; a
//! thread state kept alive by hand would be quicker, and is what the floor shows.

mod request;

use std::ffi::{CStr, c_void};
use std::panic::catch_unwind;
use std::ptr;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use nylon_ring_abi::{NR_ABI_VERSION, NrBytes, NrHostVTable, NrPluginInfo, NrPluginVTable, NrRequest, NrStatus, NrStr};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyModule};

use request::{Lent, Request};

const SOURCE: &CStr = c"
def sync(req):
    return req.body

def raw(payload):
    return payload

def busy():
    global is_busy
    is_busy = True
    yield b'computing'
    number = 1
    while is_busy:
        number = number * 48271 % 2147483647

def busy_end(req):
    global is_busy
    is_busy = False
    return b''
";

struct Peer {
    host: *const NrHostVTable,
    host_ctx: *mut c_void,
    sync: Py<PyAny>,
    raw: Py<PyAny>,
    busy: Py<PyAny>,
    busy_end: Py<PyAny>,
    computing: Mutex<Option<JoinHandle<()>>>,
}

// SAFETY: the ABI lets a plugin use the host's pointers from any of its threads.
unsafe impl Send for Peer {}
// SAFETY: as above.
unsafe impl Sync for Peer {}

static PEER: OnceLock<Peer> = OnceLock::new();

fn start(host: *const NrHostVTable, host_ctx: *mut c_void) -> PyResult<Peer> {
    Python::initialize();
    Python::attach(|py| {
        let module = PyModule::from_code(py, SOURCE, c"peer.py", c"peer")?;
        Ok(Peer {
            host,
            host_ctx,
            sync: module.getattr("sync")?.unbind(),
            raw: module.getattr("raw")?.unbind(),
            busy: module.getattr("busy")?.unbind(),
            busy_end: module.getattr("busy_end")?.unbind(),
            computing: Mutex::new(None),
        })
    })
}

impl Peer {
    fn send(&self, sid: u64, status: NrStatus, data: &[u8]) {
        // SAFETY: the host calls nothing of this plugin after `shutdown`, which waits for the thread that computes.
        unsafe { ((*self.host).send_result)(self.host_ctx, sid, status, NrBytes::from_slice(data)) };
    }

    fn answer(&self, sid: u64, result: &Bound<'_, PyAny>) -> PyResult<()> {
        self.send(sid, NrStatus::Ok, result.cast::<PyBytes>()?.as_bytes());
        Ok(())
    }

    fn call(&self, py: Python<'_>, sid: u64, handler: &Py<PyAny>, lent: &Lent<'_>) -> PyResult<()> {
        // SAFETY: forgotten below; nothing in between leaves this function.
        let request = Bound::new(py, unsafe { Request::new(lent) })?;
        let result = handler.bind(py).call1((&request,));
        request.get().forget();
        self.answer(sid, &result?)
    }

    fn call_raw(&self, py: Python<'_>, sid: u64, body: &[u8]) -> PyResult<()> {
        self.answer(sid, &self.raw.bind(py).call1((PyBytes::new(py, body),))?)
    }

    fn send_frames(&self, py: Python<'_>, sid: u64) -> PyResult<()> {
        for frame in self.busy.bind(py).call0()?.try_iter()? {
            self.answer(sid, &frame?)?;
        }
        Ok(())
    }

    fn compute(&'static self, sid: u64) -> NrStatus {
        let run = move || {
            let done = Python::attach(|py| self.send_frames(py, sid));
            self.send(sid, done.map_or_else(failed, |()| NrStatus::StreamEnd), &[]);
        };
        let Ok(thread) = thread::Builder::new().spawn(run) else {
            return NrStatus::Err;
        };
        self.stop();
        *self.computing.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
        NrStatus::Ok
    }

    /// Waits for the thread that computes, which a call of `busy_end` ends.
    fn stop(&self) {
        let thread = self.computing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join(); // it has ended, by a panic too
        }
    }
}

unsafe extern "C" fn init(_: *mut c_void, ctx: *mut c_void, vtable: *const NrHostVTable) -> NrStatus {
    match catch_unwind(|| start(vtable, ctx)) {
        Ok(Ok(peer)) => PEER.set(peer).map_or(NrStatus::Err, |()| NrStatus::Ok),
        Ok(Err(error)) => failed(error),
        Err(_) => NrStatus::Err,
    }
}

fn failed(error: PyErr) -> NrStatus {
    Python::attach(|py| error.print(py));
    NrStatus::Err
}

/// `None`: something cannot be read.
unsafe fn handled(entry: NrStr, sid: u64, request: *const NrRequest, payload: NrBytes) -> Option<NrStatus> {
    let peer = PEER.get()?;
    // SAFETY: all that the host passed is borrowed until `handle` returns.
    let (entry, request, body) = unsafe { (entry.as_str()?, request.as_ref(), payload.as_slice()?) };
    let done = match (entry, request) {
        ("busy", _) => return Some(peer.compute(sid)),
        ("sync", Some(request)) => {
            Python::attach(|py| peer.call(py, sid, &peer.sync, &Lent { request, body: payload }))
        }
        ("busy_end", Some(request)) => {
            Python::attach(|py| peer.call(py, sid, &peer.busy_end, &Lent { request, body: payload }))
        }
        ("raw", _) => Python::attach(|py| peer.call_raw(py, sid, body)),
        _ => return None,
    };
    Some(done.map_or_else(failed, |()| NrStatus::Ok))
}

unsafe extern "C" fn handle(
    _: *mut c_void,
    entry: NrStr,
    sid: u64,
    request: *const NrRequest,
    payload: NrBytes,
) -> NrStatus {
    // SAFETY: as the host passed it.
    let done = catch_unwind(|| unsafe { handled(entry, sid, request, payload) });
    done.map_or(NrStatus::Err, |status| status.unwrap_or(NrStatus::Invalid))
}

unsafe extern "C" fn shutdown(_: *mut c_void) {
    let _ = catch_unwind(|| PEER.get().map(Peer::stop)); // nobody could be told of a panic
}

unsafe extern "C" fn stream_data(_: *mut c_void, _: u64, _: NrBytes) -> NrStatus {
    NrStatus::Unsupported
}

unsafe extern "C" fn stream_close(_: *mut c_void, _: u64) -> NrStatus {
    NrStatus::Unsupported
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
