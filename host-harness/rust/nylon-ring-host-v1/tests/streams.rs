//! Streams: frames in order, both ways, ended by either side.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use nylon_ring_host_v1::{NrStatus, NylonRingHost, NylonRingHostError as Error};
use support::{assert_idle, c_plugin, faulty_plugin, frame, frames, load, request, soon};

#[tokio::test]
async fn frames_in_order_with_the_last_one() {
    let host = load(&c_plugin());
    for entry in ["stream", "burst"] {
        let (sid, mut stream) = host.call_stream(entry, request(b"")).await.unwrap();
        assert_eq!(stream.sid(), sid);
        let mut expected: Vec<_> = (0..5)
            .map(|n| frame(NrStatus::Ok, format!("frame {n}").as_bytes()))
            .collect();
        expected.push(frame(NrStatus::StreamEnd, b""));
        assert_eq!(frames(&mut stream).await, expected, "{entry}");
        assert_eq!(stream.recv().await, None);
    }
    assert_idle(&host);
}

#[tokio::test]
async fn a_stream_may_end_with_an_error() {
    let host = load(&c_plugin());
    let (_, mut stream) = host.call_stream("error", request(b"")).await.unwrap();
    assert_eq!(frames(&mut stream).await, [frame(NrStatus::Err, b"Error: on purpose")]);
    let (_, mut stream) = host.call_stream("after_end", request(b"")).await.unwrap();
    assert_eq!(frames(&mut stream).await, [frame(NrStatus::StreamEnd, b"")]);
    assert_idle(&host);
}

#[tokio::test]
async fn a_unary_call_of_a_stream_takes_the_first_frame() {
    let host = load(&c_plugin());
    let reply = soon(host.call("stream", request(b"3"))).await.unwrap();
    assert_eq!(reply, (NrStatus::Ok, b"frame 0".to_vec()));
    assert_idle(&host);
}

#[tokio::test]
async fn duplex_until_the_host_closes() {
    let host = load(&c_plugin());
    let (sid, mut stream) = host.call_stream("duplex", request(b"")).await.unwrap();
    for n in 0..100_u8 {
        assert_eq!(host.send_stream_data(sid, &[n]).unwrap(), NrStatus::Ok);
        assert_eq!(soon(stream.recv()).await, Some(frame(NrStatus::Ok, &[n])));
    }
    assert_eq!(host.stats().streams, 1);
    assert_eq!(host.close_stream(sid).unwrap(), NrStatus::Ok);
    assert_eq!(frames(&mut stream).await, [frame(NrStatus::StreamEnd, b"")]);
    assert!(matches!(host.send_stream_data(sid, b"late"), Err(Error::StreamClosed)));
    assert!(matches!(host.close_stream(sid), Err(Error::StreamClosed)));
    assert!(matches!(host.close_stream(u64::MAX), Err(Error::StreamClosed)));
    assert_idle(&host);
}

#[tokio::test]
async fn the_plugin_may_refuse_a_frame() {
    let host = load(&c_plugin());
    let (sid, _stream) = host.call_stream("hold", request(b"")).await.unwrap();
    assert_eq!(host.send_stream_data(sid, b"x").unwrap(), NrStatus::Invalid);
    assert_eq!(host.close_stream(sid).unwrap(), NrStatus::Invalid);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_threads_send_for_one_sid_and_no_frame_is_lost() {
    let host = load(&faulty_plugin(&[]));
    for _ in 0..5 {
        let (_, mut stream) = host.call_stream("pair", request(b"")).await.unwrap();
        let mut next = [0_u32; 2];
        let mut last = None;
        while let Some(frame) = soon(stream.recv()).await {
            assert_eq!(last, None, "a frame after the end");
            if frame.status != NrStatus::Ok {
                last = Some(frame.status);
                continue;
            }
            let number = |at: usize| u32::from_ne_bytes(frame.data[at..at + 4].try_into().unwrap());
            let sender = number(0) as usize;
            assert_eq!(number(4), next[sender], "thread {sender} is out of order");
            next[sender] += 1;
        }
        assert_eq!(next, [20_000, 20_000]);
        assert_eq!(last, Some(NrStatus::StreamEnd));
    }
    assert_idle(&host);
}

async fn closes(host: &NylonRingHost) -> u64 {
    let (_, count) = host.call_raw("closed", b"").await.unwrap();
    u64::from_ne_bytes(count.try_into().unwrap())
}

#[tokio::test]
async fn a_receiver_dropped_before_the_end_closes_the_stream() {
    let host = load(&faulty_plugin(&[]));
    let (sid, stream) = host.call_stream("keep", request(b"")).await.unwrap();
    assert_eq!((host.stats().streams, closes(&host).await), (1, 0));
    drop(stream);
    assert_eq!(closes(&host).await, 1);
    assert!(matches!(host.send_stream_data(sid, b""), Err(Error::StreamClosed)));
    // The plugin has not ended it yet: its state is there until it does.
    let stats = host.stats();
    assert_eq!((stats.streams, stats.dropped_streams, stats.state_values), (0, 1, 1));
    assert_eq!(host.call("release", request(b"")).await.unwrap().0, NrStatus::Ok);
    assert_idle(&host);
}

#[tokio::test]
async fn a_receiver_dropped_after_the_end_closes_nothing() {
    let host = load(&faulty_plugin(&[]));
    let (_, mut stream) = host.call_stream("status_7", request(b"")).await.unwrap();
    assert!(stream.recv().await.is_some());
    drop(stream);
    let (_, unread) = host.call_stream("status_7", request(b"")).await.unwrap();
    drop(unread);
    assert_eq!(closes(&host).await, 0);
}

#[tokio::test]
async fn a_receiver_outlives_its_host() {
    let host = load(&c_plugin());
    let (_, mut duplex) = host.call_stream("duplex", request(b"")).await.unwrap();
    let (_, lost) = host.call_stream("lose_reply", request(b"")).await.unwrap();
    let (_, mut never) = host.call_stream("lose_reply", request(b"")).await.unwrap();
    drop(host);
    assert_eq!(frames(&mut duplex).await, [frame(NrStatus::Err, b"shutting down")]);
    assert_eq!(soon(never.recv()).await, None);
    drop(lost); // its plugin is gone: nothing is called
}

#[tokio::test]
async fn receivers_dropped_while_the_host_goes() {
    let file = c_plugin();
    for _ in 0..50 {
        let host = load(&file);
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(host.call_stream("duplex", request(b"")).await.unwrap().1);
        }
        let dropping = std::thread::spawn(move || drop(streams));
        drop(host);
        dropping.join().unwrap();
    }
}
