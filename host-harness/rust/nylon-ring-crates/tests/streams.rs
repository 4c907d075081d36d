//! Streams: frames in order to one end, input, closes, and receivers that are slow or gone.

mod support;

use nylon_ring_host::{NrStatus, NylonRingHost};
use support::{
    answer, assert_idle, conformance_plugin, counted, frames, load, load_into, number, numbers, plain_plugin, soon,
    until,
};

const NO_SUCH_SID: u64 = u64::MAX - 1;

#[tokio::test]
async fn frames_arrive_in_order_and_end_once() {
    let (host, plugin) = load(&conformance_plugin());
    let by_number = plugin.entry("count").unwrap();
    for count in [0, 1, 10, 1000] {
        let body = count.to_string();
        let (_, mut stream) = plugin.call_stream("count", body.as_bytes()).await.unwrap();
        assert_eq!(frames(&mut stream).await, counted(count));
        assert!(soon(stream.recv()).await.is_none());
        let (_, mut stream) = by_number.call_stream(body.as_bytes()).await.unwrap();
        assert_eq!(frames(&mut stream).await, counted(count));
    }
    assert_idle(&host);
}

#[tokio::test]
async fn a_stream_that_fails_ends_with_the_error() {
    let (host, plugin) = load(&conformance_plugin());
    let (_, mut stream) = plugin.call_stream("count_fail", b"3").await.unwrap();
    let mut expected = numbers(3);
    expected.push((NrStatus::Err, b"RuntimeError: broken".to_vec()));
    assert_eq!(frames(&mut stream).await, expected);
    drop(stream);
    assert_idle(&host);
}

#[tokio::test]
async fn a_duplex_stream_answers_what_comes_in() {
    let (host, plugin) = load(&conformance_plugin());
    let (sid, mut chat) = plugin.call_stream("chat", b"you").await.unwrap();
    assert_eq!(plugin.send_stream_data(sid, b"one").unwrap(), NrStatus::Ok);
    assert_eq!(plugin.send_stream_data(sid, b"").unwrap(), NrStatus::Ok);
    assert_eq!(plugin.send_stream_data(sid, b"two 2").unwrap(), NrStatus::Ok);
    assert_eq!(plugin.close_stream(sid).unwrap(), NrStatus::Ok);
    let expected = [
        (NrStatus::Ok, b"hello you".to_vec()),
        (NrStatus::Ok, b"ONE".to_vec()),
        (NrStatus::Ok, Vec::new()),
        (NrStatus::Ok, b"TWO 2".to_vec()),
        (NrStatus::StreamEnd, Vec::new()),
    ];
    assert_eq!(frames(&mut chat).await, expected);
    assert_eq!(plugin.close_stream(sid).unwrap(), NrStatus::Invalid);
    assert_eq!(plugin.send_stream_data(sid, b"late").unwrap(), NrStatus::Invalid);
    drop(chat);
    assert_idle(&host);
}

#[tokio::test]
async fn a_closed_stream_takes_nothing_more() {
    let (host, plugin) = load_into(NylonRingHost::with_stream_capacity(1), &conformance_plugin());
    let (sid, mut chat) = plugin.call_stream("chat", b"").await.unwrap();
    assert_eq!(plugin.close_stream(sid).unwrap(), NrStatus::Ok);
    // There is no room for its end before the opening is read: it is closed, and not over.
    assert_eq!(plugin.close_stream(sid).unwrap(), NrStatus::Invalid);
    assert_eq!(plugin.send_stream_data(sid, b"late").unwrap(), NrStatus::Invalid);
    let expected = [(NrStatus::Ok, b"hello ".to_vec()), (NrStatus::StreamEnd, Vec::new())];
    assert_eq!(frames(&mut chat).await, expected);
    drop(chat);
    assert_idle(&host);
}

#[tokio::test]
async fn many_chats_do_not_mix() {
    let (host, plugin) = load(&conformance_plugin());
    let mut chats = tokio::task::JoinSet::new();
    for n in 0..8 {
        let plugin = plugin.clone();
        chats.spawn(async move {
            let name = format!("chat {n}");
            let (sid, mut chat) = plugin.call_stream("chat", name.as_bytes()).await.unwrap();
            assert_eq!(
                soon(chat.recv()).await.unwrap().data,
                format!("hello {name}").as_bytes()
            );
            for line in 0..50 {
                let line = format!("{name} line {line}");
                assert_eq!(plugin.send_stream_data(sid, line.as_bytes()).unwrap(), NrStatus::Ok);
                assert_eq!(soon(chat.recv()).await.unwrap().data, line.to_uppercase().as_bytes());
            }
            assert_eq!(plugin.close_stream(sid).unwrap(), NrStatus::Ok);
            assert_eq!(frames(&mut chat).await, [(NrStatus::StreamEnd, Vec::new())]);
        });
    }
    while let Some(chat) = soon(chats.join_next()).await {
        chat.unwrap();
    }
    assert_idle(&host);
}

