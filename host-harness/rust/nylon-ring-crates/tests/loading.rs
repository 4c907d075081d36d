//! Load, replace, reload, unload: idle and under traffic.

mod support;

use std::time::Duration;

use nylon_ring_host::{NrStatus, NylonRingHost, NylonRingHostError};
use support::{
    NAME, answer, assert_idle, conformance_plugin, frames, let_go, load, number, plain_plugin, refusing_plugin, soon,
    until,
};

const GRACE: Duration = Duration::from_secs(30);
const NO_GRACE: Duration = Duration::from_millis(5);

#[tokio::test]
async fn what_is_no_plugin_is_refused() {
    let mut host = NylonRingHost::new();
    let missing = host.load(NAME, "/nowhere/plugin.so");
    assert!(matches!(missing, Err(NylonRingHostError::FailedToLoadLibrary(_))));
    let other = host.load(NAME, "libm.so.6");
    assert!(matches!(other, Err(NylonRingHostError::MissingSymbol(symbol)) if symbol == "nylon_ring_get_plugin"));
    let unknown = host.unload(NAME);
    assert!(matches!(unknown, Err(NylonRingHostError::PluginNotFound(name)) if name == NAME));
    assert!(host.plugin(NAME).is_none());
    assert_eq!(host.metrics().loaded_plugins, 0);
}

#[tokio::test]
async fn a_plugin_whose_init_fails_is_not_loaded_and_replaces_nothing() {
    let (mut host, plugin) = load(&plain_plugin());
    for name in [NAME, "another"] {
        let refused = host.load(name, &refusing_plugin());
        assert!(matches!(refused, Err(NylonRingHostError::PluginInitFailed(status)) if status != NrStatus::Ok));
    }
    assert!(host.plugin("another").is_none());
    assert_eq!(answer(&plugin, "echo_sync", b"x").await, (NrStatus::Ok, b"x".to_vec()));
    assert_idle(&host);
}

#[tokio::test]
async fn a_plugin_comes_back_after_unload_as_new() {
    let mut host = NylonRingHost::new();
    for _ in 0..3 {
        host.load(NAME, &conformance_plugin()).unwrap();
        let plugin = host.plugin(NAME).unwrap();
        assert_eq!(number(&plugin, "ended").await, 0);
        let (_, stream) = plugin.call_stream("endless", b"").await.unwrap();
        drop(stream);
        until(1, async || number(&plugin, "ended").await).await;
        host.unload(NAME).unwrap();
        assert!(host.plugin(NAME).is_none());
        let late = plugin.call_response("echo", b"").await;
        assert!(matches!(late, Err(NylonRingHostError::PluginUnloaded)));
    }
    assert_eq!(host.metrics().loaded_plugins, 0);
}

#[tokio::test]
async fn calls_dropped_before_unload_do_not_hold_it_up() {
    let (mut host, plugin) = load(&conformance_plugin());
    for n in 0..10u8 {
        let timed_out = plugin.call_response_timeout("held", &[n], NO_GRACE / 5).await;
        assert!(matches!(timed_out, Err(NylonRingHostError::Timeout)));
        drop(plugin.call_stream("chat", &[n]).await.unwrap());
    }
    host.unload_with_grace(NAME, GRACE).await.unwrap();
    drop(plugin); // the last handle: shutdown runs here, with ten calls held and ten chats open
    assert_idle(&host);
}

#[tokio::test]
async fn two_hosts_have_an_instance_each() {
    let path = conformance_plugin();
    let (first_host, first) = load(&path);
    let (mut second_host, second) = load(&path);
    let (sid, mut chat) = first.call_stream("chat", b"").await.unwrap();
    assert_eq!(second.send_stream_data(sid, b"x").unwrap(), NrStatus::Invalid);
    assert_eq!(first.call("held", b"").await.unwrap(), NrStatus::Ok);
    assert_eq!(number(&second, "let_go").await, 0);
    second_host.unload(NAME).unwrap();
    drop((second, second_host));
    assert_eq!(first.send_stream_data(sid, b"x").unwrap(), NrStatus::Ok);
    assert_eq!(first.close_stream(sid).unwrap(), NrStatus::Ok);
    let expected = [
        (NrStatus::Ok, b"hello ".to_vec()),
        (NrStatus::Ok, b"X".to_vec()),
        (NrStatus::StreamEnd, Vec::new()),
    ];
    assert_eq!(frames(&mut chat).await, expected);
    drop(chat);
    let_go(&first, 1).await;
    assert_idle(&first_host);
}

#[tokio::test]
async fn one_host_has_one_file_under_two_names() {
    let path = conformance_plugin();
    let (mut host, first) = load(&path);
    host.load("another", &path).unwrap();
    let second = host.plugin("another").unwrap();
    assert_eq!(first.call("held", b"").await.unwrap(), NrStatus::Ok);
    assert_eq!(number(&second, "let_go").await, 0);
    host.unload(NAME).unwrap();
    drop(first);
    assert_eq!(answer(&second, "echo", b"x").await, (NrStatus::Ok, b"x".to_vec()));
    assert_idle(&host);
}

