//! In our v1 host, in both layouts. The whole of the plugin is the conformance suite's matter; here it is held to what
//! only shows from inside: several instances of one image, and that nothing is left.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use nylon_ring_host_v1::{HighLevelRequest, HostStats, Layout, NrStatus, NylonRingHost, NylonRingHostError as Error};
use support::{plugin, soon};

fn files() -> [(std::path::PathBuf, Layout); 2] {
    [
        (plugin("conformance"), Layout::Seed),
        (plugin("conformance_raw"), Layout::Raw),
    ]
}

fn request(body: &[u8]) -> HighLevelRequest {
    HighLevelRequest {
        body: body.to_vec(),
        ..Default::default()
    }
}

#[tokio::test]
async fn echo_stream_chat() {
    for (file, layout) in files() {
        let host = NylonRingHost::load_with(file, layout).unwrap();
        assert_eq!((host.plugin_name(), host.plugin_version()), ("conformance", "1.0.0"));
        for entry in ["echo", "echo_sync", "raw_echo", "raw_sync", "state"] {
            let reply = soon(host.call_raw(entry, b"\0\xff")).await.unwrap();
            assert_eq!(reply, (NrStatus::Ok, b"\0\xff".to_vec()), "{entry}");
        }
        let (_, mut count) = host.call_stream("count", request(b"1000")).await.unwrap();
        for number in 0..1000 {
            let frame = soon(count.recv()).await.unwrap();
            assert_eq!(
                (frame.status, frame.data),
                (NrStatus::Ok, number.to_string().into_bytes())
            );
        }
        assert_eq!(soon(count.recv()).await.unwrap().status, NrStatus::StreamEnd);
        let (sid, mut chat) = host.call_stream("chat", request(b"you")).await.unwrap();
        assert_eq!(soon(chat.recv()).await.unwrap().data, b"hello you");
        assert_eq!(host.send_stream_data(sid, b"one").unwrap(), NrStatus::Ok);
        assert_eq!(soon(chat.recv()).await.unwrap().data, b"ONE");
        assert_eq!(host.close_stream(sid).unwrap(), NrStatus::Ok);
        assert_eq!(soon(chat.recv()).await.unwrap().status, NrStatus::StreamEnd);
        assert_eq!(host.ask_stream_close(sid), NrStatus::Invalid);
        assert_eq!(host.stats(), HostStats::default());
    }
}

#[tokio::test]
async fn instances_of_one_file_are_apart() {
    for (file, layout) in files() {
        let first = NylonRingHost::load_with(&file, layout).unwrap();
        let second = NylonRingHost::load_with(&file, layout).unwrap();
        let held = first.submit_raw("held", b"mine").unwrap();
        assert_eq!(second.call_raw("let_go", b"").await.unwrap().1, b"0");
        drop(second);
        assert_eq!(first.call_raw("let_go", b"").await.unwrap().1, b"1");
        assert_eq!(soon(held).await.unwrap(), (NrStatus::Ok, b"mine".to_vec()));
    }
}

#[tokio::test]
async fn shutdown_answers_what_is_left() {
    for (file, layout) in files() {
        let host = NylonRingHost::load_with(file, layout).unwrap();
        let held = host.submit_raw("held", b"").unwrap();
        let (_, mut endless) = host.call_stream("endless", request(b"")).await.unwrap();
        let (_, mut chat) = host.call_stream("chat", request(b"")).await.unwrap();
        drop(host);
        assert_eq!(soon(held).await.unwrap().0, NrStatus::Err);
        for stream in [&mut endless, &mut chat] {
            let mut last = NrStatus::Ok;
            while let Some(frame) = soon(stream.recv()).await {
                last = frame.status;
            }
            assert_eq!(last, NrStatus::Err);
        }
    }
}

#[tokio::test]
async fn the_small_ones() {
    let refused = NylonRingHost::load(plugin("refuses"));
    assert!(matches!(refused, Err(Error::InitFailed(NrStatus::Err))), "{refused:?}");
    let plain = NylonRingHost::load(plugin("plain")).unwrap();
    assert_eq!(plain.call_raw_unary_fast("echo_sync", b"x").await.unwrap().1, b"x");
    assert!(matches!(
        plain.call_raw("echo", b"").await,
        Err(Error::Refused(NrStatus::Invalid))
    ));
    assert_eq!(
        (plain.ask_stream_data(1, b""), plain.ask_stream_close(1)),
        (NrStatus::Unsupported, NrStatus::Unsupported)
    );
}
