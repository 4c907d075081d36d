//! `libplain.so`: `echo_sync` and nothing else. For ABI v2 it is what the released crate makes of a plugin.

use std::sync::OnceLock;

use nylon_ring::{Reply, Session};
use nylon_ring_abi::NrStatus;
use nylon_ring_abi::plugin::{HostLink, Plugin, Request};

/// For ABI v1.
struct Plain(OnceLock<HostLink>);

impl Plugin for Plain {
    fn new() -> Self {
        Self(OnceLock::new())
    }

    fn init(&self, host: HostLink) -> NrStatus {
        match self.0.set(host) {
            Ok(()) => NrStatus::Ok,
            Err(_) => NrStatus::Invalid,
        }
    }

    fn handle(&self, entry: &str, sid: u64, _: Option<Request<'_>>, payload: &[u8]) -> NrStatus {
        match self.0.get() {
            Some(host) if entry == "echo_sync" => {
                // SAFETY: the host is inside `handle`, so its shutdown of this plugin has not returned.
                unsafe { host.send_result(sid, NrStatus::Ok, payload) };
                NrStatus::Ok
            }
            _ => NrStatus::Invalid,
        }
    }

    fn stream_data(&self, _: u64, _: &[u8]) -> NrStatus {
        NrStatus::Unsupported
    }

    fn stream_close(&self, _: u64) -> NrStatus {
        NrStatus::Unsupported
    }

    fn shutdown(&self) {}
}

nylon_ring_abi::define_plugin!(Plain, name: "plain", version: "1.0.0", layout: SEED);

/// For ABI v2.
struct PlainV2;

impl nylon_ring::Plugin for PlainV2 {
    type Ctx = ();
    const ENTRIES: &'static [&'static str] = &["echo_sync"];

    fn new() -> Self {
        Self
    }

    fn new_ctx(&self) {}

    fn on_call(&self, session: &mut Session<'_>, _: &mut ()) -> Reply {
        Reply::Bytes(session.payload().to_vec())
    }
}

/// The macro's function has no documentation.
#[allow(missing_docs)]
mod v2 {
    nylon_ring::export_plugin!(super::PlainV2);
}
