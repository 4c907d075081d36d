//! The calls in progress, by sid: the one thing that the host's callers and the plugin's threads share.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use nylon_ring_abi::{NrBytes, NrStatus};
use tokio::sync::{mpsc, oneshot};

use crate::gate::Gate;
use crate::plugin::Plugin;
use crate::state::State;
use crate::stream::StreamFrame;
use crate::{HostStats, fast};

/// A power of two: calls of different sids rarely meet.
const SHARDS: usize = 64;

/// A status and its bytes, copied.
pub(crate) type Reply = (NrStatus, Vec<u8>);

/// Who waits for what a call's plugin sends.
pub(crate) enum Waiting {
    /// A caller, for one reply of any status.
    Unary(oneshot::Sender<Reply>),
    /// A receiver, for frames: the first that is not `Ok` is the last.
    Stream(mpsc::UnboundedSender<StreamFrame>),
    /// Nobody any more, and the plugin was told: the stream's state lives until its last frame.
    Dropped,
}

struct Call {
    waiting: Waiting,
    state: State,
}

pub(crate) struct HostContext {
    calls: DashMap<u64, Call, BuildHasherDefault<SidHasher>>,
    next_sid: AtomicU64,
    /// The way into the plugin for those who may outlive the host.
    pub gate: Gate<Plugin>,
}

impl HostContext {
    pub fn new(plugin: Plugin) -> Self {
        Self {
            calls: DashMap::with_hasher_and_shard_amount(BuildHasherDefault::default(), SHARDS),
            next_sid: AtomicU64::new(1),
            gate: Gate::new(plugin),
        }
    }

    pub fn next_sid(&self) -> u64 {
        self.next_sid.fetch_add(1, Ordering::Relaxed)
    }

    /// Before `handle`: the reply may come at once.
    pub fn register(&self, sid: u64, waiting: Waiting) {
        let state = State::default();
        self.calls.insert(sid, Call { waiting, state });
    }

    /// The call is refused, or nobody waits for it: what comes for it now is ignored.
    pub fn forget(&self, sid: u64) {
        self.calls.remove(&sid);
    }

    /// A stream's receiver is gone. False when the stream has ended.
    pub fn drop_receiver(&self, sid: u64) -> bool {
        let Some(mut call) = self.calls.get_mut(&sid) else {
            return false;
        };
        let sender = std::mem::replace(&mut call.waiting, Waiting::Dropped);
        drop(call); // the sender's end may wake somebody: not under the map's lock
        drop(sender);
        true
    }

    /// After `shutdown`: nothing more will come, so whoever still waits is told.
    pub fn forget_all(&self) {
        let left: Vec<u64> = self.calls.iter().map(|call| *call.key()).collect();
        for sid in left {
            self.calls.remove(&sid);
        }
    }

    /// Brings a reply to who waits for it. What is for nobody (a late reply, a frame after the end, a sid that never
    /// was) is ignored.
    ///
    /// A terminal reply takes the call out of the map, and its state with it, before anyone can see the reply. A frame
    /// is sent while its shard of the map is locked, so that the order of the frames is the order of the sends, and
    /// none comes after the last. What runs under that lock is a waker, and wakers only schedule.
    pub fn deliver(&self, sid: u64, status: NrStatus, data: Vec<u8>) {
        let mut data = Some(data);
        let ended = self.calls.remove_if_mut(&sid, |_, call| match &call.waiting {
            Waiting::Unary(_) => true,
            _ if status.ends_stream() => true,
            Waiting::Stream(frames) => {
                let data = data.take().unwrap_or_default();
                // It fails when the receiver is being dropped this moment: then nobody waits for the frame.
                let _ = frames.send(StreamFrame { status, data });
                false
            }
            Waiting::Dropped => false,
        });
        let (Some((_, call)), Some(data)) = (ended, data) else {
            return;
        };
        drop(call.state);
        // Both fail only when the one who waited is gone.
        match call.waiting {
            Waiting::Unary(caller) => drop(caller.send((status, data))),
            Waiting::Stream(frames) => drop(frames.send(StreamFrame { status, data })),
            Waiting::Dropped => {}
        }
    }

    /// Whether this is a stream that has not ended, and somebody receives.
    pub fn is_open_stream(&self, sid: u64) -> bool {
        self.calls
            .get(&sid)
            .is_some_and(|call| matches!(call.waiting, Waiting::Stream(_)))
    }

    /// Runs `use_it` on a call's state; `None` when no such call is in progress.
    pub fn with_state<R>(&self, sid: u64, use_it: impl FnOnce(&mut State) -> R) -> Option<R> {
        let mut use_it = Some(use_it);
        let at_fast_call = fast::with_state(self, sid, |state| use_it.take().map(|use_it| use_it(state)));
        match (at_fast_call, use_it) {
            (Some(answer), _) => answer,
            (None, Some(use_it)) => self.calls.get_mut(&sid).map(|mut call| use_it(&mut call.state)),
            (None, None) => None,
        }
    }

    pub fn stats(&self) -> HostStats {
        let mut stats = HostStats::default();
        for call in &self.calls {
            match call.waiting {
                Waiting::Unary(_) => stats.calls += 1,
                Waiting::Stream(_) => stats.streams += 1,
                Waiting::Dropped => stats.dropped_streams += 1,
            }
            stats.state_values += call.state.len();
        }
        stats
    }
}

/// The bytes of a reply as the plugin gave them; a view that cannot be read ends the call with `Err`.
///
/// # Safety
/// `payload` is borrowed for the length of this call.
pub(crate) unsafe fn copy_reply(status: NrStatus, payload: NrBytes) -> Reply {
    // SAFETY: the caller's promise.
    match unsafe { payload.as_slice() } {
        Some(bytes) => (status, bytes.to_vec()),
        None => (NrStatus::Err, b"the plugin sent a payload that cannot be read".to_vec()),
    }
}

/// Sids are counted, not chosen by an enemy: one multiplication spreads them over shards and buckets.
#[derive(Default)]
pub(crate) struct SidHasher(u64);

impl Hasher for SidHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = RandomState::new().hash_one(bytes);
    }

    fn write_u64(&mut self, sid: u64) {
        self.0 = sid.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }
}
