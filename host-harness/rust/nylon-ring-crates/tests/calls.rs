//! Calls with one reply, in every way the host offers.

mod support;

use std::time::Duration;

use nylon_ring_host::{NrStatus, NylonRingHostError};
use support::{answer, assert_idle, assert_refused, conformance_plugin, let_go, load, plain_plugin, soon};

fn bodies() -> [Vec<u8>; 4] {
    let long = (0..1 << 20).map(|i: usize| (i % 251) as u8).collect();
    [Vec::new(), b"hello".to_vec(), vec![0, 255, 0], long]
}

#[tokio::test]
async fn every_kind_of_call_is_answered_with_the_body() {
    let (host, plugin) = load(&conformance_plugin());
    for body in bodies() {
        for entry in ["echo", "echo_sync"] {
            assert_eq!(answer(&plugin, entry, &body).await, (NrStatus::Ok, body.clone()));
            let (status, view) = soon(plugin.call_response_bytes(entry, &body)).await.unwrap();
            assert_eq!((status, &*view), (NrStatus::Ok, &*body));
            let limit = Duration::from_secs(30);
            let reply = plugin.call_response_timeout(entry, &body, limit).await.unwrap();
            assert_eq!(reply, (NrStatus::Ok, body.clone()));
        }
        let reply = plugin.call_response_fast("echo_sync", &body).await.unwrap();
        assert_eq!(reply, (NrStatus::Ok, body.clone()));
    }
    assert_idle(&host);
}

#[tokio::test]
async fn entries_by_number_answer_like_entries_by_name() {
    let (host, plugin) = load(&conformance_plugin());
    let (echo, sync) = (plugin.entry("echo").unwrap(), plugin.entry("echo_sync").unwrap());
    for body in bodies() {
        let reply = soon(echo.call_response(&body)).await.unwrap();
        assert_eq!(reply, (NrStatus::Ok, body.clone()));
        let reply = soon(sync.call_response(&body)).await.unwrap();
        assert_eq!(reply, (NrStatus::Ok, body.clone()));
        let reply = sync.call_response_fast(&body).await.unwrap();
        assert_eq!(reply, (NrStatus::Ok, body.clone()));
        assert_eq!(echo.call(&body).await.unwrap(), NrStatus::Ok);
    }
    assert_idle(&host);
}

#[tokio::test]
async fn errors_are_replies() {
    let (host, plugin) = load(&conformance_plugin());
    assert_eq!(
        answer(&plugin, "fail", b"no").await,
        (NrStatus::Err, b"ValueError: no".to_vec())
    );
    for (body, status) in [
        (b"1", NrStatus::Err),
        (b"2", NrStatus::Invalid),
        (b"3", NrStatus::Unsupported),
    ] {
        let expected = (status, b"as asked".to_vec());
        assert_eq!(answer(&plugin, "status", body).await, expected);
        assert_eq!(plugin.call_response_fast("status", body).await.unwrap(), expected);
    }
    assert_idle(&host);
}

#[tokio::test]
async fn an_unknown_entry_is_refused_in_every_way() {
    let (host, plugin) = load(&conformance_plugin());
    assert_refused(plugin.call("nowhere", b"").await, NrStatus::Invalid);
    assert_refused(plugin.call_response("nowhere", b"").await, NrStatus::Invalid);
    assert_refused(plugin.call_response_bytes("nowhere", b"").await, NrStatus::Invalid);
    assert_refused(plugin.call_response_fast("nowhere", b"").await, NrStatus::Invalid);
    assert_refused(plugin.call_stream("nowhere", b"").await, NrStatus::Invalid);
    let limit = Duration::from_secs(30);
    assert_refused(
        plugin.call_response_timeout("nowhere", b"", limit).await,
        NrStatus::Invalid,
    );
    for name in ["nowhere", "", "ECHO"] {
        let answer = plugin.entry(name);
        assert!(matches!(answer, Err(NylonRingHostError::EntryNotFound(unknown)) if unknown == name));
    }
    assert_idle(&host);
}

