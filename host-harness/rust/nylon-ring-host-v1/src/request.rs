use nylon_ring_abi::{NrHeader, NrRequest, TooLong};

use crate::Extensions;

/// A request as the host's own code writes it.
#[derive(Debug, Default)]
pub struct HighLevelRequest {
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query, without the question mark.
    pub query: String,
    /// Names and values, in order; names may repeat.
    pub headers: Vec<(String, String)>,
    /// The body: the payload of the call.
    pub body: Vec<u8>,
    /// The host's own values; they are not sent.
    pub extensions: Extensions,
}

impl HighLevelRequest {
    /// Runs `use_it` with the ABI's view of this request, which ends when it returns.
    pub(crate) fn with_view<R>(&self, use_it: impl FnOnce(&NrRequest) -> R) -> Result<R, TooLong> {
        let headers = self
            .headers
            .iter()
            .map(|(key, value)| NrHeader::new(key, value))
            .collect::<Result<Vec<_>, _>>()?;
        let view = NrRequest::build(&self.method, &self.path, &self.query, &headers)?;
        Ok(use_it(&view))
    }
}
