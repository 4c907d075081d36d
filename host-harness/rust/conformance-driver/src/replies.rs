//! What comes back from a call, and waiting for it.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, timeout_at};

use crate::command::Kind;
use crate::host::NotTaken;

/// A future behind a pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A reply, or a stream's frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The ABI's number.
    pub status: u32,
    /// Its bytes.
    pub data: Vec<u8>,
}

/// A stream's receiver; dropping it is what a host's user does who wants no more of the stream.
pub trait Frames: Send {
    /// The next frame, the last one included; `None` when nothing more will come. The future may be dropped before it
    /// is ready: no frame is lost by that.
    fn next(&mut self) -> BoxFuture<'_, Option<Frame>>;
}

/// What the plugin answers to a call.
pub enum Replies {
    /// One reply of any status; a text: there is none and none will come, and why.
    Unary(BoxFuture<'static, Result<Frame, String>>),
    /// Frames, of which the first that is not `Ok` is the last.
    Stream(Box<dyn Frames>),
}

impl Replies {
    /// A reply that is here already, or will never come.
    pub fn ready(reply: Result<Frame, String>) -> Self {
        Self::Unary(Box::pin(std::future::ready(reply)))
    }

    fn kind(&self) -> Kind {
        match self {
            Self::Unary(_) => Kind::Unary,
            Self::Stream(_) => Kind::Stream,
        }
    }

    async fn next(&mut self) -> Result<Frame, String> {
        match self {
            Self::Unary(reply) => reply.as_mut().await,
            Self::Stream(frames) => match frames.next().await {
                Some(frame) => Ok(frame),
                None => Err("the host closed the stream without a last frame".to_owned()),
            },
        }
    }
}

/// Starts a call that is one future: such a call enters the plugin's `handle` when it is polled for the first time.
/// `not_taken` says what an error means that came from there; one that comes later is told as a reply's absence.
pub fn start<E: 'static>(
    call: impl Future<Output = Result<Frame, E>> + Send + 'static,
    not_taken: impl Fn(E) -> NotTaken + Send + 'static,
) -> Result<Replies, NotTaken> {
    let mut call = Box::pin(call);
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(reply)) => Ok(Replies::ready(Ok(reply))),
        Poll::Ready(Err(error)) => Err(not_taken(error)),
        Poll::Pending => Ok(Replies::Unary(Box::pin(async move {
            call.await.map_err(|error| not_taken(error).to_string())
        }))),
    }
}

/// What a wait brought.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    pub frames: Vec<Frame>,
    /// The last of `frames` is the terminal one.
    pub ended: bool,
    pub timeout: bool,
    /// Why nothing more will come, where nothing has ended the call.
    pub absent: Option<String>,
}

impl Gathered {
    /// Whether there is anything left to wait for.
    pub fn is_over(&self) -> bool {
        self.ended || self.absent.is_some()
    }

    /// What another wait for the same call has brought.
    pub fn append(&mut self, mut later: Self) {
        self.frames.append(&mut later.frames);
        *self = Self {
            frames: std::mem::take(&mut self.frames),
            ..later
        };
    }
}

/// A thread's means of waiting.
pub(crate) struct Waiter(Runtime);

impl Waiter {
    pub fn new() -> io::Result<Self> {
        Ok(Self(Builder::new_current_thread().enable_time().build()?))
    }

    /// At most `wanted` frames, or all to the end.
    pub fn gather(&self, replies: &mut Replies, wanted: usize, timeout: Duration) -> Gathered {
        let mut gathered = Gathered::default();
        let kind = replies.kind();
        self.0.block_on(async {
            let until = Instant::now() + timeout;
            while gathered.frames.len() < wanted && !gathered.is_over() {
                match timeout_at(until, replies.next()).await {
                    Ok(Ok(frame)) => {
                        gathered.ended = kind == Kind::Unary || frame.status != 0;
                        gathered.frames.push(frame);
                    }
                    Ok(Err(why)) => gathered.absent = Some(why),
                    Err(_) => {
                        gathered.timeout = true;
                        return;
                    }
                }
            }
        });
        gathered
    }
}
