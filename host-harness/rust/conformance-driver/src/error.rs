use std::io;

use thiserror::Error;

use crate::host::{LoadError, NotTaken};

/// Why a command has no answer.
#[derive(Debug, Error)]
pub(crate) enum DriverError {
    #[error("there is no verb {0}")]
    NoVerb(String),
    #[error("{0}= is missing")]
    Missing(&'static str),
    #[error("{key}={value}: {expected} was expected")]
    Value {
        key: &'static str,
        value: String,
        expected: &'static str,
    },
    #[error("{0} is not well percent-encoded UTF-8")]
    Encoding(String),
    #[error("no plugin is loaded as {0}")]
    NoPlugin(String),
    #[error("a plugin is loaded as {0} already")]
    Loaded(String),
    #[error("this host does not speak {0}")]
    Abi(String),
    #[error("no call with sid {0} is in progress")]
    NoCall(u64),
    #[error("there is no job {0}")]
    NoJob(u64),
    #[error("the driver panicked at this command: see stderr")]
    Panicked,
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error(transparent)]
    Call(#[from] NotTaken),
    #[error("{0}")]
    Host(String),
    #[error("{what}: {source}")]
    System {
        what: &'static str,
        #[source]
        source: io::Error,
    },
}

impl DriverError {
    /// For `map_err`: what was being done when the system refused.
    pub fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}
