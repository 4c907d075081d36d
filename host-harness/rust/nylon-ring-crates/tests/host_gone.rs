//! A host is dropped while streams and handles of it live on.
//!
//! The plugin is not shut down then, and its frames still arrive. But the host has freed the table of functions it
//! gave to `init`, so a plugin has to work with a copy of it. One that keeps the pointer crashes here.

mod support;

use nylon_ring_host::{NrStatus, NylonRingHost};
use support::{conformance_plugin, counted, frames, let_go, load, load_into, soon};

/// Allocations of the table's size, written over: whoever reads freed memory finds this.
fn scribble() -> Vec<Vec<usize>> {
    (0..1000).map(|_| vec![1; 4]).collect()
}

#[tokio::test]
async fn streams_go_on() {
    let (host, plugin) = load_into(NylonRingHost::with_stream_capacity(2), &conformance_plugin());
    let (sid, mut chat) = plugin.call_stream("chat", b"you").await.unwrap();
    let (_, mut count) = plugin.call_stream("count", b"500").await.unwrap();
    drop(host);
    let scribbled = scribble();
    assert_eq!(frames(&mut count).await, counted(500));
    assert_eq!(plugin.send_stream_data(sid, b"x").unwrap(), NrStatus::Ok);
    assert_eq!(soon(chat.recv()).await.unwrap().data, b"hello you");
    assert_eq!(soon(chat.recv()).await.unwrap().data, b"X");
    assert_eq!(plugin.close_stream(sid).unwrap(), NrStatus::Ok);
    assert_eq!(frames(&mut chat).await, [(NrStatus::StreamEnd, Vec::new())]);
    drop(scribbled);
}

#[tokio::test]
async fn a_call_in_progress_is_answered() {
    let (host, plugin) = load(&conformance_plugin());
    let (first_host, first) = (host, plugin.clone());
    let call = tokio::spawn(async move { soon(first.call_response("held", b"x")).await });
    support::until(1, async || first_host.metrics().pending_requests).await;
    // Only a call can let it go, so that one is made before; the held reply comes at any time after it.
    let_go(&plugin, 1).await;
    drop(first_host);
    let scribbled = scribble();
    assert_eq!(call.await.unwrap().unwrap(), (NrStatus::Ok, b"x".to_vec()));
    drop(scribbled);
}
