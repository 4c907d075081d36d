//! Into the plugin: a call of each kind.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

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

/// A unary call that the plugin has taken; awaited, it gives the reply. It borrows nothing, and may outlive its host:
/// then it has what came before or at the plugin's shutdown.
///
/// Dropping it forgets the call: the plugin is not told (the ABI has no way to), and its reply is ignored.
pub struct PendingReply {
    reply: oneshot::Receiver<Reply>,
    sid: u64,
    host: Arc<HostContext>,
    answered: bool,
}

impl PendingReply {
    /// The call's sid.
    pub fn sid(&self) -> u64 {
        self.sid
    }
}

impl Future for PendingReply {
    type Output = Result<Reply, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let reply = ready!(Pin::new(&mut self.reply).poll(cx));
        self.answered = true;
        Poll::Ready(reply.map_err(|_| Error::NoReply))
    }
}

impl Drop for PendingReply {
    fn drop(&mut self) {
        if !self.answered {
            self.host.forget(self.sid);
        }
    }
}

impl fmt::Debug for PendingReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PendingReply(sid {})", self.sid)
    }
}

impl NylonRingHost {
    /// Calls an entry, and awaits its reply. Dropping the future gives the call up, as dropping a [`PendingReply`] does.
    pub async fn call(&self, entry: &str, req: HighLevelRequest) -> Result<Reply, Error> {
        self.submit(entry, req)?.await
    }

    /// Calls an entry without a request, just bytes, and awaits its reply.
    pub async fn call_raw(&self, entry: &str, payload: &[u8]) -> Result<Reply, Error> {
        self.submit_raw(entry, payload)?.await
    }

    /// Calls an entry, and gives what its reply is awaited with once the plugin has taken the call.
    pub fn submit(&self, entry: &str, req: HighLevelRequest) -> Result<PendingReply, Error> {
        self.unary(|sid| self.enter(entry, sid, req))
    }

    /// As [`NylonRingHost::submit`], without a request.
    pub fn submit_raw(&self, entry: &str, payload: &[u8]) -> Result<PendingReply, Error> {
        self.unary(|sid| self.enter_raw(entry, sid, payload))
    }

    /// Calls an entry that answers on the caller's thread before `handle` returns, the quickest way there is. Where no
    /// reply came, it fails at once with [`Error::NoReplyInside`]; a reply that comes later is ignored.
    pub async fn call_raw_unary_fast(&self, entry: &str, payload: &[u8]) -> Result<Reply, Error> {
        self.submit_raw_fast(entry, payload)
    }

    /// As [`NylonRingHost::call_raw_unary_fast`], outside of any task.
    pub fn submit_raw_fast(&self, entry: &str, payload: &[u8]) -> Result<Reply, Error> {
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
        self.submit_stream(entry, req)
    }

    /// As [`NylonRingHost::call_stream`], outside of any task.
    pub fn submit_stream(&self, entry: &str, req: HighLevelRequest) -> Result<(u64, StreamReceiver), Error> {
        self.stream(|sid| self.enter(entry, sid, req))
    }

    /// As [`NylonRingHost::submit_stream`], without a request.
    pub fn submit_stream_raw(&self, entry: &str, payload: &[u8]) -> Result<(u64, StreamReceiver), Error> {
        self.stream(|sid| self.enter_raw(entry, sid, payload))
    }

    /// Sends a frame to the plugin. `Ok` means taken; with `Err` the frame was not taken, and the stream lives on.
    pub fn send_stream_data(&self, sid: u64, data: &[u8]) -> Result<NrStatus, Error> {
        self.open_stream(sid)?;
        Ok(self.ask_stream_data(sid, data))
    }

    /// Tells the plugin that the host sends no more. The plugin may go on sending until its `StreamEnd`.
    pub fn close_stream(&self, sid: u64) -> Result<NrStatus, Error> {
        self.open_stream(sid)?;
        Ok(self.ask_stream_close(sid))
    }

    /// What the plugin's `stream_data` answers, whatever the sid is: for those who test plugins.
    pub fn ask_stream_data(&self, sid: u64, data: &[u8]) -> NrStatus {
        match self.plugin.stream_data {
            // SAFETY: the plugin is loaded as long as the host lives; the view lives until the function returns.
            Some(stream_data) => unsafe { stream_data(self.plugin.ctx, sid, NrBytes::from_slice(data)) },
            None => NrStatus::Unsupported,
        }
    }

    /// What the plugin's `stream_close` answers, whatever the sid is: for those who test plugins.
    pub fn ask_stream_close(&self, sid: u64) -> NrStatus {
        self.plugin.close_stream(sid)
    }

    fn open_stream(&self, sid: u64) -> Result<(), Error> {
        if self.context.is_open_stream(sid) {
            Ok(())
        } else {
            Err(Error::StreamClosed)
        }
    }

    /// A call that is known to the host before the plugin is entered: the reply may come at once.
    fn begin(&self, waiting: Waiting, enter: impl FnOnce(u64) -> Result<NrStatus, Error>) -> Result<u64, Error> {
        let sid = self.context.next_sid();
        self.context.register(sid, waiting);
        match enter(sid) {
            Ok(NrStatus::Ok) => Ok(sid),
            refused => {
                self.context.forget(sid); // no reply will ever come
                Err(refused.map_or_else(|error| error, Error::Refused))
            }
        }
    }

    fn unary(&self, enter: impl FnOnce(u64) -> Result<NrStatus, Error>) -> Result<PendingReply, Error> {
        let (caller, reply) = oneshot::channel();
        Ok(PendingReply {
            reply,
            sid: self.begin(Waiting::Unary(caller), enter)?,
            host: Arc::clone(&self.context),
            answered: false,
        })
    }

    fn stream(&self, enter: impl FnOnce(u64) -> Result<NrStatus, Error>) -> Result<(u64, StreamReceiver), Error> {
        let (sender, frames) = mpsc::unbounded_channel();
        let sid = self.begin(Waiting::Stream(sender), enter)?;
        Ok((sid, StreamReceiver::new(frames, sid, Arc::clone(&self.context))))
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