#[tokio::test]
async fn a_second_load_replaces_the_first_whose_calls_go_on() {
    let (mut host, old) = load(&conformance_plugin());
    let entry = old.entry("echo").unwrap();
    let (sid, mut chat) = old.call_stream("chat", b"").await.unwrap();
    host.load(NAME, &conformance_plugin()).unwrap();
    let unloaded = |reply| matches!(reply, Err(NylonRingHostError::PluginUnloaded));
    assert!(unloaded(old.call_response("echo", b"").await));
    assert!(unloaded(entry.call_response(b"").await));
    assert_eq!(old.send_stream_data(sid, b"still here").unwrap(), NrStatus::Ok);
    assert_eq!(old.close_stream(sid).unwrap(), NrStatus::Ok);
    assert_eq!(frames(&mut chat).await.len(), 3);
    let new = host.plugin(NAME).unwrap();
    assert_eq!(answer(&new, "echo", b"x").await, (NrStatus::Ok, b"x".to_vec()));
    drop(chat);
    assert_idle(&host);
}

#[tokio::test]
async fn reload_wants_an_idle_host() {
    let (mut host, plugin) = load(&conformance_plugin());
    let (_, chat) = plugin.call_stream("chat", b"").await.unwrap();
    assert!(matches!(
        host.reload(),
        Err(NylonRingHostError::PluginBusy { active_calls: 1 })
    ));
    assert_eq!(answer(&plugin, "echo", b"x").await, (NrStatus::Ok, b"x".to_vec()));
    drop(chat);
    for _ in 0..5 {
        host.reload().unwrap();
    }
    let stale = plugin.call_response("echo", b"x").await;
    assert!(matches!(stale, Err(NylonRingHostError::PluginUnloaded)));
    let new = host.plugin(NAME).unwrap();
    assert_eq!(answer(&new, "echo", b"x").await, (NrStatus::Ok, b"x".to_vec()));
    assert_idle(&host);
}

#[tokio::test]
async fn unload_with_grace_waits_for_streams() {
    let (mut host, plugin) = load(&conformance_plugin());
    let (sid, mut chat) = plugin.call_stream("chat", b"").await.unwrap();
    let reader = tokio::spawn(async move {
        assert_eq!(plugin.close_stream(sid).unwrap(), NrStatus::Ok);
        frames(&mut chat).await.len()
    });
    host.unload_with_grace(NAME, GRACE).await.unwrap();
    assert_eq!(reader.await.unwrap(), 2);
    assert!(host.plugin(NAME).is_none());
}

#[tokio::test]
async fn unload_with_too_little_grace_takes_the_plugin_and_lets_its_streams_go_on() {
    let (mut host, plugin) = load(&conformance_plugin());
    let (sid, mut chat) = plugin.call_stream("chat", b"").await.unwrap();
    let late = host.unload_with_grace(NAME, NO_GRACE).await;
    assert!(matches!(late, Err(NylonRingHostError::DrainTimeout { remaining: 1 })));
    assert!(host.plugin(NAME).is_none());
    assert_eq!(plugin.send_stream_data(sid, b"x").unwrap(), NrStatus::Ok);
    assert_eq!(plugin.close_stream(sid).unwrap(), NrStatus::Ok);
    assert_eq!(frames(&mut chat).await.len(), 3);
}

#[tokio::test]
async fn reload_with_too_little_grace_leaves_the_host_without_its_plugins() {
    let (mut host, plugin) = load(&conformance_plugin());
    let (_, chat) = plugin.call_stream("chat", b"").await.unwrap();
    let late = host.reload_with_grace(NO_GRACE).await;
    assert!(matches!(late, Err(NylonRingHostError::DrainTimeout { remaining: 1 })));
    assert_eq!(host.metrics().loaded_plugins, 0);
    drop(chat);
    host.load(NAME, &conformance_plugin()).unwrap(); // the way out
    let new = host.plugin(NAME).unwrap();
    assert_eq!(answer(&new, "echo", b"x").await, (NrStatus::Ok, b"x".to_vec()));
}

#[tokio::test]
async fn a_pinned_plugin_stays_for_ever() {
    let mut host = NylonRingHost::new();
    let path = conformance_plugin();
    host.load_pinned(NAME, &path).unwrap();
    let plugin = host.plugin(NAME).unwrap();
    let pinned = |done| matches!(done, Err(NylonRingHostError::PluginPinned(name)) if name == NAME);
    assert!(pinned(host.unload(NAME)));
    assert!(pinned(host.unload_with_grace(NAME, GRACE).await));
    assert!(pinned(host.reload()));
    assert!(pinned(host.reload_with_grace(GRACE).await));
    assert!(pinned(host.load(NAME, &path)));
    assert!(pinned(host.load_pinned(NAME, &path)));
    assert_eq!(answer(&plugin, "echo", b"x").await, (NrStatus::Ok, b"x".to_vec()));
    let (sid, mut chat) = soon(plugin.call_stream("chat", b"")).await.unwrap();
    assert_eq!(plugin.close_stream(sid).unwrap(), NrStatus::Ok);
    assert_eq!(frames(&mut chat).await.len(), 2);
    drop(chat);
    assert_idle(&host);
    // Nobody shuts a pinned plugin down, so a thread of its may still be on its way out of a callback: the host frees
    // its context under it.
    std::mem::forget(host);
}
