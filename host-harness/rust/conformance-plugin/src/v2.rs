//! The door of ABI v2, with the types of the released crate `nylon-ring`.
//!
//! Its functions are given no plugin_ctx, and the crate's macros make one set of them, so one instance. A reload needs
//! two of one image (the new `init` comes before the old `shutdown`): here are as many sets as there are [`SLOTS`].

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use nylon_ring::{
    ABI_VERSION, NR_ENTRY_UNKNOWN, NrBytes, NrHostVTable, NrOwnedBytes, NrPluginInfo, NrPluginVTable, NrStatus, NrStr,
    NrVec,
};
use nylon_ring_abi::NrStatus as Status;

use crate::entries::{id_of, name_of};
use crate::instance::Instance;
use crate::outlet::{Outlet, Sent};
use crate::state::HostState;

/// How many instances may live at once.
const SLOTS: usize = 8;

/// Bytes from which on a reply is handed over instead of copied.
const OWNED_FROM: usize = 4096;

struct Slot {
    taken: AtomicBool,
    instance: RwLock<Option<Arc<Instance>>>,
}

static TABLE: [Slot; SLOTS] = [const {
    Slot {
        taken: AtomicBool::new(false),
        instance: RwLock::new(None),
    }
}; SLOTS];

impl Slot {
    fn put(&self, instance: Option<Arc<Instance>>) {
        let mut place = self.instance.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *place, instance);
        drop(place);
        drop(old);
    }

    fn instance(&self) -> Option<Arc<Instance>> {
        self.instance.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn free(&self) {
        self.put(None);
        self.taken.store(false, Ordering::SeqCst);
    }
}

struct HostV2 {
    ctx: *mut c_void,
    /// A copy: the released host frees its table while streams go on.
    vtable: NrHostVTable,
}

// SAFETY: the ABI lets a plugin use both from any of its threads.
unsafe impl Send for HostV2 {}
// SAFETY: as above.
unsafe impl Sync for HostV2 {}

impl Outlet for HostV2 {
    fn send(&self, sid: u64, status: Status, payload: &[u8]) -> Sent {
        let status = NrStatus::from_raw(status.0);
        let payload = payload.to_vec();
        // SAFETY: the context is valid until `shutdown` returns; the instance's threads end before.
        let taken = unsafe {
            if payload.len() < OWNED_FROM {
                (self.vtable.send_result)(self.ctx, sid, status, NrVec::from_vec(payload))
            } else {
                (self.vtable.send_result_owned)(self.ctx, sid, status, NrOwnedBytes::from_vec(payload))
            }
        };
        match taken {
            NrStatus::Backpressure => Sent::Full,
            NrStatus::Invalid => Sent::Gone,
            _ => Sent::Done,
        }
    }

    fn state(&self) -> Option<HostState> {
        None // ABI v2 has none
    }

    fn inbox_full(&self) -> Status {
        Status(NrStatus::Backpressure.as_raw())
    }
}

/// A panic is `Err`, and a slot without an instance `Invalid`.
fn call(slot: &Slot, enter: impl FnOnce(&Instance) -> Option<Status>) -> NrStatus {
    let called = catch_unwind(AssertUnwindSafe(|| enter(&*slot.instance()?)));
    match called {
        Ok(Some(status)) => NrStatus::from_raw(status.0),
        Ok(None) => NrStatus::Invalid,
        Err(_) => NrStatus::Err,
    }
}

/// The set of functions of one slot.
struct Functions<const N: usize>;

