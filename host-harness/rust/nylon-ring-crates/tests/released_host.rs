//! What the released host does that its documents do not say, or that a reader would not expect. README.md lists it.
//!
//! These run this crate's own plugin, whichever is under test: they look at it from inside.

mod support;

use std::time::Duration;

use nylon_ring_host::{NrStatus, NylonRingHost, NylonRingHostError, PluginHandle};
use support::{NAME, answer, assert_idle, frames, let_go, load, load_into, number, numbers, own_plugin, soon, until};

/// A second host with the same file: its instance tells how many others have been shut down. Wait for a number that is
/// to come: plugins on their way out stand in one list of the process, and a host of another test may take them from it.
async fn shutdowns(witness: &PluginHandle) -> u64 {
    number(witness, "shutdowns").await
}

#[tokio::test]
async fn a_call_begins_when_its_future_is_polled() {
    let (host, plugin) = load(&own_plugin());
    drop(plugin.call("held", b""));
    drop(plugin.call_response("held", b""));
    drop(plugin.call_stream("endless", b""));
    assert_eq!(number(&plugin, "let_go").await, 0);
    assert_idle(&host);
}

#[tokio::test]
async fn a_reply_that_nobody_waits_for_is_answered_invalid() {
    let (_host, plugin) = load(&own_plugin());
    assert_eq!(plugin.call("echo_sync", b"").await.unwrap(), NrStatus::Ok);
    assert_eq!(number(&plugin, "undelivered").await, 1);
    let reply = plugin
        .call_response_timeout("held", b"", Duration::from_millis(1))
        .await;
    assert!(matches!(reply, Err(NylonRingHostError::Timeout)));
    let_go(&plugin, 1).await;
    until(2, async || number(&plugin, "undelivered").await).await;
    drop(plugin.call_stream("endless", b"").await.unwrap());
    until(3, async || number(&plugin, "undelivered").await).await;
}

#[tokio::test]
async fn frames_sent_inside_handle_meet_a_full_buffer() {
    let (_host, plugin) = load_into(NylonRingHost::with_stream_capacity(4), &own_plugin());
    let (_, mut stream) = plugin.call_stream("burst", b"10").await.unwrap();
    let mut expected = numbers(4); // six were refused: the buffer is read from only after handle has returned
    expected.push((NrStatus::StreamEnd, Vec::new()));
    assert_eq!(frames(&mut stream).await, expected);
}

#[tokio::test]
async fn a_stream_entry_called_for_one_reply_gives_a_frame_of_its_own_choice() {
    let (host, plugin) = load(&own_plugin());
    // All three frames came inside handle, and each replaced the one before.
    assert_eq!(answer(&plugin, "count", b"3").await, (NrStatus::Ok, b"2".to_vec()));
    // From another thread the first is taken, and the next one is answered Invalid.
    assert_eq!(answer(&plugin, "endless", b"").await, (NrStatus::Ok, b"0".to_vec()));
    until(1, async || number(&plugin, "ended").await).await;
    assert_idle(&host);
}

#[tokio::test]
async fn an_entry_of_one_reply_called_as_a_stream_never_ends() {
    let (host, plugin) = load(&own_plugin());
    let (_, mut stream) = plugin.call_stream("echo_sync", b"x").await.unwrap();
    assert_eq!(soon(stream.recv()).await.unwrap().data, b"x");
    assert!(
        tokio::time::timeout(Duration::from_millis(20), stream.recv())
            .await
            .is_err()
    );
    assert_eq!(host.metrics().pending_requests, 1);
    drop(stream);
    assert_idle(&host);
    let (_, mut failed) = plugin.call_stream("fail", b"x").await.unwrap(); // an error ends it
    assert_eq!(frames(&mut failed).await.len(), 1);
}

#[tokio::test]
async fn a_receiver_counts_as_a_call_until_it_is_dropped() {
    let (mut host, plugin) = load(&own_plugin());
    let (_, mut stream) = plugin.call_stream("count", b"3").await.unwrap();
    assert_eq!(frames(&mut stream).await.len(), 4);
    assert_eq!(host.metrics().pending_requests, 0);
    assert_eq!(host.metrics().in_flight_calls, 1);
    assert!(matches!(
        host.reload(),
        Err(NylonRingHostError::PluginBusy { active_calls: 1 })
    ));
    drop(stream);
    host.reload().unwrap();
}

