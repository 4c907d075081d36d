//! Into the plugin: a call of each kind.

use std::sync::Arc;

use nylon_ring_abi::{NrBytes, NrRequest, NrStatus, NrStr};
use tokio::sync::{mpsc, oneshot};

use crate::context::{HostContext, Reply, Waiting};
use crate::plugin::Plugin;
use crate::{HighLevelRequest, NylonRingHost, NylonRingHostError as Error, StreamReceiver, fast};

impl Plugin {
    /// # Safety
    /// The plugin is between `init` and `shutdown`.
    unsafe fn handle(&self, entry: NrStr, sid: u64, request: &NrRequest, body: &[u8]) -> NrStatus {
        // SAFETY: the caller's promise; all views live until `handle` returns.
        unsafe { (self.handle)(self.ctx, entry, sid, request, NrBytes::from_slice(body)) }
    }

    /// # Safety
    /// As for `handle`.
    unsafe fn handle_raw(&self, entry: NrStr, sid: u64, body: &[u8]) -> NrStatus {
        let body = NrBytes::from_slice(body);
        match self.handle_raw {
            // SAFETY: as in `handle`.
            Some(handle_raw) => unsafe { handle_raw(self.ctx, entry, sid, body) },
            // SAFETY: as in `handle`; the ABI allows a null request.
            None => unsafe { (self.handle)(self.ctx, entry, sid, std::ptr::null(), body) },
        }
    }

    /// For the host, and for receivers that came through the gate: both know the plugin is loaded.
    pub(crate) fn close_stream(&self, sid: u64) -> NrStatus {
        match self.stream_close {
            // SAFETY: the plugin is loaded, and a sid may be any number.
            Some(stream_close) => unsafe { stream_close(self.ctx, sid) },
            None => NrStatus::Unsupported,
        }
    }
}

/// A call whose caller may go away before the reply: then it is forgotten.
struct Pending<'a> {
    host: &'a HostContext,
    sid: u64,
    answered: bool,
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.host.forget(self.sid);
        }
    }
}

impl NylonRingHost {
    /// Calls an entry, and awaits its reply. Dropping the future forgets the call: the plugin is not told (the ABI has
    /// no way to), and its reply is ignored.
    pub async fn call(&self, entry: &str, req: HighLevelRequest) -> Result<Reply, Error> {
        self.unary(|sid| self.enter(entry, sid, req)).await
    }

    /// Calls an entry without a request, just bytes, and awaits its reply.
    pub async fn call_raw(&self, entry: &str, payload: &[u8]) -> Result<Reply, Error> {
        self.unary(|sid| self.enter_raw(entry, sid, payload)).await
    }

    /// Calls an entry that answers on the caller's thread before `handle` returns, the quickest way there is. Where no
    /// reply came, it fails at once with [`Error::NoReplyInside`]; a reply that comes later is ignored.
    pub async fn call_raw_unary_fast(&self, entry: &str, payload: &[u8]) -> Result<Reply, Error> {
        let sid = self.context.next_sid();
        match fast::call(&self.context, sid, || self.enter_raw(entry, sid, payload))? {
            (NrStatus::Ok, Some(reply)) => Ok(reply),
            (NrStatus::Ok, None) => Err(Error::NoReplyInside),
            (status, _) => Err(Error::Refused(status)),
        }
    }

    /// Calls an entry that answers with frames. The sid is what [`NylonRingHost::send_stream_data`] and
    /// [`NylonRingHost::close_stream`] need.
    pub async fn call_stream(&self, entry: &str, req: HighLevelRequest) -> Result<(u64, StreamReceiver), Error> {
        let (sender, frames) = mpsc::unbounded_channel();
        let sid = self.context.next_sid();
        self.context.register(sid, Waiting::Stream(sender));
        let mut pending = self.pending(sid);
        accepted(self.enter(entry, sid, req)?)?;
        pending.answered = true; // from here on the receiver answers for the sid
        Ok((sid, StreamReceiver::new(frames, sid, Arc::clone(&self.context))))
    }

    /// Sends a frame to the plugin. `Ok` means taken; with `Err` the frame was not taken, and the stream lives on.
    pub fn send_stream_data(&self, sid: u64, data: &[u8]) -> Result<NrStatus, Error> {
        self.open_stream(sid)?;
        Ok(match self.plugin.stream_data {
            // SAFETY: the plugin is loaded as long as the host lives; the view lives until the function returns.
            Some(stream_data) => unsafe { stream_data(self.plugin.ctx, sid, NrBytes::from_slice(data)) },
            None => NrStatus::Unsupported,
        })
    }

    /// Tells the plugin that the host sends no more. The plugin may go on sending until its `StreamEnd`.
    pub fn close_stream(&self, sid: u64) -> Result<NrStatus, Error> {
        self.open_stream(sid)?;
        Ok(self.plugin.close_stream(sid))
    }

    fn open_stream(&self, sid: u64) -> Result<(), Error> {
        if self.context.is_open_stream(sid) {
            Ok(())
        } else {
            Err(Error::StreamClosed)
        }
    }

    fn pending(&self, sid: u64) -> Pending<'_> {
        Pending {
            host: &self.context,
            sid,
            answered: false,
        }
    }

    async fn unary(&self, enter: impl FnOnce(u64) -> Result<NrStatus, Error>) -> Result<Reply, Error> {
        let (caller, reply) = oneshot::channel();
        let sid = self.context.next_sid();
        self.context.register(sid, Waiting::Unary(caller));
        let mut pending = self.pending(sid);
        accepted(enter(sid)?)?;
        let reply = reply.await.map_err(|_| Error::NoReply)?;
        pending.answered = true;
        Ok(reply)
    }

    fn enter(&self, entry: &str, sid: u64, req: HighLevelRequest) -> Result<NrStatus, Error> {
        let entry = NrStr::of(entry)?;
        // SAFETY: the plugin is loaded as long as the host lives.
        Ok(req.with_view(|view| unsafe { self.plugin.handle(entry, sid, view, &req.body) })?)
    }

    fn enter_raw(&self, entry: &str, sid: u64, payload: &[u8]) -> Result<NrStatus, Error> {
        let entry = NrStr::of(entry)?;
        // SAFETY: as in `enter`.
        Ok(unsafe { self.plugin.handle_raw(entry, sid, payload) })
    }
}

/// Anything but `Ok` from `handle` means that no reply will ever come.
fn accepted(status: NrStatus) -> Result<(), Error> {
    match status {
        NrStatus::Ok => Ok(()),
        refused => Err(Error::Refused(refused)),
    }
}
