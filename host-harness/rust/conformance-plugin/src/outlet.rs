//! The host, as the plugin's code sees it.

use nylon_ring_abi::NrStatus;

use crate::state::HostState;

/// What became of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// The host has it, or does not say.
    Done,
    /// Nobody wants anything for this sid any more.
    Gone,
    /// Not taken: try again.
    Full,
}

/// The way to the host. It is used until the plugin's shutdown returns, and dropped before.
pub trait Outlet: Send + Sync + 'static {
    /// Sends a reply, or a frame.
    fn send(&self, sid: u64, status: NrStatus, payload: &[u8]) -> Sent;

    /// The state that this host keeps for its plugins.
    fn state(&self) -> Option<HostState>;

    /// What `stream_data` answers when a stream's inbox is full.
    fn inbox_full(&self) -> NrStatus;
}
