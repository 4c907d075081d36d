//! What every conformance driver in Rust has in common: lines in, JSON out, calls held by sid, callers for `storm` and
//! `reload`. The protocol is `docs/conformance.md`.
//!
//! A host takes part by two traits, [`Host`] and [`Plugin`], and one line in its `main`:
//!
//! ```no_run
//! # struct MyHost;
//! # struct MyPlugin;
//! # use conformance_driver::{Accepted, Host, LoadError, NotTaken, Plugin, Request};
//! # impl Host for MyHost {
//! #     type Plugin = MyPlugin;
//! #     fn name(&self) -> &str { "my host" }
//! #     fn abi(&self) -> &[&str] { &["v1"] }
//! #     fn cannot(&self) -> &[(&str, &str)] { &[] }
//! #     fn load(&self, _: &str, _: &str) -> Result<MyPlugin, LoadError> { Ok(MyPlugin) }
//! # }
//! # impl Plugin for MyPlugin {
//! #     fn submit(&self, _: Request) -> Result<Accepted, NotTaken> { Err(NotTaken::Refused(2)) }
//! #     fn stream_data(&self, _: u64, _: &[u8]) -> Result<u32, String> { Ok(2) }
//! #     fn stream_close(&self, _: u64) -> Result<u32, String> { Ok(2) }
//! #     fn reload(&self) -> Result<(), LoadError> { Ok(()) }
//! #     fn unload(&self) -> Result<Option<Vec<String>>, String> { Ok(None) }
//! #     fn state_count(&self) -> Result<usize, String> { Ok(0) }
//! # }
//! fn main() -> std::process::ExitCode {
//!     conformance_driver::run(MyHost)
//! }
//! ```
//!
//! Callers are threads, each with a tokio runtime of its own that drives timers: a host's futures are awaited there,
//! and `handle` is called on them.

mod calls;
mod command;
mod echo;
mod error;
mod host;
mod process;
mod reload;
mod replies;
mod session;
mod storm;

pub use command::{Door, Kind, Request};
pub use host::{Accepted, Host, LoadError, NotTaken, Plugin};
pub use replies::{BoxFuture, Frame, Frames, Replies, start};
pub use session::run;
