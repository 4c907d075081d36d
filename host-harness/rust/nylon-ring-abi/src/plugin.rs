//! The plugin's side: what a plugin implements, and [`define_plugin!`](crate::define_plugin), which exports it.

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::{
    NR_ABI_VERSION, NrBytes, NrHostVTable, NrPluginInfo, NrPluginVTable, NrPluginVTableRaw, NrRequest, NrStatus, NrStr,
};

/// A plugin. Each load of its file makes a value of its own, in the same image.
///
/// All functions are called from any thread. One that panics has answered `Err`.
pub trait Plugin: Send + Sync + 'static {
    /// For one load; nothing of the host's is known yet.
    fn new() -> Self;

    /// Called once, first, by a host that keeps to the ABI.
    fn init(&self, host: HostLink) -> NrStatus;

    /// Takes a call. `request` is `None` in a raw one.
    fn handle(&self, entry: &str, sid: u64, request: Option<Request<'_>>, payload: &[u8]) -> NrStatus;

    /// The host's frame for a stream.
    fn stream_data(&self, sid: u64, data: &[u8]) -> NrStatus;

    /// The host's end of a stream.
    fn stream_close(&self, sid: u64) -> NrStatus;

    /// After it has returned nothing of this value touches the host. Called after a failed `init` too.
    fn shutdown(&self);
}

/// A request, its texts checked. It lives as long as the call of `handle`.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method.
    pub method: &'a str,
    /// The path.
    pub path: &'a str,
    /// The query.
    pub query: &'a str,
    /// Names, and values of any bytes, in order.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Request<'a> {
    /// `None` when something in it cannot be read, or is no UTF-8.
    ///
    /// # Safety
    /// The request is as the host gave it, and stays so during `'a`.
    unsafe fn read(request: &'a NrRequest) -> Option<Self> {
        let count = usize::try_from(request.headers_len).ok()?;
        if count > 0 && request.headers.is_null() {
            return None;
        }
        // SAFETY: so many headers are there, and their texts, by the caller's promise.
        unsafe {
            Some(Self {
                method: request.method.as_str()?,
                path: request.path.as_str()?,
                query: request.query.as_str()?,
                headers: (0..count)
                    .map(|at| {
                        let header = &*request.headers.add(at);
                        Some((header.key.as_str()?, header.value.as_bytes()?))
                    })
                    .collect::<Option<_>>()?,
            })
        }
    }
}

/// The way back to the host: what `init` was given.
#[derive(Clone, Copy)]
pub struct HostLink {
    ctx: *mut c_void,
    vtable: *const NrHostVTable,
}

// SAFETY: the ABI lets a plugin use both from any of its threads.
unsafe impl Send for HostLink {}
// SAFETY: as above.
unsafe impl Sync for HostLink {}

impl HostLink {
    /// The `host_ctx` of `init`.
    pub fn ctx(self) -> *mut c_void {
        self.ctx
    }

    /// Sends a reply, or a frame of a stream.
    ///
    /// # Safety
    /// The plugin's `shutdown` has not returned.
    pub unsafe fn send_result(self, sid: u64, status: NrStatus, payload: &[u8]) {
        // SAFETY: the table and the context are valid until `shutdown` returns, which it has not.
        unsafe { ((*self.vtable).send_result)(self.ctx, sid, status, NrBytes::from_slice(payload)) }
    }
}

impl fmt::Debug for HostLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HostLink({:p})", self.ctx)
    }
}

/// The plugin's values by `plugin_ctx`, which is a number that counts loads: it is looked up, never followed, so a
/// context that is not ours, or no more, is told.
pub struct Instances<P> {
    live: RwLock<BTreeMap<usize, Arc<P>>>,
    last: AtomicUsize,
}

impl<P> Instances<P> {
    /// None yet.
    pub const fn new() -> Self {
        Self {
            live: RwLock::new(BTreeMap::new()),
            last: AtomicUsize::new(0),
        }
    }

    fn add(&self, plugin: P) -> *mut c_void {
        let key = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        live.insert(key, Arc::new(plugin));
        ptr::without_provenance_mut(key)
    }

    fn find(&self, ctx: *mut c_void) -> Option<Arc<P>> {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.get(&ctx.addr()).cloned()
    }

    fn remove(&self, ctx: *mut c_void) {
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        let removed = live.remove(&ctx.addr());
        drop(live);
        drop(removed);
    }
}

impl<P> Default for Instances<P> {
    fn default() -> Self {
        Self::new()
    }
}

/// What [`define_plugin!`](crate::define_plugin) writes; not for use by hand.
pub trait Export: 'static {
    /// The plugin.
    type Plugin: Plugin;
    /// Its name.
    const NAME: &'static str;
    /// Its version.
    const VERSION: &'static str;
    /// Its values.
    fn instances() -> &'static Instances<Self::Plugin>;
}

/// The tables of an [`Export`].
pub struct Tables<E>(std::marker::PhantomData<E>);

