//! A stream's receiving end.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use nylon_ring_abi::NrStatus;
use tokio::sync::mpsc;

use crate::context::HostContext;

/// One frame of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamFrame {
    /// `Ok`, or why the stream ends.
    pub status: NrStatus,
    /// Its bytes; the last frame may have some too.
    pub data: Vec<u8>,
}

/// The frames of a stream, in the order in which the plugin sent them, the last one included.
///
/// Dropping it before the stream has ended calls the plugin's `stream_close`; what the plugin sends after that is
/// ignored. It may outlive its host: then only what had come is left in it.
pub struct StreamReceiver {
    frames: mpsc::UnboundedReceiver<StreamFrame>,
    sid: u64,
    host: Arc<HostContext>,
}

impl StreamReceiver {
    pub(crate) fn new(frames: mpsc::UnboundedReceiver<StreamFrame>, sid: u64, host: Arc<HostContext>) -> Self {
        Self { frames, sid, host }
    }

    /// The next frame; `None` after the one that ended the stream, or when the plugin was shut down without one.
    pub async fn recv(&mut self) -> Option<StreamFrame> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`StreamReceiver::recv`], for a future written by hand.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<StreamFrame>> {
        self.frames.poll_recv(cx)
    }

    /// A frame that is there already.
    pub fn try_recv(&mut self) -> Option<StreamFrame> {
        self.frames.try_recv().ok()
    }

    /// The sid that `send_stream_data` and `close_stream` need.
    pub fn sid(&self) -> u64 {
        self.sid
    }
}

impl Drop for StreamReceiver {
    fn drop(&mut self) {
        if self.host.drop_receiver(self.sid) {
            // The answer changes nothing: `Invalid` says that the stream has ended just now, or was closed before.
            self.host.gate.enter(|plugin| plugin.close_stream(self.sid));
        }
    }
}

impl fmt::Debug for StreamReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamReceiver(sid {})", self.sid)
    }
}
