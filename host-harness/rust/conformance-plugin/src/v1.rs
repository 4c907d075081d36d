//! The door of ABI v1: `nylon_ring_abi::define_plugin!` exports it.

use nylon_ring_abi::NrStatus;
use nylon_ring_abi::plugin::{HostLink, Plugin, Request};

use crate::instance::Instance;
use crate::outlet::{Outlet, Sent};
use crate::state::HostState;

struct HostV1(HostLink);

impl Outlet for HostV1 {
    fn send(&self, sid: u64, status: NrStatus, payload: &[u8]) -> Sent {
        // SAFETY: the instance's threads end before its shutdown returns, and nobody else sends.
        unsafe { self.0.send_result(sid, status, payload) };
        Sent::Done
    }

    fn state(&self) -> Option<HostState> {
        HostState::find(self.0)
    }

    fn inbox_full(&self) -> NrStatus {
        NrStatus::Err
    }
}

impl Plugin for Instance {
    fn new() -> Self {
        Self::default()
    }

    fn init(&self, host: HostLink) -> NrStatus {
        self.init(HostV1(host))
    }

    fn handle(&self, entry: &str, sid: u64, request: Option<Request<'_>>, payload: &[u8]) -> NrStatus {
        self.handle(entry, sid, request, payload)
    }

    fn stream_data(&self, sid: u64, data: &[u8]) -> NrStatus {
        self.stream_data(sid, data)
    }

    fn stream_close(&self, sid: u64) -> NrStatus {
        self.stream_close(sid)
    }

    fn shutdown(&self) {
        self.shutdown();
    }
}