impl<E: Export> Tables<E> {
    /// Five functions.
    pub const SEED: &'static NrPluginVTable = &NrPluginVTable {
        init: Some(init::<E>),
        handle: Some(handle::<E>),
        shutdown: Some(shutdown::<E>),
        stream_data: Some(stream_data::<E>),
        stream_close: Some(stream_close::<E>),
    };

    /// Six.
    pub const RAW: &'static NrPluginVTableRaw = &NrPluginVTableRaw {
        init: Some(init::<E>),
        handle: Some(handle::<E>),
        handle_raw: Some(handle_raw::<E>),
        shutdown: Some(shutdown::<E>),
        stream_data: Some(stream_data::<E>),
        stream_close: Some(stream_close::<E>),
    };
}

/// An instance for one load. Its info is never freed, some sixty bytes: no call says when a host has done reading it.
pub fn get_plugin<E: Export>(vtable: *const c_void) -> *const NrPluginInfo {
    let info = catch_unwind(|| {
        Some(Box::new(NrPluginInfo {
            abi_version: NR_ABI_VERSION,
            struct_size: u32::try_from(size_of::<NrPluginInfo>()).ok()?,
            name: NrStr::of(E::NAME).ok()?,
            version: NrStr::of(E::VERSION).ok()?,
            plugin_ctx: E::instances().add(E::Plugin::new()),
            vtable,
        }))
    });
    match info {
        Ok(Some(info)) => Box::leak(info),
        _ => ptr::null(),
    }
}

fn call<E: Export>(ctx: *mut c_void, enter: impl FnOnce(&E::Plugin) -> Option<NrStatus>) -> NrStatus {
    let called = catch_unwind(AssertUnwindSafe(|| enter(&*E::instances().find(ctx)?)));
    match called {
        Ok(status) => status.unwrap_or(NrStatus::Invalid),
        Err(_) => NrStatus::Err,
    }
}

unsafe extern "C" fn init<E: Export>(ctx: *mut c_void, host_ctx: *mut c_void, vtable: *const NrHostVTable) -> NrStatus {
    call::<E>(ctx, |plugin| {
        let host = HostLink { ctx: host_ctx, vtable };
        (!vtable.is_null()).then(|| plugin.init(host))
    })
}

unsafe extern "C" fn handle<E: Export>(
    ctx: *mut c_void,
    entry: NrStr,
    sid: u64,
    request: *const NrRequest,
    payload: NrBytes,
) -> NrStatus {
    call::<E>(ctx, |plugin| {
        // SAFETY: all that the host passed is borrowed until this function returns.
        let (entry, request, payload) = unsafe { (entry.as_str()?, request.as_ref(), payload.as_slice()?) };
        let request = match request {
            // SAFETY: as above.
            Some(request) => Some(unsafe { Request::read(request) }?),
            None => None,
        };
        Some(plugin.handle(entry, sid, request, payload))
    })
}

unsafe extern "C" fn handle_raw<E: Export>(ctx: *mut c_void, entry: NrStr, sid: u64, payload: NrBytes) -> NrStatus {
    // SAFETY: the caller's promise is the same, and a request may be null.
    unsafe { handle::<E>(ctx, entry, sid, ptr::null(), payload) }
}

unsafe extern "C" fn stream_data<E: Export>(ctx: *mut c_void, sid: u64, data: NrBytes) -> NrStatus {
    // SAFETY: borrowed until this function returns.
    call::<E>(ctx, |plugin| Some(plugin.stream_data(sid, unsafe { data.as_slice() }?)))
}

unsafe extern "C" fn stream_close<E: Export>(ctx: *mut c_void, sid: u64) -> NrStatus {
    call::<E>(ctx, |plugin| Some(plugin.stream_close(sid)))
}

unsafe extern "C" fn shutdown<E: Export>(ctx: *mut c_void) {
    call::<E>(ctx, |plugin| {
        plugin.shutdown();
        Some(NrStatus::Ok)
    });
    E::instances().remove(ctx);
}

/// Exports a [`Plugin`] as `nylon_ring_get_plugin_v1`, once in a library:
/// `define_plugin!(MyPlugin, name: "mine", version: "1.0.0", layout: SEED);`. The other layout is `RAW`.
#[macro_export]
macro_rules! define_plugin {
    ($plugin:ty, name: $name:expr, version: $version:expr, layout: $layout:ident) => {
        struct NylonRingExportV1;

        impl $crate::plugin::Export for NylonRingExportV1 {
            type Plugin = $plugin;
            const NAME: &'static str = $name;
            const VERSION: &'static str = $version;

            fn instances() -> &'static $crate::plugin::Instances<$plugin> {
                static INSTANCES: $crate::plugin::Instances<$plugin> = $crate::plugin::Instances::new();
                &INSTANCES
            }
        }

        /// Gives a new instance.
        #[unsafe(no_mangle)]
        pub extern "C" fn nylon_ring_get_plugin_v1() -> *const $crate::NrPluginInfo {
            let table: *const _ = $crate::plugin::Tables::<NylonRingExportV1>::$layout;
            $crate::plugin::get_plugin::<NylonRingExportV1>(table.cast())
        }
    };
}
