//! A nylon-ring v1 host: load a plugin, call its entries, await what they answer.
//!
//! ```no_run
//! use nylon_ring_host_v1::{HighLevelRequest, NylonRingHost, NylonRingHostError};
//!
//! # async fn example() -> Result<(), NylonRingHostError> {
//! let host = NylonRingHost::load("./plugin.so")?;
//! let request = HighLevelRequest { path: "/orders".to_owned(), ..Default::default() };
//! let (status, body) = host.call("unary", request).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A program that uses it is linked with `-rdynamic` (in its build.rs: `cargo:rustc-link-arg-bins=-rdynamic`), so that
//! plugins find `nylon_ring_host_ext`; without, they keep their state themselves.

mod call;
mod callback;
mod context;
mod error;
mod ext;
mod extensions;
mod fast;
mod gate;
mod host;
mod plugin;
mod request;
mod state;
mod stream;

pub use call::PendingReply;
pub use error::NylonRingHostError;
pub use ext::nylon_ring_host_ext;
pub use extensions::Extensions;
pub use host::{HostStats, NylonRingHost};
pub use nylon_ring_abi::{NrHostExt, NrStatus};
pub use plugin::Layout;
pub use request::HighLevelRequest;
pub use stream::{StreamFrame, StreamReceiver};
