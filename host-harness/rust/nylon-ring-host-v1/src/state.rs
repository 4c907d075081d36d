//! State by sid. It belongs to its call's record, so it lives exactly as long: made at the first set, gone with the
//! terminal reply, and a value for a sid without a call is refused instead of kept for ever.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use nylon_ring_abi::{NrBytes, NrHostExt, NrStr};

use crate::callback::HostCtx;

/// The values of one call, by key: null until the first is set. Keys are compared as bytes.
#[derive(Debug, Default)]
#[allow(clippy::box_collection)] // every call carries one: a pointer, not 48 bytes
pub(crate) struct State(Option<Box<HashMap<Vec<u8>, Vec<u8>>>>);

impl State {
    pub fn set(&mut self, key: &[u8], value: &[u8]) {
        self.0.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    }

    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.as_ref()?.get(key).map(Vec::as_slice)
    }

    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |values| values.len())
    }
}

pub(crate) static HOST_EXT: NrHostExt = NrHostExt { set_state, get_state };

const MALFORMED: &str = "null pointer with a length";
const NO_CALL: &str = "no call with this sid is in progress";
const PANICKED: &str = "the host failed";

thread_local! {
    /// What this thread's last `get_state` points to: a copy, so that no other thread can change it meanwhile.
    static LAST_VALUE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C" fn set_state(host_ctx: *mut c_void, sid: u64, key: NrStr, value: NrBytes) -> NrBytes {
    let done = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the plugin passes on what `init` gave it, before its `shutdown` returns.
        let host = unsafe { HostCtx::host(host_ctx) };
        // SAFETY: both are borrowed for the length of this call.
        let (Some(key), Some(value)) = (unsafe { key.as_bytes() }, unsafe { value.as_slice() }) else {
            return Err(MALFORMED);
        };
        host.with_state(sid, |state| state.set(key, value)).ok_or(NO_CALL)
    }));
    match done {
        Ok(Ok(())) => NrBytes::EMPTY,
        Ok(Err(reason)) => NrBytes::from_slice(reason.as_bytes()),
        Err(_) => NrBytes::from_slice(PANICKED.as_bytes()),
    }
}

unsafe extern "C" fn get_state(host_ctx: *mut c_void, sid: u64, key: NrStr) -> NrBytes {
    let found = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: as in set_state.
        let (host, key) = unsafe { (HostCtx::host(host_ctx), key.as_bytes()?) };
        let value = host.with_state(sid, |state| state.get(key).map(<[u8]>::to_owned))??;
        LAST_VALUE
            .try_with(|last| {
                let mut last = last.try_borrow_mut().ok()?;
                *last = value;
                Some(NrBytes::from_slice(&last))
            })
            .ok()?
    }));
    found.ok().flatten().unwrap_or(NrBytes::EMPTY)
}

#[cfg(test)]
mod tests {
    use super::State;

    #[test]
    fn values_by_key() {
        let mut state = State::default();
        assert_eq!((state.len(), state.get(b"k")), (0, None));
        state.set(b"k", b"1");
        state.set(b"k", b"2");
        state.set(b"", b"");
        assert_eq!(
            (state.len(), state.get(b"k"), state.get(b"")),
            (2, Some(b"2".as_slice()), Some(b"".as_slice()))
        );
    }
}
