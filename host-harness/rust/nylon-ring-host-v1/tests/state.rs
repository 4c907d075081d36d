//! State by sid: made at the first set, gone with the terminal reply.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::ptr;

use nylon_ring_host_v1::{NrStatus, NylonRingHost};
use support::{assert_idle, c_plugin, faulty_plugin, frame, frames, load, request, soon};

#[tokio::test]
async fn set_and_get_inside_a_call_of_each_kind() {
    let host = load(&c_plugin());
    let value = (NrStatus::Ok, b"v\0alue".to_vec());
    assert_eq!(host.call("state", request(b"v\0alue")).await.unwrap(), value);
    assert_eq!(host.call_raw("state", b"v\0alue").await.unwrap(), value);
    assert_eq!(host.call_raw_unary_fast("state", b"v\0alue").await.unwrap(), value);
    assert_eq!(host.call("state", request(b"")).await.unwrap(), (NrStatus::Ok, vec![]));
    assert_idle(&host);
}

#[tokio::test]
async fn a_value_set_after_the_reply_is_refused() {
    let host = load(&c_plugin());
    // The plugin ends the process when the host takes it.
    assert_eq!(host.call("state_after_end", request(b"")).await.unwrap().1, b"answered");
    assert_eq!(
        host.call_raw_unary_fast("state_after_end", b"").await.unwrap().1,
        b"answered"
    );
    assert_idle(&host);
}

#[tokio::test]
async fn a_unary_call_takes_its_state_with_it() {
    let host = load(&faulty_plugin(&[]));
    let call = host.call("keep", request(b""));
    tokio::pin!(call);
    assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx).is_pending())).await);
    assert_eq!(host.stats().state_values, 1);
    host.call("release", request(b"")).await.unwrap();
    assert_eq!(host.stats().state_values, 0);
    assert_eq!(soon(call).await.unwrap(), (NrStatus::StreamEnd, b"released".to_vec()));
}

#[tokio::test]
async fn a_stream_keeps_its_state_from_frame_to_frame() {
    let host = load(&faulty_plugin(&[]));
    let (one, mut first) = host.call_stream("counter", request(b"")).await.unwrap();
    let (two, mut second) = host.call_stream("counter", request(b"")).await.unwrap();
    for n in 1..=3_u32 {
        assert_eq!(host.send_stream_data(one, b"").unwrap(), NrStatus::Ok);
        assert_eq!(soon(first.recv()).await, Some(frame(NrStatus::Ok, &n.to_ne_bytes())));
    }
    assert_eq!(host.send_stream_data(two, b"").unwrap(), NrStatus::Ok);
    assert_eq!(
        soon(second.recv()).await,
        Some(frame(NrStatus::Ok, &1_u32.to_ne_bytes()))
    );
    assert_eq!(host.stats().state_values, 2);
    assert_eq!(host.close_stream(one).unwrap(), NrStatus::Ok);
    assert_eq!(
        frames(&mut first).await,
        [frame(NrStatus::StreamEnd, &3_u32.to_ne_bytes())]
    );
    assert_eq!(host.stats().state_values, 1);
    drop(second); // closes it; the plugin reads its state once more, and ends it
    assert_idle(&host);
}

#[test]
fn a_context_of_nobody_has_no_state() {
    let mut foreign = 0_u64;
    assert!(NylonRingHost::get_host_ext((&raw mut foreign).cast()).is_null());
    assert!(NylonRingHost::get_host_ext(ptr::null_mut()).is_null());
}
