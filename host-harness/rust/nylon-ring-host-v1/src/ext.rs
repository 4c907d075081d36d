//! `nylon_ring_host_ext`: how a plugin in C finds the state functions of a host it knows only by host_ctx.
//!
//! A program has to be linked with `-rdynamic` (this package's build.rs does it for its own command and tests), or
//! plugins do not see the symbol, and keep their state themselves.

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::panic::catch_unwind;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nylon_ring_abi::{HostExtFn, NrHostExt};

use crate::state::HOST_EXT;

static LIVE: Mutex<BTreeSet<usize>> = Mutex::new(BTreeSet::new());

fn live() -> MutexGuard<'static, BTreeSet<usize>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on this context is one of ours.
pub(crate) fn publish(host_ctx: *mut c_void) {
    live().insert(host_ctx as usize);
}

/// From now on it is not: before its memory is freed.
pub(crate) fn retire(host_ctx: *mut c_void) {
    live().remove(&(host_ctx as usize));
}

/// The state functions of the host with this context; null when no host of this crate has it.
///
/// The context is compared, never read: it may be another host's.
#[unsafe(no_mangle)]
pub extern "C" fn nylon_ring_host_ext(host_ctx: *mut c_void) -> *const NrHostExt {
    match catch_unwind(|| live().contains(&(host_ctx as usize))) {
        Ok(true) => &raw const HOST_EXT,
        _ => ptr::null(),
    }
}

/// Nothing in the program calls the function: without this the linker would leave it out.
#[used]
static EXPORTED: HostExtFn = nylon_ring_host_ext;
