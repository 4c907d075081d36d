//! The same against a Python plugin: the one built from examples/hello.py that NYLON_RING_TEST_PLUGIN names when these
//! tests are compiled. Without it they are listed as ignored.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::path::Path;
use std::sync::Arc;

use nylon_ring_host_v1::{HighLevelRequest, NrStatus, NylonRingHost, NylonRingHostError as Error};
use support::{assert_idle, frame, frames, load, request, soon};

fn hello() -> NylonRingHost {
    let Some(file) = option_env!("NYLON_RING_TEST_PLUGIN") else {
        panic!("NYLON_RING_TEST_PLUGIN was not set when this was compiled");
    };
    load(Path::new(file))
}

#[tokio::test]
#[cfg_attr(not(python_plugin), ignore = "NYLON_RING_TEST_PLUGIN names no plugin")]
async fn every_entry() {
    let host = hello();
    assert_eq!((host.plugin_name(), host.plugin_version()), ("hello", "1.0.0"));
    let sent = HighLevelRequest {
        path: "/ä".into(),
        ..Default::default()
    };
    assert_eq!(
        soon(host.call("unary", sent)).await.unwrap(),
        (NrStatus::Ok, "OK: /ä".into())
    );
    assert_eq!(
        host.call_raw_unary_fast("ping", b"").await.unwrap(),
        (NrStatus::Ok, b"pong".to_vec())
    );
    assert_eq!(
        soon(host.call_raw("echo", b"\0\xff")).await.unwrap(),
        (NrStatus::Ok, b"\0\xff".to_vec())
    );
    let (_, mut feed) = host.call_stream("feed", request(b"")).await.unwrap();
    let mut expected: Vec<_> = (0..5)
        .map(|n| frame(NrStatus::Ok, format!("frame {n}").as_bytes()))
        .collect();
    expected.push(frame(NrStatus::StreamEnd, b""));
    assert_eq!(frames(&mut feed).await, expected);
    assert!(matches!(
        host.call_raw("no such entry", b"").await,
        Err(Error::Refused(NrStatus::Invalid))
    ));
    assert!(matches!(
        host.call_raw_unary_fast("unary", b"").await,
        Err(Error::NoReplyInside)
    ));
    assert_idle(&host);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[cfg_attr(not(python_plugin), ignore = "NYLON_RING_TEST_PLUGIN names no plugin")]
async fn sixteen_callers() {
    let host = Arc::new(hello());
    let callers: Vec<_> = (0..16_u32)
        .map(|caller| {
            let host = Arc::clone(&host);
            tokio::spawn(async move {
                for n in 0..100_u32 {
                    let body = format!("{caller} {n}").into_bytes();
                    assert_eq!(host.call_raw("echo", &body).await.unwrap(), (NrStatus::Ok, body));
                    assert_eq!(host.call_raw_unary_fast("ping", b"").await.unwrap().1, b"pong");
                }
            })
        })
        .collect();
    for caller in callers {
        soon(caller).await.unwrap();
    }
    assert_idle(&host);
}

#[tokio::test]
#[cfg_attr(not(python_plugin), ignore = "NYLON_RING_TEST_PLUGIN names no plugin")]
async fn receivers_dropped_early_end_their_generators() {
    let host = hello();
    for _ in 0..20 {
        drop(host.call_stream("feed", request(b"")).await.unwrap());
    }
    // The last frame of each comes in its own time: a full feed behind them has to wait for none.
    let (_, mut feed) = host.call_stream("feed", request(b"")).await.unwrap();
    assert_eq!(frames(&mut feed).await.len(), 6);
    soon(async {
        while host.stats().dropped_streams > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_idle(&host);
}

async fn round(host: Arc<NylonRingHost>) {
    assert_eq!(host.call_raw("echo", b"a").await.unwrap().1, b"a");
    assert_eq!(host.call_raw_unary_fast("ping", b"").await.unwrap().1, b"pong");
    let (_, mut feed) = host.call_stream("feed", request(b"")).await.unwrap();
    assert_eq!(frames(&mut feed).await.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[cfg_attr(not(python_plugin), ignore = "NYLON_RING_TEST_PLUGIN names no plugin")]
async fn reload_under_traffic() {
    support::traffic::reload_under_traffic(20, hello, round).await;
}
