//! The types and tables that a host and a plugin of the nylon-ring ABI, version 1, exchange.
//!
//! Layouts are 64-bit little-endian C. `tests/layout.rs` holds every size and offset to those of the C header
//! `shim/abi/nylon_ring_v1.h`.
//!
//! Nothing here trusts what the other side wrote: a view is turned into a slice only by an unsafe function that says
//! what the caller must know, and a view that cannot be one gives `None`.
//!
//! The types are for hosts and plugins; [`plugin`] makes a plugin of a Rust value.

pub mod plugin;
mod status;
mod tables;
mod views;

pub use status::NrStatus;
pub use tables::{GetPluginFn, HostExtFn, NrHostExt, NrHostVTable, NrPluginInfo, NrPluginVTable, NrPluginVTableRaw};
pub use tables::{HandleFn, HandleRawFn, InitFn, SendResultFn, ShutdownFn, StreamCloseFn, StreamDataFn};
pub use views::{NrBytes, NrHeader, NrRequest, NrStr, TooLong};

/// What `NrPluginInfo::abi_version` says in this version.
pub const NR_ABI_VERSION: u32 = 1;

/// The symbol by which a plugin is found.
pub const GET_PLUGIN_SYMBOL: &str = "nylon_ring_get_plugin_v1";

/// The symbol by which a plugin finds the state functions of its host.
pub const HOST_EXT_SYMBOL: &str = "nylon_ring_host_ext";
