//! `librefuses.so`: its `init` fails, in both ABIs. For ABI v2 it is what the released crate makes of functions.

use nylon_ring_abi::NrStatus;
use nylon_ring_abi::plugin::{HostLink, Plugin, Request};

/// For ABI v1.
struct Refuses;

impl Plugin for Refuses {
    fn new() -> Self {
        Self
    }

    fn init(&self, _: HostLink) -> NrStatus {
        NrStatus::Err
    }

    fn handle(&self, _: &str, _: u64, _: Option<Request<'_>>, _: &[u8]) -> NrStatus {
        NrStatus::Invalid
    }

    fn stream_data(&self, _: u64, _: &[u8]) -> NrStatus {
        NrStatus::Invalid
    }

    fn stream_close(&self, _: u64) -> NrStatus {
        NrStatus::Invalid
    }

    fn shutdown(&self) {}
}

nylon_ring_abi::define_plugin!(Refuses, name: "refuses", version: "1.0.0", layout: SEED);

/// For ABI v2. The macro's function has no documentation.
#[allow(missing_docs)]
mod v2 {
    use std::ffi::c_void;

    use nylon_ring::{NrBytes, NrHostVTable, NrStatus};

    unsafe fn init(_: *mut c_void, _: *const NrHostVTable) -> NrStatus {
        NrStatus::Err
    }

    unsafe fn echo_sync(_: u64, _: NrBytes) -> NrStatus {
        NrStatus::Invalid
    }

    fn shutdown() {}

    nylon_ring::define_plugin! {
        init: init,
        shutdown: shutdown,
        entries: { "echo_sync" => echo_sync }
    }
}
