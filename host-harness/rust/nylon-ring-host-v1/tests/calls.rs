//! Unary, raw and fast calls, and what goes wrong with them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::Arc;

use nylon_ring_host_v1::{HighLevelRequest, Layout, NrStatus, NylonRingHost, NylonRingHostError as Error};
use support::{assert_idle, c_plugin, c_plugin_raw, faulty_plugin, load, request, soon};

fn text(reply: (NrStatus, Vec<u8>)) -> (NrStatus, String) {
    (reply.0, String::from_utf8(reply.1).unwrap())
}

#[tokio::test]
async fn unary_inside_handle_and_later() {
    let host = load(&c_plugin());
    assert_eq!((host.plugin_name(), host.plugin_version()), ("c_plugin", "1.0.0"));
    for entry in ["echo", "deferred"] {
        let reply = soon(host.call(entry, request(b"h\0i \xff"))).await.unwrap();
        assert_eq!(reply, (NrStatus::Ok, b"h\0i \xff".to_vec()));
    }
    assert_idle(&host);
}

#[tokio::test]
async fn every_field_arrives() {
    let host = load(&c_plugin());
    let mut sent = HighLevelRequest {
        method: "PUT".into(),
        path: "/ä b".into(),
        query: "q=%20".into(),
        headers: vec![("k".into(), "v".into()), ("k".into(), "w".into())],
        body: b"123".to_vec(),
        ..Default::default()
    };
    sent.extensions.insert(7_u64);
    let reply = host.call("info", sent).await.unwrap();
    assert_eq!(text(reply).1, "PUT /ä b?q=%20 headers=2 body=3 k=v k=w");
    let reply = host.call("info", HighLevelRequest::default()).await.unwrap();
    assert_eq!(text(reply).1, " ? headers=0 body=0");
}

#[tokio::test]
async fn raw_has_no_request_in_either_layout() {
    for (file, layout) in [(c_plugin(), Layout::Seed), (c_plugin_raw(), Layout::Raw)] {
        let host = NylonRingHost::load_with(file, layout).unwrap();
        assert_eq!(
            host.call_raw("echo", b"six").await.unwrap(),
            (NrStatus::Ok, b"six".to_vec())
        );
        assert_eq!(text(host.call_raw("info", b"").await.unwrap()).1, "no request");
        assert_eq!(
            host.call_raw_unary_fast("echo", b"six").await.unwrap(),
            (NrStatus::Ok, b"six".to_vec())
        );
        assert_eq!(
            text(host.call("info", request(b"")).await.unwrap()).1,
            " ? headers=0 body=0"
        );
        assert_idle(&host);
    }
}

#[tokio::test]
async fn the_six_function_layout_has_a_door_for_raw_calls() {
    let host = NylonRingHost::load_with(faulty_plugin(&["-DRAW"]), Layout::Raw).unwrap();
    assert_eq!(text(host.call_raw("any", b"").await.unwrap()).1, "handle_raw");
    assert_eq!(
        text(host.call_raw_unary_fast("any", b"").await.unwrap()).1,
        "handle_raw"
    );
    assert!(matches!(
        host.call("any", request(b"")).await,
        Err(Error::Refused(NrStatus::Invalid))
    ));
}

#[tokio::test]
async fn a_reply_says_its_status_and_a_refusal_is_an_error() {
    let host = load(&c_plugin());
    let reply = host.call("error", request(b"")).await.unwrap();
    assert_eq!(text(reply), (NrStatus::Err, "Error: on purpose".to_owned()));
    for (entry, status) in [("no such entry", NrStatus::Invalid), ("refuse", NrStatus::Unsupported)] {
        assert!(matches!(soon(host.call(entry, request(b""))).await, Err(Error::Refused(s)) if s == status));
        assert!(matches!(soon(host.call_raw(entry, b"")).await, Err(Error::Refused(s)) if s == status));
        assert!(matches!(soon(host.call_raw_unary_fast(entry, b"")).await, Err(Error::Refused(s)) if s == status));
        assert!(matches!(soon(host.call_stream(entry, request(b""))).await, Err(Error::Refused(s)) if s == status));
    }
    // A plugin that answers and refuses: the refusal counts, and the answer is for nobody.
    assert!(matches!(
        host.call("reply_and_refuse", request(b"")).await,
        Err(Error::Refused(NrStatus::Err))
    ));
    assert!(matches!(
        host.call_raw_unary_fast("reply_and_refuse", b"").await,
        Err(Error::Refused(NrStatus::Err))
    ));
    assert_idle(&host);
}

