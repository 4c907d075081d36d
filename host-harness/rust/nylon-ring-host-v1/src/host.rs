//! From file to instance and back: load, `init`; `shutdown`, close.

use std::ffi::c_void;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use libloading::os::unix::Library;
use nylon_ring_abi::{NrHostExt, NrStatus};

use crate::callback::{HOST_VTABLE, HostCtx};
use crate::context::HostContext;
use crate::plugin::{self, Opened, Plugin};
use crate::{Layout, NylonRingHostError, nylon_ring_host_ext};

/// What a host holds at this moment; all zero when every call was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostStats {
    /// Unary calls without a reply; fast ones are not counted.
    pub calls: usize,
    /// Streams without their last frame.
    pub streams: usize,
    /// Of those whose receiver was dropped, the ones that the plugin has not ended yet.
    pub dropped_streams: usize,
    /// Values that plugins have set, over all calls.
    pub state_values: usize,
}

/// A loaded plugin. Any thread may use it; dropping it shuts the plugin down and closes its file.
pub struct NylonRingHost {
    pub(crate) plugin: Plugin,
    pub(crate) context: Arc<HostContext>,
    /// Set by `load_with`, freed by `drop` after the plugin's shutdown.
    host_ctx: *mut c_void,
    name: String,
    version: String,
    /// Closed last, after `drop` has run: fields go in order, and nothing above needs the file then.
    _library: Library,
}

// SAFETY: host_ctx points to a HostCtx, which is Send and Sync (an Arc of a HostContext).
unsafe impl Send for NylonRingHost {}
// SAFETY: as above; only `drop` frees it, and that has the host for itself.
unsafe impl Sync for NylonRingHost {}

impl NylonRingHost {
    /// Loads a plugin of the five-function layout, and calls its `init`.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, NylonRingHostError> {
        Self::load_with(path, Layout::Seed)
    }

    /// Loads a plugin of a layout that the caller knows, and calls its `init`. A plugin that refuses is shut down and
    /// closed.
    pub fn load_with(path: impl AsRef<Path>, layout: Layout) -> Result<Self, NylonRingHostError> {
        let Opened {
            library,
            plugin,
            name,
            version,
        } = plugin::open(path.as_ref(), layout)?;
        let context = Arc::new(HostContext::new(plugin));
        let host = Self {
            plugin,
            host_ctx: HostCtx::publish(Arc::clone(&context)),
            context,
            name,
            version,
            _library: library,
        };
        match host.init() {
            NrStatus::Ok => Ok(host),
            status => Err(NylonRingHostError::InitFailed(status)), // dropping the host shuts it down
        }
    }

    fn init(&self) -> NrStatus {
        match self.plugin.init {
            // SAFETY: called once, first; host_ctx and the table outlive the plugin's shutdown.
            Some(init) => unsafe { init(self.plugin.ctx, self.host_ctx, &raw const HOST_VTABLE) },
            None => NrStatus::Ok,
        }
    }

    /// The plugin's name.
    pub fn plugin_name(&self) -> &str {
        &self.name
    }

    /// The plugin's own version.
    pub fn plugin_version(&self) -> &str {
        &self.version
    }

    /// What is in progress.
    pub fn stats(&self) -> HostStats {
        self.context.stats()
    }

    /// The state functions for a context, as a plugin in this process finds them; null when it is no host's.
    pub fn get_host_ext(host_ctx: *mut c_void) -> *const NrHostExt {
        nylon_ring_host_ext(host_ctx)
    }
}

impl Drop for NylonRingHost {
    fn drop(&mut self) {
        self.context.gate.close(); // receivers that outlive the host
        if let Some(shutdown) = self.plugin.shutdown {
            // SAFETY: called once, last: calls borrow the host, so none is on its way in.
            unsafe { shutdown(self.plugin.ctx) };
        }
        // SAFETY: made by `load_with`, freed here alone; after its shutdown a plugin touches nothing of the host's.
        unsafe { HostCtx::free(self.host_ctx) };
        self.context.forget_all();
    }
}

impl fmt::Debug for NylonRingHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NylonRingHost({} {}, {:?})", self.name, self.version, self.stats())
    }
}
