//! The types of the released crate `nylon-ring`, against our headers: what we call ABI v2 is what it speaks.

#![allow(clippy::unwrap_used, clippy::panic)]

#[macro_use]
mod pins;

use std::collections::BTreeMap;
use std::mem::{offset_of, size_of};

use nylon_ring::{
    NrBufferLease, NrBytes, NrHostVTable, NrKV, NrOwnedBytes, NrPluginInfo, NrPluginVTable, NrStatus, NrStr, NrVec,
};

const V1: &str = include_str!("../../../../shim/abi/nylon_ring_v1.h");
const V2: &str = include_str!("../../../../shim/abi/nylon_ring_v2.h");

/// The fields of NrVec are private: each is told by its value, in the bytes of one.
fn vec_layout(out: &mut BTreeMap<String, usize>) {
    let mut data: Vec<u8> = Vec::with_capacity(0x7777);
    data.resize(0x3333, 0);
    let (address, len, cap) = (data.as_ptr().addr(), data.len(), data.capacity());
    let vec = NrVec::from_vec(data);
    assert_eq!(size_of_val(&vec), 40);
    // SAFETY: a repr(C) struct of five words, without padding: `owned` and `reserved` fill the fourth.
    let words: [usize; 5] = unsafe { std::mem::transmute_copy(&vec) };
    let place_of = |value: usize| words.iter().position(|word| *word == value).unwrap() * size_of::<usize>();
    out.insert("NrVecU8".to_owned(), size_of::<NrVec<u8>>());
    for (field, offset) in [
        ("ptr", place_of(address)),
        ("len", place_of(len)),
        ("cap", place_of(cap)),
    ] {
        out.insert(format!("NrVecU8.{field}"), offset);
    }
    let owned = place_of(1); // little-endian: the flag is the word's first byte, and the seven reserved ones are 0
    out.insert("NrVecU8.owned".to_owned(), owned);
    out.insert("NrVecU8.reserved".to_owned(), owned + 1);
    // The one word that is left is a function's address.
    let named = [place_of(address), place_of(len), place_of(cap), owned];
    let left = (0..5)
        .map(|at| at * size_of::<usize>())
        .find(|at| !named.contains(at))
        .unwrap();
    out.insert("NrVecU8.drop_fn".to_owned(), left);
}

fn released() -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    out.insert("size_t".to_owned(), size_of::<usize>());
    vec_layout(&mut out);
    layout!(
        out,
        NrOwnedBytes {
            ptr,
            len,
            owner_ctx,
            release
        }
    );
    layout!(out, NrBufferLease { ptr, cap, token });
    layout!(
        out,
        NrHostVTableV2 as NrHostVTable {
            send_result,
            send_result_owned,
            acquire_result_buffer,
            commit_result_buffer
        }
    );
    layout!(
        out,
        NrPluginVTableV2 as NrPluginVTable {
            init,
            handle,
            shutdown,
            stream_data,
            stream_close,
            resolve_entry,
            handle_by_id
        }
    );
    out
}

#[test]
fn every_size_and_offset_is_the_released_crates() {
    assert_eq!(pins::read(V2), released());
}

/// What both ABIs have.
#[test]
fn the_common_types_are_the_released_crates() {
    let mut out = BTreeMap::new();
    out.insert("NrStatus".to_owned(), size_of::<NrStatus>());
    layout!(out, NrStr { ptr, len });
    out.insert("NrStr.reserved".to_owned(), offset_of!(NrStr, _reserved));
    layout!(out, NrBytes { ptr, len });
    layout!(out, NrHeader as NrKV { key, value });
    layout!(
        out,
        NrPluginInfo {
            abi_version,
            struct_size,
            name,
            version,
            plugin_ctx,
            vtable
        }
    );
    let common = |name: &str| ["NrStatus", "NrStr", "NrBytes", "NrHeader", "NrPluginInfo"].contains(&name);
    let mut pinned = pins::read(V1);
    pinned.retain(|name, _| common(name.split('.').next().unwrap()));
    assert_eq!(pinned, out);
}

#[test]
fn numbers_are_the_released_crates() {
    let statuses = [
        ("NR_PANIC", NrStatus::Panic),
        ("NR_BACKPRESSURE", NrStatus::Backpressure),
    ];
    for (name, status) in statuses {
        assert!(V2.contains(&format!("    {name} = {},", status.as_raw())), "{name}");
    }
    assert!(V2.contains(&format!("#define NR_ABI_V2 {}u\n", nylon_ring::ABI_VERSION)));
    assert_eq!(nylon_ring::NR_ENTRY_UNKNOWN, u32::MAX);
    let ours = [0, 1, 2, 3, 4].map(|status| format!("{:?}", nylon_ring_abi::NrStatus(status)));
    assert_eq!(
        [0, 1, 2, 3, 4].map(|status| format!("{:?}", NrStatus::from_raw(status))),
        ours
    );
}