impl<const N: usize> Functions<N> {
    const VTABLE: &'static NrPluginVTable = &NrPluginVTable {
        init: Some(Self::init),
        handle: Some(Self::handle),
        shutdown: Some(Self::shutdown),
        stream_data: Some(Self::stream_data),
        stream_close: Some(Self::stream_close),
        resolve_entry: Some(resolve_entry),
        handle_by_id: Some(Self::handle_by_id),
    };

    #[allow(clippy::indexing_slicing)] // evaluated by the compiler: an N beyond the table is an error there
    const fn slot() -> &'static Slot {
        const { &TABLE[N] }
    }

    unsafe extern "C" fn init(ctx: *mut c_void, vtable: *const NrHostVTable) -> NrStatus {
        let slot = Self::slot();
        let status = call(slot, |instance| {
            // SAFETY: null, or a table that is valid while `init` runs.
            let vtable = *unsafe { vtable.as_ref() }?;
            Some(instance.init(HostV2 { ctx, vtable }))
        });
        if status != NrStatus::Ok {
            slot.free(); // no shutdown comes after a failed init
        }
        status
    }

    unsafe extern "C" fn handle(entry: NrStr, sid: u64, payload: NrBytes) -> NrStatus {
        call(Self::slot(), |instance| {
            // SAFETY: what the host passed is borrowed until this function returns.
            let (entry, payload) = unsafe { (entry.as_str().ok()?, payload.as_slice().ok()?) };
            Some(instance.handle(entry, sid, None, payload))
        })
    }

    unsafe extern "C" fn handle_by_id(id: u32, sid: u64, payload: NrBytes) -> NrStatus {
        call(Self::slot(), |instance| {
            // SAFETY: as in `handle`.
            let payload = unsafe { payload.as_slice().ok()? };
            Some(instance.handle(name_of(id)?, sid, None, payload))
        })
    }

    unsafe extern "C" fn stream_data(sid: u64, data: NrBytes) -> NrStatus {
        call(Self::slot(), |instance| {
            // SAFETY: as in `handle`.
            let data = unsafe { data.as_slice().ok()? };
            Some(instance.stream_data(sid, data))
        })
    }

    unsafe extern "C" fn stream_close(sid: u64) -> NrStatus {
        call(Self::slot(), |instance| Some(instance.stream_close(sid)))
    }

    unsafe extern "C" fn shutdown() {
        let slot = Self::slot();
        call(slot, |instance| {
            instance.shutdown();
            Some(Status::Ok)
        });
        slot.free();
    }
}

unsafe extern "C" fn resolve_entry(entry: NrStr) -> u32 {
    // SAFETY: borrowed until this function returns.
    let id = catch_unwind(|| unsafe { entry.as_str() }.ok().and_then(id_of));
    id.ok().flatten().unwrap_or(NR_ENTRY_UNKNOWN)
}

/// For a load beyond the last slot.
const NONE_FREE: &NrPluginVTable = &NrPluginVTable {
    init: Some(refuse),
    handle: Functions::<0>::VTABLE.handle,
    shutdown: None,
    stream_data: None,
    stream_close: None,
    resolve_entry: None,
    handle_by_id: None,
};

unsafe extern "C" fn refuse(_: *mut c_void, _: *const NrHostVTable) -> NrStatus {
    eprintln!("conformance: {SLOTS} instances are alive, and there is no room for one more");
    NrStatus::Err
}

const fn info(vtable: &'static NrPluginVTable) -> NrPluginInfo {
    NrPluginInfo {
        abi_version: ABI_VERSION,
        struct_size: size_of::<NrPluginInfo>() as u32,
        name: NrStr::from_static("conformance"),
        version: NrStr::from_static("1.0.0"),
        plugin_ctx: std::ptr::null_mut(),
        vtable,
    }
}

static INFOS: [NrPluginInfo; SLOTS] = [
    info(Functions::<0>::VTABLE),
    info(Functions::<1>::VTABLE),
    info(Functions::<2>::VTABLE),
    info(Functions::<3>::VTABLE),
    info(Functions::<4>::VTABLE),
    info(Functions::<5>::VTABLE),
    info(Functions::<6>::VTABLE),
    info(Functions::<7>::VTABLE),
];

static NONE_FREE_INFO: NrPluginInfo = info(NONE_FREE);

/// A new instance, in a slot that is free.
pub fn get_plugin() -> *const NrPluginInfo {
    for (slot, info) in TABLE.iter().zip(&INFOS) {
        if !slot.taken.swap(true, Ordering::SeqCst) {
            slot.put(Some(Arc::new(Instance::default())));
            return info;
        }
    }
    &raw const NONE_FREE_INFO
}

/// Exports `nylon_ring_get_plugin`, once in a library.
#[macro_export]
macro_rules! export_v2 {
    () => {
        /// Gives a new instance.
        #[unsafe(no_mangle)]
        pub extern "C" fn nylon_ring_get_plugin() -> *const nylon_ring::NrPluginInfo {
            $crate::v2::get_plugin()
        }
    };
}
