//! State by sid: the host's, where the process has its functions, else the plugin's own with the same life.

use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::mem;
use std::sync::{Mutex, PoisonError};

use nylon_ring_abi::plugin::HostLink;
use nylon_ring_abi::{HOST_EXT_SYMBOL, HostExtFn, NrBytes, NrHostExt, NrStr};

/// The functions of the host with this context.
pub struct HostState {
    ctx: *mut c_void,
    ext: &'static NrHostExt,
}

// SAFETY: the ABI lets a plugin call these from any of its threads.
unsafe impl Send for HostState {}
// SAFETY: as above.
unsafe impl Sync for HostState {}

impl HostState {
    /// `None` when no host of this process knows the context.
    pub fn find(host: HostLink) -> Option<Self> {
        let symbol = CString::new(HOST_EXT_SYMBOL).ok()?;
        // SAFETY: a name with its end, looked up in what the process has loaded.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, symbol.as_ptr()) };
        if found.is_null() {
            return None;
        }
        // SAFETY: the ABI gives the symbol this type.
        let host_ext: HostExtFn = unsafe { mem::transmute::<*mut c_void, HostExtFn>(found) };
        let ctx = host.ctx();
        // SAFETY: the function compares the context with the host's own, and its table lives as long as the host.
        let ext = unsafe { host_ext(ctx).as_ref() }?;
        Some(Self { ctx, ext })
    }
}

/// Where an instance keeps its values.
pub enum State {
    /// In the host, which takes them away with the call.
    Host(HostState),
    /// Here, by sid and key.
    Own(Mutex<HashMap<u64, HashMap<String, Vec<u8>>>>),
}

impl State {
    pub fn of(host: Option<HostState>) -> Self {
        host.map_or_else(|| Self::Own(Mutex::default()), Self::Host)
    }

    /// An error is the host's reason why not.
    pub fn set(&self, sid: u64, key: &str, value: &[u8]) -> Result<(), String> {
        match self {
            Self::Host(host) => {
                let view = NrStr::of(key).map_err(|error| error.to_string())?;
                // SAFETY: the context is the one that `init` gave, before `shutdown` has returned; the views live.
                let refusal = unsafe { (host.ext.set_state)(host.ctx, sid, view, NrBytes::from_slice(value)) };
                // SAFETY: copied at once.
                match unsafe { refusal.as_slice() } {
                    Some([]) => Ok(()),
                    Some(reason) => Err(String::from_utf8_lossy(reason).into_owned()),
                    None => Err("the host's reason cannot be read".to_owned()),
                }
            }
            Self::Own(values) => {
                let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
                values.entry(sid).or_default().insert(key.to_owned(), value.to_owned());
                Ok(())
            }
        }
    }

    /// Empty where there is no value.
    pub fn get(&self, sid: u64, key: &str) -> Vec<u8> {
        match self {
            Self::Host(host) => {
                let Ok(view) = NrStr::of(key) else {
                    return Vec::new(); // no value has such a key: set has refused it
                };
                // SAFETY: as in `set`; copied at once.
                unsafe { (host.ext.get_state)(host.ctx, sid, view).as_slice() }
                    .unwrap_or_default()
                    .to_vec()
            }
            Self::Own(values) => {
                let values = values.lock().unwrap_or_else(PoisonError::into_inner);
                values
                    .get(&sid)
                    .and_then(|of_sid| of_sid.get(key))
                    .cloned()
                    .unwrap_or_default()
            }
        }
    }

    /// Before the sid's terminal reply.
    pub fn clear(&self, sid: u64) {
        if let Self::Own(values) = self {
            values.lock().unwrap_or_else(PoisonError::into_inner).remove(&sid);
        }
    }
}