#[tokio::test]
async fn fast_needs_the_reply_inside_handle() {
    let host = load(&c_plugin());
    for entry in ["deferred", "lose_reply"] {
        assert!(
            matches!(host.call_raw_unary_fast(entry, b"").await, Err(Error::NoReplyInside)),
            "{entry}"
        );
    }
    let elsewhere = load(&faulty_plugin(&[]));
    let reply = elsewhere.call_raw_unary_fast("answers_elsewhere", b"").await;
    assert!(matches!(reply, Err(Error::NoReplyInside)));
    assert_idle(&host);
    assert_idle(&elsewhere);
}

#[tokio::test]
async fn fast_takes_its_own_reply_only() {
    let host = load(&c_plugin());
    let (sid, mut held) = host.call_stream("hold", request(b"")).await.unwrap();
    // "stranger" answers the held call first, from inside this one.
    let reply = host
        .call_raw_unary_fast("stranger", sid.to_string().as_bytes())
        .await
        .unwrap();
    assert_eq!(text(reply).1, "mine");
    assert_eq!(soon(held.recv()).await.unwrap().data, b"from a stranger");
    assert_eq!(
        text(host.call_raw_unary_fast("unknown_sid", b"").await.unwrap()).1,
        "mine"
    );
    drop(host); // answers the held call
    assert_eq!(soon(held.recv()).await.unwrap().status, NrStatus::Err);
}

#[tokio::test]
async fn what_a_v1_plugin_must_not_send_ends_its_call_all_the_same() {
    let host = load(&faulty_plugin(&[]));
    let (status, why) = text(host.call("null_payload", request(b"")).await.unwrap());
    assert_eq!(
        (status, why.as_str()),
        (NrStatus::Err, "the plugin sent a payload that cannot be read")
    );
    assert_eq!(
        text(host.call_raw_unary_fast("null_payload", b"").await.unwrap()).0,
        NrStatus::Err
    );
    assert_eq!(
        host.call("status_7", request(b"")).await.unwrap(),
        (NrStatus(7), b"seven".to_vec())
    );
    let (_, mut stream) = host.call_stream("status_7", request(b"")).await.unwrap();
    assert_eq!(
        support::frames(&mut stream).await,
        [support::frame(NrStatus(7), b"seven")]
    );
    assert!(matches!(
        host.call("refuse_with_7", request(b"")).await,
        Err(Error::Refused(NrStatus(7)))
    ));
    assert_idle(&host);
}

#[tokio::test]
async fn a_dropped_future_leaves_nothing_and_its_reply_is_ignored() {
    let host = load(&faulty_plugin(&[]));
    {
        let call = host.call("keep", request(b""));
        tokio::pin!(call);
        let waits = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
        assert!(waits);
        let stats = host.stats();
        assert_eq!((stats.calls, stats.state_values), (1, 1));
    }
    assert_idle(&host);
    // Now the reply comes: it is for nobody.
    assert_eq!(host.call("release", request(b"")).await.unwrap().0, NrStatus::Ok);
    assert_idle(&host);
}

#[tokio::test]
async fn a_second_reply_is_ignored() {
    let host = load(&c_plugin());
    assert_eq!(
        text(soon(host.call("double_reply", request(b""))).await.unwrap()).1,
        "one"
    );
    assert!(matches!(
        host.call("reply_after_refuse", request(b"")).await,
        Err(Error::Refused(NrStatus::Invalid))
    ));
    drop(host); // joins the threads that send too much
}

#[tokio::test]
async fn big_bodies() {
    let host = load(&c_plugin());
    let big: Vec<u8> = (0..8_u32 << 20).map(|n| (n % 251) as u8).collect();
    for entry in ["echo", "deferred"] {
        assert!(soon(host.call(entry, request(&big))).await.unwrap().1 == big);
    }
    assert!(host.call_raw_unary_fast("echo", &big).await.unwrap().1 == big);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_callers_each_get_their_own() {
    let host = Arc::new(load(&c_plugin()));
    let callers: Vec<_> = (0..16_u32)
        .map(|caller| {
            let host = Arc::clone(&host);
            tokio::spawn(async move {
                for n in 0..200_u32 {
                    let body = format!("{caller} {n}").into_bytes();
                    let reply = match n % 4 {
                        0 => host.call("deferred", request(&body)).await,
                        1 => host.call("echo", request(&body)).await,
                        2 => host.call_raw("echo", &body).await,
                        _ => host.call_raw_unary_fast("echo", &body).await,
                    };
                    assert_eq!(reply.unwrap(), (NrStatus::Ok, body));
                }
            })
        })
        .collect();
    for caller in callers {
        soon(caller).await.unwrap();
    }
    assert_idle(&host);
}
