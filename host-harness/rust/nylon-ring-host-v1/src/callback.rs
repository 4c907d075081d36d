//! What the plugin gets: `host_ctx`, and `send_result`.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use nylon_ring_abi::{NrBytes, NrHostVTable, NrStatus};

use crate::context::{HostContext, copy_reply};
use crate::{ext, fast};

pub(crate) static HOST_VTABLE: NrHostVTable = NrHostVTable { send_result };

/// What `host_ctx` points to. It lives from before `init` until `shutdown` has returned, and no longer: a plugin that
/// sends later reads freed memory, which a sanitizer sees.
pub(crate) struct HostCtx {
    host: Arc<HostContext>,
}

impl HostCtx {
    /// A new context, which only [`HostCtx::free`] frees.
    pub fn publish(host: Arc<HostContext>) -> *mut c_void {
        let ctx = Box::into_raw(Box::new(Self { host })).cast();
        ext::publish(ctx);
        ctx
    }

    /// # Safety
    /// `ctx` came from [`HostCtx::publish`], was not freed, and nobody uses it now or later.
    pub unsafe fn free(ctx: *mut c_void) {
        ext::retire(ctx);
        // SAFETY: the caller's promise.
        drop(unsafe { Box::from_raw(ctx.cast::<Self>()) });
    }

    /// # Safety
    /// `ctx` came from [`HostCtx::publish`], and is not freed during `'a`.
    pub unsafe fn host<'a>(ctx: *mut c_void) -> &'a HostContext {
        // SAFETY: the caller's promise.
        unsafe { &(*ctx.cast::<Self>()).host }
    }
}

unsafe extern "C" fn send_result(host_ctx: *mut c_void, sid: u64, status: NrStatus, payload: NrBytes) {
    // Should the host panic, there is nobody to tell: the ABI gives send_result no way to refuse.
    let _ = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the plugin passes on what `init` gave it, before its `shutdown` returns.
        let host = unsafe { HostCtx::host(host_ctx) };
        // SAFETY: the payload is borrowed until this function returns.
        let make_reply = || unsafe { copy_reply(status, payload) };
        if !fast::deliver(host, sid, make_reply) {
            let (status, data) = make_reply();
            host.deliver(sid, status, data);
        }
    }));
}
