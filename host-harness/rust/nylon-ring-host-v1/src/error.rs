use std::path::PathBuf;

use nylon_ring_abi::{NrStatus, TooLong};
use thiserror::Error;

/// Why a plugin was not loaded, or a call brought no reply.
#[derive(Debug, Error)]
pub enum NylonRingHostError {
    /// The file is missing, or no shared object that this process can load.
    #[error("cannot load {path}: {source}", path = path.display())]
    LoadError {
        /// The file.
        path: PathBuf,
        /// What the loader said.
        #[source]
        source: libloading::Error,
    },

    /// The file is a shared object, but not a plugin that can be used.
    #[error("{path} is no v1 plugin: {reason}", path = path.display())]
    InvalidEntryPoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// The plugin speaks another version of the ABI.
    #[error("the plugin speaks ABI version {actual}, this host {expected}")]
    AbiVersionMismatch {
        /// This host's.
        expected: u32,
        /// The plugin's.
        actual: u32,
    },

    /// `init` did not answer `Ok`; the reason is in the plugin's log.
    #[error("the plugin's init answered {0}")]
    InitFailed(NrStatus),

    /// `handle` did not take the call: there is no reply, and none will come.
    #[error("the plugin refused the call: {0}")]
    Refused(NrStatus),

    /// A fast call was taken, but its reply did not come on this thread before `handle` returned.
    #[error("no reply before handle returned: this entry does not answer on the host's thread")]
    NoReplyInside,

    /// The host was shut down and the plugin had not answered: it broke its promise.
    #[error("the plugin was shut down without answering")]
    NoReply,

    /// No stream with this sid is open: it has ended, its receiver was dropped, or it never was.
    #[error("no stream with this sid is open")]
    StreamClosed,

    /// An entry, a field of the request or its list of headers is longer than the ABI can say.
    #[error(transparent)]
    TooLong(#[from] TooLong),
}
