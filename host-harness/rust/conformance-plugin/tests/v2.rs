//! In the released host of ABI v2.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;

use nylon_ring_host::{NrStatus, NylonRingHost, NylonRingHostError as Error, PluginHandle};
use support::{plugin, soon};

/// Small, so that a host's buffer is full at once.
const CAPACITY: usize = 4;

fn load(name: &str) -> NylonRingHost {
    let mut host = NylonRingHost::with_stream_capacity(CAPACITY);
    host.load("main", plugin(name).to_str().unwrap()).unwrap();
    host
}

async fn echo(handle: &PluginHandle, body: &[u8]) {
    let reply = soon(handle.call_response("echo", body)).await.unwrap();
    assert_eq!(reply, (NrStatus::Ok, body.to_vec()));
}

#[tokio::test]
async fn unary_by_name_by_number_and_fast() {
    for file in ["conformance", "conformance_raw"] {
        let host = load(file);
        let main = host.plugin("main").unwrap();
        for body in [b"".as_slice(), b"\0\xff", &[7; 70_000]] {
            echo(&main, body).await;
            assert_eq!(main.call_response_fast("echo_sync", body).await.unwrap().1, body);
            let entry = main.entry("raw_echo").unwrap();
            assert_eq!(soon(entry.call_response(body)).await.unwrap().1, body);
        }
        assert_eq!(main.call_response("describe", b"").await.unwrap().1, b"no request\n");
        assert_eq!(soon(main.call_response("state", b"kept")).await.unwrap().1, b"kept");
        assert_eq!(soon(main.call_response("state_peek", b"")).await.unwrap().1, b"");
        assert!(matches!(main.entry("nope"), Err(Error::EntryNotFound(_))));
        let unknown = main.call_response("nope", b"").await;
        assert!(matches!(unknown, Err(Error::PluginHandleFailed(NrStatus::Invalid))));
        assert_eq!(host.metrics().pending_requests, 0);
    }
}

/// The receiver is slower than the plugin: what does not fit is tried again, in order.
#[tokio::test]
async fn frames_that_the_host_has_no_room_for() {
    let host = load("conformance");
    let (_, mut frames) = host
        .plugin("main")
        .unwrap()
        .call_stream("count", b"2000")
        .await
        .unwrap();
    for number in 0..2000 {
        let frame = soon(frames.recv()).await.unwrap();
        assert_eq!(
            (frame.status, frame.data),
            (NrStatus::Ok, number.to_string().into_bytes())
        );
    }
    assert_eq!(soon(frames.recv()).await.unwrap().status, NrStatus::StreamEnd);
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_its_stream() {
    let host = load("conformance");
    let main = host.plugin("main").unwrap();
    let (_, frames) = main.call_stream("endless", b"").await.unwrap();
    drop(frames);
    soon(async {
        while main.call_response("ended", b"").await.unwrap().1 != b"1" {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn chat() {
    let host = load("conformance");
    let main = host.plugin("main").unwrap();
    let (sid, mut frames) = main.call_stream("chat", b"you").await.unwrap();
    assert_eq!(main.send_stream_data(sid, b"one").unwrap(), NrStatus::Ok);
    assert_eq!(main.close_stream(sid).unwrap(), NrStatus::Ok);
    for (status, data) in [
        (NrStatus::Ok, "hello you"),
        (NrStatus::Ok, "ONE"),
        (NrStatus::StreamEnd, ""),
    ] {
        let frame = soon(frames.recv()).await.unwrap();
        assert_eq!((frame.status, frame.data.as_slice()), (status, data.as_bytes()));
    }
    assert_eq!(main.send_stream_data(sid, b"late").unwrap(), NrStatus::Invalid);
}

/// The new `init` comes before the old `shutdown`, in one image; more often than there are slots.
#[tokio::test]
async fn reloads() {
    let mut host = load("conformance");
    for _ in 0..20 {
        let old = host.plugin("main").unwrap();
        echo(&old, b"before").await;
        host.reload().unwrap();
        echo(&host.plugin("main").unwrap(), b"after").await;
        assert!(matches!(
            old.call_response("echo", b"").await,
            Err(Error::PluginUnloaded)
        ));
    }
}

/// In an image of its own: the slots of the other are the other tests'.
#[tokio::test]
async fn as_many_instances_as_there_are_slots() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("libconformance_slots.so");
    let _ = std::fs::remove_file(&file); // an earlier run's
    std::fs::copy(plugin("conformance"), &file).unwrap();
    let load = || {
        let mut host = NylonRingHost::new();
        host.load("main", file.to_str().unwrap()).map(|()| host)
    };
    let mut hosts: Vec<_> = (0..8).map(|_| load().unwrap()).collect();
    for host in &hosts {
        echo(&host.plugin("main").unwrap(), b"x").await;
    }
    assert!(matches!(load(), Err(Error::PluginInitFailed(NrStatus::Err))));
    hosts.pop();
    echo(&load().unwrap().plugin("main").unwrap(), b"x").await;
}

#[tokio::test]
async fn the_small_ones() {
    let refused = NylonRingHost::new().load("main", plugin("refuses").to_str().unwrap());
    assert!(
        matches!(refused, Err(Error::PluginInitFailed(NrStatus::Err))),
        "{refused:?}"
    );
    let host = load("plain");
    let main = host.plugin("main").unwrap();
    assert_eq!(main.call_response_fast("echo_sync", b"x").await.unwrap().1, b"x");
    assert_eq!(main.send_stream_data(1, b"").unwrap(), NrStatus::Unsupported);
}
