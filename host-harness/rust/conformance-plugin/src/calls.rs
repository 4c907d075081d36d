//! The calls in progress: those answered inside `handle`, those that a worker answers, and those held back.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nylon_ring_abi::NrStatus;
use nylon_ring_abi::plugin::Request;

use crate::entries::{self, Entry, Reply, failure};
use crate::outlet::{Outlet, Sent};
use crate::state::State;
use crate::streams::Streams;
use crate::workers::{Job, Workers};

/// The host, and the state that lives as long as its calls.
pub struct Link {
    pub outlet: Box<dyn Outlet>,
    pub state: State,
}

impl Link {
    /// The one reply of a unary call.
    pub fn answer(&self, sid: u64, (status, body): Reply) {
        self.state.clear(sid);
        if self.outlet.send(sid, status, &body) == Sent::Full {
            // No host has a buffer that one reply fills.
            eprintln!("conformance: the host answered Backpressure to the reply of sid {sid}: it is lost");
        }
    }
}

pub struct Calls {
    link: Arc<Link>,
    pub workers: Workers,
    pub streams: Arc<Streams>,
    held: Mutex<Vec<(u64, Vec<u8>)>>,
}

impl Calls {
    pub fn start(outlet: impl Outlet) -> io::Result<Arc<Self>> {
        let state = State::of(outlet.state());
        let outlet = Box::new(outlet);
        let link = Arc::new(Link { outlet, state });
        let calls = Arc::new(Self {
            workers: Workers::default(),
            streams: Arc::new(Streams::new(Arc::clone(&link))),
            link,
            held: Mutex::default(),
        });
        match calls.workers.start(&calls) {
            Ok(()) => Ok(calls),
            Err(error) => {
                calls.close();
                Err(error)
            }
        }
    }

    /// Takes a call: from here on every failure is a reply.
    pub fn handle(&self, name: &str, sid: u64, request: Option<Request<'_>>, body: &[u8]) -> NrStatus {
        let Some(entry) = Entry::find(name) else {
            return NrStatus::Invalid;
        };
        let reply = match entry {
            Entry::Count | Entry::CountFail | Entry::Endless | Entry::Spread | Entry::Chat | Entry::Relay => {
                return self.streams.open(sid, entry, body.to_vec());
            }
            Entry::Echo | Entry::Fail | Entry::State | Entry::StatePeek => {
                let body = body.to_vec();
                self.workers.push(Job { entry, sid, body });
                return NrStatus::Ok;
            }
            Entry::Held => {
                self.held().push((sid, body.to_vec()));
                return NrStatus::Ok;
            }
            Entry::EchoSync => (NrStatus::Ok, body.to_vec()),
            Entry::FailSync => entries::fail(body),
            Entry::Status => entries::status(body),
            Entry::Describe => entries::describe(request),
            Entry::Ended => (NrStatus::Ok, self.streams.ended().to_string().into_bytes()),
            Entry::LetGo => self.let_go(),
        };
        self.link.answer(sid, reply);
        NrStatus::Ok
    }

    fn held(&self) -> MutexGuard<'_, Vec<(u64, Vec<u8>)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Other calls' replies are the workers' to send: this thread is the host's, and inside one call.
    fn let_go(&self) -> Reply {
        let held = std::mem::take(&mut *self.held());
        let count = held.len();
        for (sid, body) in held {
            let entry = Entry::Echo;
            self.workers.push(Job { entry, sid, body });
        }
        (NrStatus::Ok, count.to_string().into_bytes())
    }

    /// A worker's part of a call.
    pub fn run(&self, Job { entry, sid, body }: Job) {
        let reply = match entry {
            Entry::Fail => entries::fail(&body),
            Entry::State => match self.link.state.set(sid, "k", &body) {
                Ok(()) => (NrStatus::Ok, self.link.state.get(sid, "k")),
                Err(reason) => failure(&reason),
            },
            Entry::StatePeek => (NrStatus::Ok, self.link.state.get(sid, "k")),
            _ => (NrStatus::Ok, body),
        };
        self.link.answer(sid, reply);
    }

    pub fn stream_data(&self, sid: u64, data: &[u8]) -> NrStatus {
        self.streams.data(sid, data)
    }

    /// Answers what is left, and ends all threads. Nobody of the host's is inside, or comes in.
    pub fn close(&self) {
        let held = std::mem::take(&mut *self.held());
        let queued = self.workers.close();
        let queued = queued.into_iter().map(|job| job.sid);
        for sid in held.into_iter().map(|(sid, _)| sid).chain(queued) {
            self.link.answer(sid, failure("the plugin is shutting down"));
        }
        self.streams.close_all();
    }
}
