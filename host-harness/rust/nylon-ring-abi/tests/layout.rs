//! Every size and offset, against those that the C header pins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[macro_use]
mod pins;

use std::collections::BTreeMap;
use std::ffi::c_void;
use std::mem::{align_of, offset_of, size_of};

use nylon_ring_abi::*;

/// "NrStr" to its size, and "NrStr.len" to its offset, as Rust lays them out.
fn ours() -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    out.insert("void *".to_owned(), size_of::<*mut c_void>());
    out.insert("NrStatus".to_owned(), size_of::<NrStatus>());
    layout!(out, NrStr { ptr, len, reserved });
    layout!(out, NrBytes { ptr, len });
    layout!(out, NrHeader { key, value });
    layout!(
        out,
        NrRequest {
            path,
            method,
            query,
            headers,
            headers_len,
            reserved0,
            reserved1
        }
    );
    layout!(out, NrHostVTable { send_result });
    layout!(out, NrHostExt { set_state, get_state });
    layout!(
        out,
        NrPluginVTable {
            init,
            handle,
            shutdown,
            stream_data,
            stream_close
        }
    );
    layout!(
        out,
        NrPluginVTableRaw {
            init,
            handle,
            handle_raw,
            shutdown,
            stream_data,
            stream_close
        }
    );
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
    out
}

/// The same, from the header.
fn pinned() -> BTreeMap<String, usize> {
    pins::read(include_str!("../../../../shim/abi/nylon_ring_v1.h"))
}

#[test]
fn every_size_and_offset_is_the_headers() {
    assert_eq!(ours(), pinned());
}

#[test]
fn the_header_pins_what_the_abi_says() {
    let pinned = pinned();
    let sizes = [
        ("NrStr", 16),
        ("NrBytes", 16),
        ("NrHeader", 32),
        ("NrRequest", 72),
        ("NrPluginInfo", 56),
    ];
    for (name, size) in sizes {
        assert_eq!(pinned.get(name), Some(&size), "{name}");
    }
}

#[test]
fn alignments() {
    assert_eq!(align_of::<NrStatus>(), 4);
    assert_eq!(align_of::<NrStr>(), 8);
    assert_eq!(align_of::<NrRequest>(), 8);
    assert_eq!(align_of::<NrPluginInfo>(), 8);
}

#[test]
fn a_status_may_be_any_number() {
    assert_eq!(
        [0, 1, 2, 3, 4].map(|n| NrStatus(n).name().unwrap()),
        ["Ok", "Err", "Invalid", "Unsupported", "StreamEnd"]
    );
    assert_eq!(NrStatus(6).name(), None);
    assert_eq!(NrStatus(6).to_string(), "status 6");
    assert!(matches!(NrStatus(4), NrStatus::StreamEnd));
}

#[test]
fn views_give_back_what_they_were_given() {
    let headers = [NrHeader::new("k", "ä").unwrap()];
    let request = NrRequest::build("GET", "/p", "", &headers).unwrap();
    // SAFETY: all that is viewed lives in this function.
    unsafe {
        assert_eq!(request.method.as_str(), Some("GET"));
        assert_eq!(request.path.as_str(), Some("/p"));
        assert_eq!(request.query.as_str(), Some(""));
        assert_eq!(headers[0].value.as_bytes(), Some("ä".as_bytes()));
        assert_eq!(NrBytes::from_slice(b"\0\xff").as_slice(), Some(b"\0\xff".as_slice()));
    }
}

#[test]
fn what_cannot_be_a_slice_is_none() {
    let null = |len| NrBytes {
        ptr: std::ptr::null(),
        len,
    };
    let high = |len| NrBytes {
        ptr: (usize::MAX - 3) as *const u8,
        len,
    };
    // SAFETY: none of these is read.
    unsafe {
        assert_eq!(null(0).as_slice(), Some([].as_slice()));
        assert_eq!(high(0).as_slice(), Some([].as_slice()));
        assert_eq!(null(1).as_slice(), None);
        assert_eq!(high(4).as_slice(), None);
        assert_eq!(
            NrBytes {
                ptr: std::ptr::dangling(),
                len: u64::MAX / 2 + 1
            }
            .as_slice(),
            None
        );
        assert_eq!(
            NrStr {
                ptr: b"\xff".as_ptr(),
                len: 1,
                reserved: 0
            }
            .as_str(),
            None
        );
    }
}