#[tokio::test]
async fn nobody_waits_for_a_fire_and_forget_call() {
    let (host, plugin) = load(&conformance_plugin());
    for entry in ["echo", "echo_sync", "fail", "held"] {
        assert_eq!(plugin.call(entry, b"x").await.unwrap(), NrStatus::Ok);
        assert_idle(&host);
    }
    let_go(&plugin, 1).await; // it was held, though its reply goes nowhere
    assert_eq!(answer(&plugin, "echo", b"y").await, (NrStatus::Ok, b"y".to_vec()));
    assert_idle(&host);
}

#[tokio::test]
async fn a_call_that_timed_out_is_forgotten_and_its_late_reply_does_no_harm() {
    let (host, plugin) = load(&conformance_plugin());
    let reply = plugin
        .call_response_timeout("held", b"late", Duration::from_millis(10))
        .await;
    assert!(matches!(reply, Err(NylonRingHostError::Timeout)));
    assert_idle(&host);
    let_go(&plugin, 1).await;
    assert_eq!(answer(&plugin, "echo", b"next").await, (NrStatus::Ok, b"next".to_vec()));
    assert_idle(&host);
}

#[tokio::test]
async fn a_dropped_future_gives_its_call_up() {
    let (host, plugin) = load(&conformance_plugin());
    {
        let mut call = std::pin::pin!(plugin.call_response("held", b"given up"));
        tokio::select! {
            biased;
            _ = &mut call => panic!("nobody let it go"),
            () = std::future::ready(()) => (),
        }
        assert_eq!(host.metrics().pending_requests, 1);
        assert_eq!(host.metrics().in_flight_calls, 1);
    }
    assert_idle(&host);
    let_go(&plugin, 1).await;
    assert_idle(&host);
}

#[tokio::test]
async fn held_calls_are_answered_once_they_are_let_go() {
    let (host, plugin) = load(&conformance_plugin());
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..10u8 {
        let plugin = plugin.clone();
        calls.spawn(async move { (n, plugin.call_response("held", &[n]).await.unwrap()) });
    }
    support::until(10, async || host.metrics().pending_requests).await;
    let_go(&plugin, 10).await;
    while let Some(call) = soon(calls.join_next()).await {
        let (n, reply) = call.unwrap();
        assert_eq!(reply, (NrStatus::Ok, vec![n]));
    }
    assert_idle(&host);
}

#[tokio::test]
async fn a_fast_call_that_is_answered_later_comes_back_without_its_reply() {
    let (host, plugin) = load(&conformance_plugin());
    let missing = |reply| matches!(reply, Err(NylonRingHostError::MissingSynchronousResponse));
    assert!(missing(plugin.call_response_fast("held", b"x").await));
    assert!(missing(plugin.entry("held").unwrap().call_response_fast(b"x").await));
    assert_idle(&host);
    let_go(&plugin, 2).await;
    let reply = plugin.call_response_fast("echo_sync", b"next").await.unwrap();
    assert_eq!(reply, (NrStatus::Ok, b"next".to_vec()));
    assert_idle(&host);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replies_reach_their_own_callers_under_load() {
    let (host, plugin) = load(&conformance_plugin());
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..16u64 {
        let plugin = plugin.clone();
        callers.spawn(async move {
            let echo = plugin.entry("echo").unwrap();
            for n in 0..200u64 {
                let body = [caller.to_le_bytes(), n.to_le_bytes()].concat();
                let reply = match n % 4 {
                    0 => plugin.call_response("echo", &body).await,
                    1 => echo.call_response(&body).await,
                    2 => plugin.call_response_fast("echo_sync", &body).await,
                    _ => plugin
                        .call_response_bytes("echo", &body)
                        .await
                        .map(|(s, view)| (s, view.into_vec())),
                };
                assert_eq!(reply.unwrap(), (NrStatus::Ok, body));
            }
        });
    }
    while let Some(caller) = soon(callers.join_next()).await {
        caller.unwrap();
    }
    assert_idle(&host);
}

#[tokio::test]
async fn a_plugin_of_one_entry_answers_it() {
    let (host, plugin) = load(&plain_plugin());
    assert_eq!(answer(&plugin, "echo_sync", b"x").await, (NrStatus::Ok, b"x".to_vec()));
    assert_refused(plugin.call_response("echo", b"x").await, NrStatus::Invalid);
    assert_idle(&host);
}
