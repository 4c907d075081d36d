use std::ffi::c_void;

use crate::{NrBytes, NrRequest, NrStatus, NrStr};

/// `send_result(host_ctx, sid, status, payload)`: from any thread; the host copies before it returns.
pub type SendResultFn = unsafe extern "C" fn(*mut c_void, u64, NrStatus, NrBytes);
/// `init(plugin_ctx, host_ctx, host_vtable)`.
pub type InitFn = unsafe extern "C" fn(*mut c_void, *mut c_void, *const NrHostVTable) -> NrStatus;
/// `handle(plugin_ctx, entry, sid, request, payload)`; the request is null in a raw call.
pub type HandleFn = unsafe extern "C" fn(*mut c_void, NrStr, u64, *const NrRequest, NrBytes) -> NrStatus;
/// `handle_raw(plugin_ctx, entry, sid, payload)`, of the six-function layout alone.
pub type HandleRawFn = unsafe extern "C" fn(*mut c_void, NrStr, u64, NrBytes) -> NrStatus;
/// `shutdown(plugin_ctx)`.
pub type ShutdownFn = unsafe extern "C" fn(*mut c_void);
/// `stream_data(plugin_ctx, sid, data)`.
pub type StreamDataFn = unsafe extern "C" fn(*mut c_void, u64, NrBytes) -> NrStatus;
/// `stream_close(plugin_ctx, sid)`.
pub type StreamCloseFn = unsafe extern "C" fn(*mut c_void, u64) -> NrStatus;

/// What the host offers to the plugin.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NrHostVTable {
    /// Brings a reply, or a frame of a stream.
    pub send_result: SendResultFn,
}

/// State by sid, kept by the host.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NrHostExt {
    /// `set_state(host_ctx, sid, key, value)`: empty when all went well, else the reason why not.
    pub set_state: unsafe extern "C" fn(*mut c_void, u64, NrStr, NrBytes) -> NrBytes,
    /// `get_state(host_ctx, sid, key)`: empty where there is no value; copy at once what it points to.
    pub get_state: unsafe extern "C" fn(*mut c_void, u64, NrStr) -> NrBytes,
}

/// The type of `nylon_ring_host_ext`: null for a context that is not the process's own.
pub type HostExtFn = unsafe extern "C" fn(*mut c_void) -> *const NrHostExt;

/// A plugin's functions, five of them. Hosts that know only the first three find them in the same places.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NrPluginVTable {
    /// Called once, first.
    pub init: Option<InitFn>,
    /// Takes a call; never blocks.
    pub handle: Option<HandleFn>,
    /// Called once, last.
    pub shutdown: Option<ShutdownFn>,
    /// The host's frames of a stream.
    pub stream_data: Option<StreamDataFn>,
    /// The host's end of a stream.
    pub stream_close: Option<StreamCloseFn>,
}

/// The six-function layout. Nothing at run time tells it from the other.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NrPluginVTableRaw {
    /// Called once, first.
    pub init: Option<InitFn>,
    /// Takes a call; never blocks.
    pub handle: Option<HandleFn>,
    /// Takes a call without a request.
    pub handle_raw: Option<HandleRawFn>,
    /// Called once, last.
    pub shutdown: Option<ShutdownFn>,
    /// The host's frames of a stream.
    pub stream_data: Option<StreamDataFn>,
    /// The host's end of a stream.
    pub stream_close: Option<StreamCloseFn>,
}

/// What `nylon_ring_get_plugin_v1` gives.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NrPluginInfo {
    /// [`crate::NR_ABI_VERSION`].
    pub abi_version: u32,
    /// The size of this struct where the plugin was compiled.
    pub struct_size: u32,
    /// The plugin's name.
    pub name: NrStr,
    /// The plugin's own version.
    pub version: NrStr,
    /// Passed back as each function's first argument.
    pub plugin_ctx: *mut c_void,
    /// An [`NrPluginVTable`] or an [`NrPluginVTableRaw`].
    pub vtable: *const c_void,
}

/// The type of `nylon_ring_get_plugin_v1`.
pub type GetPluginFn = unsafe extern "C" fn() -> *const NrPluginInfo;
