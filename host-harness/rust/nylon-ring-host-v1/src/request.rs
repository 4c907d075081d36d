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
    /// More of them, after those, with values that need not be UTF-8.
    pub raw_headers: Vec<(String, Vec<u8>)>,
    /// The body: the payload of the call.
    pub body: Vec<u8>,
    /// The host's own values; they are not sent.
    pub extensions: Extensions,
}

impl HighLevelRequest {
    /// Runs `use_it` with the ABI's view of this request, which ends when it returns.
    pub(crate) fn with_view<R>(&self, use_it: impl FnOnce(&NrRequest) -> R) -> Result<R, TooLong> {
        let texts = self.headers.iter().map(|(key, value)| NrHeader::new(key, value));
        let others = self.raw_headers.iter().map(|(key, value)| NrHeader::new(key, value));
        let headers = texts.chain(others).collect::<Result<Vec<_>, _>>()?;
        let view = NrRequest::build(&self.method, &self.path, &self.query, &headers)?;
        Ok(use_it(&view))
    }
}