#[tokio::test]
async fn owned_and_leased_replies_arrive_by_every_kind_of_call() {
    let (host, plugin) = load(&own_plugin());
    for entry in ["echo_owned", "echo_lease"] {
        for body in [&b""[..], b"hello", &[7; 100_000]] {
            let expected = (NrStatus::Ok, body.to_vec());
            assert_eq!(answer(&plugin, entry, body).await, expected);
            assert_eq!(plugin.call_response_fast(entry, body).await.unwrap(), expected);
            let (status, view) = soon(plugin.call_response_bytes(entry, body)).await.unwrap();
            assert_eq!((status, view.into_vec()), expected);
            let (_, mut stream) = plugin.call_stream(entry, body).await.unwrap(); // no lease for a stream
            assert_eq!(soon(stream.recv()).await.unwrap().data, body);
        }
    }
    assert_eq!(number(&plugin, "undelivered").await, 0);
    assert_idle(&host);
}

#[tokio::test]
async fn a_view_of_owned_bytes_holds_its_plugin() {
    let path = own_plugin();
    let (_witness_host, witness) = load(&path);
    let (mut host, plugin) = load(&path);
    let (_, copied) = plugin.call_response_bytes("echo_sync", b"copied").await.unwrap();
    assert_idle(&host);
    let (_, held) = plugin.call_response_bytes("echo_owned", b"held").await.unwrap();
    assert_eq!(host.metrics().in_flight_calls, 1);
    host.unload(NAME).unwrap();
    drop((plugin, host));
    assert_eq!(shutdowns(&witness).await, 0);
    assert_eq!(&*held, b"held");
    drop(held);
    until(1, async || shutdowns(&witness).await).await;
    assert_eq!(&*copied, b"copied");
}

#[tokio::test]
async fn unload_shuts_down_once_the_last_handle_is_dropped() {
    let path = own_plugin();
    let (_witness_host, witness) = load(&path);
    let (mut host, plugin) = load(&path);
    let entry = plugin.entry("echo").unwrap();
    host.unload(NAME).unwrap();
    drop(plugin);
    assert_eq!(shutdowns(&witness).await, 0);
    drop(entry);
    until(1, async || shutdowns(&witness).await).await;
}

#[tokio::test]
async fn no_shutdown_answers_a_call_that_somebody_waits_for() {
    let path = own_plugin();
    let (_witness_host, witness) = load(&path);
    let (mut host, plugin) = load(&path);
    let call = tokio::spawn(async move { plugin.call_response("held", b"").await });
    until(1, async || host.metrics().pending_requests).await;
    let late = host.unload_with_grace(NAME, Duration::from_millis(5)).await;
    assert!(matches!(late, Err(NylonRingHostError::DrainTimeout { remaining: 1 })));
    // Nothing can be called any more that would let it go. The call is counted no more, and still waits.
    assert_eq!(host.metrics().in_flight_calls, 0);
    assert_eq!(host.metrics().pending_requests, 1);
    assert_eq!(shutdowns(&witness).await, 0);
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    until(1, async || shutdowns(&witness).await).await;
    assert_idle(&host);
}

#[tokio::test]
async fn a_reload_keeps_the_image_and_an_unload_gives_it_back() {
    let path = own_plugin();
    let (mut host, plugin) = load(&path);
    drop(plugin);
    for reloads in 1..=3 {
        host.reload().unwrap();
        // The new instance was there before the old one was shut down, so the file has never been closed.
        assert_eq!(shutdowns(&host.plugin(NAME).unwrap()).await, reloads);
    }
    host.unload(NAME).unwrap();
    host.load(NAME, &path).unwrap();
    assert_eq!(shutdowns(&host.plugin(NAME).unwrap()).await, 0);
}

#[tokio::test]
async fn a_pinned_plugin_is_never_shut_down() {
    let path = own_plugin();
    let (_witness_host, witness) = load(&path);
    let mut host = NylonRingHost::new();
    host.load_pinned(NAME, &path).unwrap();
    drop(host);
    assert_eq!(shutdowns(&witness).await, 0);
    drop(load(&path));
    until(1, async || shutdowns(&witness).await).await;
}
