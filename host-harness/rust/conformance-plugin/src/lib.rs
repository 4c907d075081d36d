//! The plugin of the conformance suite (`docs/conformance.md`) in Rust. This crate is what it does; `seed/` and `raw/`
//! make files of it, and `refuses/` and `plain/` are the suite's two small ones.
//!
//! An [`Instance`] knows its host by the trait [`Outlet`] alone, so both ABIs run the same code.

mod calls;
mod entries;
mod instance;
mod outlet;
mod state;
mod streams;
mod v1;
pub mod v2;
mod workers;

pub use instance::Instance;
pub use outlet::{Outlet, Sent};