#[tokio::test]
async fn what_takes_no_input_says_so() {
    let (host, plugin) = load(&conformance_plugin());
    assert_eq!(plugin.send_stream_data(NO_SUCH_SID, b"x").unwrap(), NrStatus::Invalid);
    assert_eq!(plugin.close_stream(NO_SUCH_SID).unwrap(), NrStatus::Invalid);
    let (sid, mut stream) = plugin.call_stream("endless", b"").await.unwrap();
    assert_eq!(soon(stream.recv()).await.unwrap().data, b"0");
    assert_eq!(plugin.send_stream_data(sid, b"x").unwrap(), NrStatus::Unsupported);
    assert_eq!(plugin.close_stream(sid).unwrap(), NrStatus::Ok);
    let seen = frames(&mut stream).await;
    let (end, before) = seen.split_last().unwrap();
    assert_eq!(*end, (NrStatus::StreamEnd, Vec::new()));
    assert_eq!(before, &numbers(before.len() as u64 + 1)[1..]);
    drop(stream);
    until(1, async || number(&plugin, "ended").await).await;
    assert_idle(&host);

    let (host, plain) = load(&plain_plugin());
    assert_eq!(
        plain.send_stream_data(NO_SUCH_SID, b"x").unwrap(),
        NrStatus::Unsupported
    );
    assert_eq!(plain.close_stream(NO_SUCH_SID).unwrap(), NrStatus::Unsupported);
    assert_idle(&host);
}

#[tokio::test]
async fn a_slow_reader_loses_nothing() {
    for capacity in [1, 2, 7] {
        let host = NylonRingHost::with_stream_capacity(capacity);
        let (host, plugin) = load_into(host, &conformance_plugin());
        for (entry, end) in [
            ("count", (NrStatus::StreamEnd, Vec::new())),
            ("count_fail", (NrStatus::Err, b"RuntimeError: broken".to_vec())),
        ] {
            let (_, mut stream) = plugin.call_stream(entry, b"200").await.unwrap();
            let mut seen = Vec::new();
            while let Some(frame) = soon(stream.recv()).await {
                seen.push((frame.status, frame.data));
                // The producer finds its buffer full while another call is made and answered.
                assert_eq!(answer(&plugin, "echo", b"x").await, (NrStatus::Ok, b"x".to_vec()));
            }
            let mut expected = numbers(200);
            expected.push(end);
            assert_eq!(seen, expected);
        }
        assert_idle(&host);
    }
}

#[tokio::test]
async fn input_is_taken_while_nobody_reads_the_output() {
    let (host, plugin) = load_into(NylonRingHost::with_stream_capacity(1), &conformance_plugin());
    let (sid, mut chat) = plugin.call_stream("chat", b"").await.unwrap();
    let mut expected = vec![(NrStatus::Ok, b"hello ".to_vec())];
    for n in 0..50 {
        let line = format!("line {n}");
        loop {
            match plugin.send_stream_data(sid, line.as_bytes()).unwrap() {
                NrStatus::Ok => break,
                // Not taken: a plugin may bound its inbox. Reading makes room.
                NrStatus::Backpressure => {
                    let frame = soon(chat.recv()).await.unwrap();
                    assert_eq!((frame.status, frame.data), expected.remove(0));
                }
                other => panic!("data was answered {other:?}"),
            }
        }
        expected.push((NrStatus::Ok, line.to_uppercase().into_bytes()));
    }
    assert_eq!(plugin.close_stream(sid).unwrap(), NrStatus::Ok);
    expected.push((NrStatus::StreamEnd, Vec::new()));
    assert_eq!(frames(&mut chat).await, expected);
    drop(chat);
    assert_idle(&host);
}

#[tokio::test]
async fn a_dropped_receiver_stops_its_producer() {
    let (host, plugin) = load(&conformance_plugin());
    for dropped in 1..=3u64 {
        let (_, mut stream) = plugin.call_stream("endless", b"").await.unwrap();
        for expected in numbers(100) {
            let frame = soon(stream.recv()).await.unwrap();
            assert_eq!((frame.status, frame.data), expected);
        }
        drop(stream);
        assert_idle(&host);
        until(dropped, async || number(&plugin, "ended").await).await;
    }
}

#[tokio::test]
async fn a_receiver_that_is_dropped_unread_stops_its_producer() {
    let (host, plugin) = load_into(NylonRingHost::with_stream_capacity(1), &conformance_plugin());
    drop(plugin.call_stream("endless", b"").await.unwrap());
    assert_idle(&host);
    until(1, async || number(&plugin, "ended").await).await;
}

#[tokio::test]
async fn a_chat_without_its_receiver_is_closed_by_the_next_answer() {
    let (host, plugin) = load(&conformance_plugin());
    let (sid, mut chat) = plugin.call_stream("chat", b"").await.unwrap();
    assert_eq!(soon(chat.recv()).await.unwrap().data, b"hello ");
    drop(chat);
    until(NrStatus::Invalid, async || {
        plugin.send_stream_data(sid, b"anyone?").unwrap()
    })
    .await;
    assert_idle(&host);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_of_many_tasks_are_whole() {
    let (host, plugin) = load_into(NylonRingHost::with_stream_capacity(8), &conformance_plugin());
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..12u64 {
        let plugin = plugin.clone();
        readers.spawn(async move {
            for n in 0..20 {
                let count = reader * n;
                let (_, mut stream) = plugin.call_stream("count", count.to_string().as_bytes()).await.unwrap();
                assert_eq!(frames(&mut stream).await, counted(count));
            }
        });
    }
    while let Some(reader) = soon(readers.join_next()).await {
        reader.unwrap();
    }
    assert_idle(&host);
}
