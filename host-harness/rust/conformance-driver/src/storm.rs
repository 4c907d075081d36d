//! Callers on threads, each waiting for its reply before it calls again, and the count of what became of each call.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::command::{Command, Request};
use crate::echo;
use crate::error::DriverError;
use crate::host::{NotTaken, Plugin};
use crate::replies::{Gathered, Replies, Waiter};
use crate::session::{Answer, Slot};

/// After this a reply counts as lost.
const PATIENCE: Duration = Duration::from_secs(30);

const OK: u32 = 0;
const ERR: u32 = 1;
const BACKPRESSURE: u32 = 6;

/// When the callers stop.
pub(crate) enum Until {
    /// They have begun so many calls between them.
    Calls(u64),
    /// The plugin was unloaded.
    Unloaded,
    /// Somebody says so.
    Told(AtomicBool),
}

pub(crate) struct Storm<'a, P> {
    slot: &'a Slot<P>,
    call: Request,
    size: usize,
    /// Of a body that is sent to an open stream.
    pieces: Option<usize>,
    until: Until,
    begun: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    replies: AtomicU64,
    wrong: AtomicU64,
    lost: AtomicU64,
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl<'a, P: Plugin> Storm<'a, P> {
    pub fn new(slot: &'a Slot<P>, command: &Command, until: Until) -> Result<Self, DriverError> {
        let mut call = command.request(command.text("entry")?.unwrap_or("echo"))?;
        let mut size = std::mem::take(&mut call.body).len();
        if size == 0 && command.bytes("body_size").is_none() {
            size = 64;
        }
        Ok(Self {
            slot,
            call,
            size,
            pieces: command.pieces()?,
            until,
            begun: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            replies: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        })
    }

    /// The number of the next call; `None` when it is over.
    fn next(&self) -> Option<u64> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let goes_on = match &self.until {
            Until::Calls(calls) => number < *calls,
            Until::Unloaded => !self.slot.unloaded.load(Ordering::SeqCst),
            Until::Told(over) => !over.load(Ordering::SeqCst),
        };
        goes_on.then_some(number)
    }

    /// The body is back; or the last frame is `Err`, where an instance was on its way out meanwhile: `left` is how many
    /// had gone before the call.
    fn is_right(&self, body: &[u8], gathered: &Gathered, left: u64) -> bool {
        let leaving = || self.slot.leaving.load(Ordering::SeqCst) > left;
        let failed = || gathered.frames.last().is_some_and(|last| last.status == ERR);
        echo::is_echo(self.call.kind, body, gathered) || (failed() && leaving())
    }

    /// Sends the body in pieces and closes. A piece that the plugin has no room for goes again once there was a frame.
    fn send(&self, sid: u64, body: &[u8], count: usize, replies: &mut Replies, waiter: &Waiter) -> Gathered {
        let plugin = &self.slot.plugin;
        let mut gathered = Gathered::default();
        for piece in echo::pieces(body, count) {
            loop {
                match plugin.stream_data(sid, piece) {
                    Ok(OK) => break,
                    Ok(ERR | BACKPRESSURE) => gathered.append(waiter.gather(replies, 1, PATIENCE)),
                    Ok(_) | Err(_) => return gathered, // it has ended: its last frame says how
                }
                if gathered.is_over() || gathered.timeout {
                    return gathered;
                }
            }
        }
        // What is wrong with the close shows in the end that does not come.
        drop(plugin.stream_close(sid));
        gathered
    }

    fn one(&self, number: u64, waiter: &Waiter) -> Result<(), DriverError> {
        let left = self.slot.left.load(Ordering::SeqCst);
        let body = echo::body_of(number, self.size);
        let mut request = self.call.clone();
        if self.pieces.is_none() {
            request.body.clone_from(&body);
        }
        let mut accepted = match self.slot.plugin.submit(request) {
            Ok(accepted) => accepted,
            Err(NotTaken::Refused(_) | NotTaken::Gone(_)) => {
                add(&self.refused);
                thread::yield_now(); // nothing that could be waited for: the next call may be taken
                return Ok(());
            }
            Err(failed) => return Err(failed.into()),
        };
        add(&self.accepted);
        self.slot.traffic.fetch_add(1, Ordering::SeqCst);
        let mut gathered = match (self.pieces, accepted.sid) {
            (Some(count), Some(sid)) => self.send(sid, &body, count, &mut accepted.replies, waiter),
            _ => Gathered::default(),
        };
        if !gathered.is_over() && !gathered.timeout {
            gathered.append(waiter.gather(&mut accepted.replies, usize::MAX, PATIENCE));
        }
        if !gathered.ended {
            add(&self.lost);
            return Ok(());
        }
        if !self.is_right(&body, &gathered, left) {
            add(&self.wrong);
        }
        add(&self.replies); // last: who has seen a reply has seen what it was
        Ok(())
    }

    fn caller(&self) -> Result<(), DriverError> {
        let waiter = Waiter::new().map_err(DriverError::system("a caller cannot wait"))?;
        while let Some(number) = self.next() {
            self.one(number, &waiter)?;
        }
        Ok(())
    }

    /// Runs `threads` callers to their end, and meanwhile `beside`, which is given what tells whether any has ended.
    pub fn run<R>(
        &self,
        threads: usize,
        beside: impl FnOnce(&dyn Fn() -> bool) -> Result<R, DriverError>,
    ) -> Result<R, DriverError> {
        thread::scope(|scope| {
            let mut callers = Vec::with_capacity(threads);
            let mut failed = None;
            for _ in 0..threads {
                match thread::Builder::new()
                    .name("caller".to_owned())
                    .spawn_scoped(scope, || self.caller())
                {
                    Ok(caller) => callers.push(caller),
                    Err(error) => failed = Some(DriverError::system("cannot start a caller")(error)),
                }
            }
            let done = match failed {
                None => beside(&|| callers.iter().any(|caller| caller.is_finished())),
                Some(error) => Err(error),
            };
            if let Until::Told(over) = &self.until {
                over.store(true, Ordering::SeqCst);
            }
            for caller in callers {
                caller.join().map_err(|_| DriverError::Panicked)??;
            }
            done
        })
    }

    /// Replies so far.
    pub fn replies(&self) -> u64 {
        self.replies.load(Ordering::Relaxed)
    }

    pub fn counts(&self) -> Answer {
        let counts = [
            ("accepted", &self.accepted),
            ("refused", &self.refused),
            ("replies", &self.replies),
            ("wrong", &self.wrong),
            ("lost", &self.lost),
        ];
        counts
            .map(|(name, count)| (name.to_owned(), count.load(Ordering::Relaxed).into()))
            .into_iter()
            .collect()
    }
}

pub(crate) fn run<P: Plugin>(slot: &Slot<P>, command: &Command) -> Result<Answer, DriverError> {
    let until = match command.text("until")? {
        Some("unload") => Until::Unloaded,
        Some(other) => {
            return Err(DriverError::Value {
                key: "until",
                value: other.to_owned(),
                expected: "unload",
            });
        }
        None => Until::Calls(command.number("calls")?.unwrap_or(1000)),
    };
    let storm = Storm::new(slot, command, until)?;
    storm.run(command.number("threads")?.unwrap_or(4), |_| Ok(()))?;
    Ok(storm.counts())
}
