//! An instance's life: before `init`, running, on its way out, over.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use nylon_ring_abi::NrStatus;
use nylon_ring_abi::plugin::Request;

use crate::calls::Calls;
use crate::outlet::Outlet;

#[derive(Default)]
enum Phase {
    #[default]
    New,
    Running(Arc<Calls>),
    Closing,
    Closed,
}

#[derive(Default)]
struct Life {
    phase: Phase,
    /// Threads of the host's that are inside, for `shutdown` to wait for.
    inside: usize,
}

/// One load of the plugin.
#[derive(Default)]
pub struct Instance {
    life: Mutex<Life>,
    left: Condvar,
}

/// A thread of the host's that is inside.
struct Visit<'a> {
    instance: &'a Instance,
    calls: Arc<Calls>,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.instance.life().inside -= 1;
        self.instance.left.notify_all();
    }
}

impl Instance {
    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> Result<Visit<'_>, NrStatus> {
        let mut life = self.life();
        let calls = match &life.phase {
            Phase::Running(calls) => Arc::clone(calls),
            Phase::Closing => return Err(NrStatus::Err),
            Phase::New | Phase::Closed => return Err(NrStatus::Invalid),
        };
        life.inside += 1;
        Ok(Visit { instance: self, calls })
    }

    /// Once, first.
    pub fn init(&self, outlet: impl Outlet) -> NrStatus {
        let mut life = self.life();
        if !matches!(life.phase, Phase::New) {
            return NrStatus::Invalid;
        }
        match Calls::start(outlet) {
            Ok(calls) => {
                life.phase = Phase::Running(calls);
                NrStatus::Ok
            }
            Err(error) => {
                eprintln!("conformance: no thread could be started: {error}");
                NrStatus::Err
            }
        }
    }

    /// Takes a call.
    pub fn handle(&self, entry: &str, sid: u64, request: Option<Request<'_>>, payload: &[u8]) -> NrStatus {
        self.enter().map_or_else(
            |status| status,
            |visit| visit.calls.handle(entry, sid, request, payload),
        )
    }

    /// The host's frame.
    pub fn stream_data(&self, sid: u64, data: &[u8]) -> NrStatus {
        self.enter()
            .map_or_else(|status| status, |visit| visit.calls.stream_data(sid, data))
    }

    /// The host's end.
    pub fn stream_close(&self, sid: u64) -> NrStatus {
        self.enter()
            .map_or_else(|status| status, |visit| visit.calls.streams.close(sid))
    }

    /// Answers what is left with `Err`, and ends all threads. Twice, or before `init`: nothing.
    pub fn shutdown(&self) {
        let mut life = self.life();
        let Phase::Running(calls) = &life.phase else {
            return;
        };
        let calls = Arc::clone(calls);
        life.phase = Phase::Closing;
        while life.inside > 0 {
            life = self.left.wait(life).unwrap_or_else(PoisonError::into_inner);
        }
        drop(life);
        calls.close();
        self.life().phase = Phase::Closed;
    }
}
