//! What a host has to do. Statuses are the ABI's numbers.

use thiserror::Error;

use crate::command::Request;
use crate::replies::Replies;

/// A host: it says what it is, and loads plugins.
pub trait Host: Send + Sync + 'static {
    /// What `load` gives.
    type Plugin: Plugin;

    /// Its name, for `hello`.
    fn name(&self) -> &str;

    /// The ABIs it speaks, out of `v1`, `v1-raw` and `v2`. The first is what `load` gets when none is asked for.
    fn abi(&self) -> &[&str];

    /// What it cannot do, and why, by the names of `docs/conformance.md`.
    fn cannot(&self) -> &[(&str, &str)];

    /// Opens the file and calls its `init`. `abi` is one of [`Host::abi`].
    fn load(&self, path: &str, abi: &str) -> Result<Self::Plugin, LoadError>;
}

/// A plugin that was loaded, or its replacement after a [`Plugin::reload`].
///
/// All functions are called from any thread, several at once. After `unload` has begun, `submit` goes on being called
/// and answers [`NotTaken::Gone`].
pub trait Plugin: Send + Sync + 'static {
    /// Calls the entry, and returns when the plugin's `handle` has returned: it does not wait for a reply that comes
    /// later. Frames may come from then on, whether or not anyone asks for them.
    ///
    /// A host whose call is one future (`call(…).await`) passes it through [`crate::start`].
    fn submit(&self, request: Request) -> Result<Accepted, NotTaken>;

    /// Passes a frame to the plugin, and answers the plugin's status. A text: the host did not ask the plugin.
    fn stream_data(&self, sid: u64, data: &[u8]) -> Result<u32, String>;

    /// Passes the close to the plugin, and answers the plugin's status. A text: the host did not ask the plugin.
    fn stream_close(&self, sid: u64) -> Result<u32, String>;

    /// Replaces the instance as this host always does; returns when new calls reach the new one. Where the host has a
    /// choice, it does not wait for the old one's calls.
    fn reload(&self) -> Result<(), LoadError>;

    /// Shuts the plugin down and closes it; called once. It may return before the plugin is gone, where the host leaves
    /// that to the last call. Gives the promises the plugin broke, where the host keeps a record of them.
    fn unload(&self) -> Result<Option<Vec<String>>, String>;

    /// How many values of state the host holds for its plugins.
    fn state_count(&self) -> Result<usize, String>;
}

/// A call that `handle` took.
pub struct Accepted {
    /// The call's sid, where the host tells it. A stream needs it; a unary call without gets a number from the driver.
    pub sid: Option<u64>,
    /// What the plugin answers. Dropping it gives the call up.
    pub replies: Replies,
}

/// A call that was not taken.
#[derive(Debug, Error)]
pub enum NotTaken {
    /// `handle` answered this.
    #[error("handle answered status {0}")]
    Refused(u32),
    /// The host did not ask: the plugin is unloaded, or on its way out.
    #[error("{0}")]
    Gone(String),
    /// The host cannot make such a call, or failed at it.
    #[error("{0}")]
    Failed(String),
}

/// A plugin that was not loaded.
#[derive(Debug, Error)]
#[error("{why}")]
pub struct LoadError {
    /// What happened.
    pub why: String,
    /// What `init` answered, where that is the reason.
    pub init: Option<u32>,
}
