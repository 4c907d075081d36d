//! `libbench_peer.so`: the least a v1 plugin in Rust does. One instance; the entries `sync` and `raw` answer inside
//! `handle`, and `gen` sends its thousand frames there.

use std::ffi::c_void;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use nylon_ring_abi::{NR_ABI_VERSION, NrBytes, NrHostVTable, NrPluginInfo, NrPluginVTable, NrRequest, NrStatus, NrStr};

const FRAMES: usize = 1000;
static FRAME: [u8; 128] = [0; 128];

static HOST_CTX: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static HOST_VTABLE: AtomicPtr<NrHostVTable> = AtomicPtr::new(ptr::null_mut());

fn send(sid: u64, status: NrStatus, payload: NrBytes) {
    // SAFETY: set by `init`; the host calls nothing of this plugin before it, nor after `shutdown`.
    unsafe {
        let host = &*HOST_VTABLE.load(Ordering::Relaxed);
        (host.send_result)(HOST_CTX.load(Ordering::Relaxed), sid, status, payload);
    }
}

fn send_frames(sid: u64) {
    for _ in 0..FRAMES {
        send(sid, NrStatus::Ok, NrBytes::from_slice(&FRAME));
    }
    send(sid, NrStatus::StreamEnd, NrBytes::from_slice(&[]));
}

unsafe extern "C" fn init(_: *mut c_void, ctx: *mut c_void, vtable: *const NrHostVTable) -> NrStatus {
    HOST_CTX.store(ctx, Ordering::Relaxed);
    HOST_VTABLE.store(vtable.cast_mut(), Ordering::Relaxed);
    NrStatus::Ok
}

unsafe extern "C" fn handle(_: *mut c_void, entry: NrStr, sid: u64, _: *const NrRequest, payload: NrBytes) -> NrStatus {
    // SAFETY: the host's text is valid during the call.
    match unsafe { entry.as_str() } {
        Some("sync" | "raw") => send(sid, NrStatus::Ok, payload),
        Some("gen") => send_frames(sid),
        _ => return NrStatus::Invalid,
    }
    NrStatus::Ok
}

unsafe extern "C" fn shutdown(_: *mut c_void) {}

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
