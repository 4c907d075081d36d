//! A fast call waits for its reply on this thread's stack, and nowhere else: no map, no channel, no wake-up.

use std::cell::{Cell, RefCell};
use std::ptr;

use nylon_ring_abi::NrStatus;

use crate::context::{HostContext, Reply};
use crate::state::State;

/// A fast call in progress on this thread.
struct Slot {
    host: *const HostContext,
    sid: u64,
    reply: RefCell<Option<Reply>>,
    state: RefCell<State>,
    /// The fast call that this one is inside of, or null.
    outer: *const Slot,
}

thread_local! {
    /// The innermost slot: it lies in a frame below on this thread's stack.
    static TOP: Cell<*const Slot> = const { Cell::new(ptr::null()) };
}

/// Takes the slot away however its call ends.
struct Pop(*const Slot);

impl Drop for Pop {
    fn drop(&mut self) {
        TOP.set(self.0);
    }
}

/// Runs `enter` (which calls the plugin's `handle`) with a slot for this sid. Gives what `enter` gave, and the reply
/// that came meanwhile.
pub(crate) fn call<E>(
    host: &HostContext,
    sid: u64,
    enter: impl FnOnce() -> Result<NrStatus, E>,
) -> Result<(NrStatus, Option<Reply>), E> {
    let slot = Slot {
        host,
        sid,
        reply: RefCell::default(),
        state: RefCell::default(),
        outer: TOP.get(),
    };
    let pop = Pop(slot.outer);
    TOP.set(&raw const slot);
    let returned = enter();
    drop(pop);
    Ok((returned?, slot.reply.into_inner()))
}

/// The open slot of exactly this call on this thread.
fn with_slot<R>(host: &HostContext, sid: u64, use_it: impl FnOnce(&Slot) -> R) -> Option<R> {
    let mut next = TOP.get();
    // SAFETY: TOP and each `outer` are null or point to a slot of a `call` that is below on this thread's stack.
    while let Some(slot) = unsafe { next.as_ref() } {
        if slot.sid == sid && ptr::eq(slot.host, host) {
            let open = slot.reply.try_borrow().is_ok_and(|reply| reply.is_none());
            return open.then(|| use_it(slot));
        }
        next = slot.outer;
    }
    None
}

/// Whether the reply was for a fast call of this thread; if not, `make_reply` has not run.
pub(crate) fn deliver(host: &HostContext, sid: u64, make_reply: impl FnOnce() -> Reply) -> bool {
    with_slot(host, sid, |slot| slot.reply.replace(Some(make_reply()))).is_some()
}

/// The state of a fast call of this thread.
pub(crate) fn with_state<R>(host: &HostContext, sid: u64, use_it: impl FnOnce(&mut State) -> R) -> Option<R> {
    with_slot(host, sid, |slot| {
        slot.state.try_borrow_mut().ok().map(|mut state| use_it(&mut state))
    })
    .flatten()
}
