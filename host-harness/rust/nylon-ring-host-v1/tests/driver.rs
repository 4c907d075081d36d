//! The command's `drive` with the conformance suite's native plugin.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/driver.rs"]
mod driver;
mod support;

use driver::{Driver, frames, plugin, sid};

const OK: u64 = 0;
const ERR: u64 = 1;
const INVALID: u64 = 2;
const UNSUPPORTED: u64 = 3;
const STREAM_END: u64 = 4;

#[test]
fn what_it_says_of_itself() {
    let mut driver = Driver::start();
    let hello = driver.ok("hello");
    assert_eq!(hello["host"], "rust-v1");
    assert_eq!(hello["abi"], serde_json::json!(["v1", "v1-raw"]));
    assert!(hello["cannot"]["id"].is_string());
    assert_eq!(driver.error("sing"), "there is no verb sing");
    assert_eq!(driver.error("call entry=echo"), "no plugin is loaded as main");
    assert_eq!(driver.error("load path=x abi=v2"), "this host does not speak v2");
    assert_eq!(driver.error("join job=1"), "there is no job 1");
    assert!(driver.ok("rss")["rss_kib"].as_u64().unwrap() > 0);
    assert_eq!(driver.quit(), Some(0));
}

#[test]
fn loading() {
    let mut driver = Driver::with_plugin("v1");
    let refused = driver.ask(&format!("load path={} plugin=other", plugin("refuses")));
    assert_eq!(
        (&refused["init"], &refused["ok"]),
        (&ERR.into(), &serde_json::Value::Null)
    );
    assert!(
        driver
            .error("load path=/nowhere.so plugin=other")
            .starts_with("cannot load /nowhere.so")
    );
    assert_eq!(driver.error("load path=x"), "a plugin is loaded as main already");
    driver.ok(&format!("load path={} plugin=other", plugin("plain")));
    assert_eq!(
        driver.frames("call plugin=other entry=echo_sync body=x"),
        [(OK, "x".into())]
    );
    assert_eq!(
        driver.ok("stream_data plugin=other sid=1 body=x")["status"],
        UNSUPPORTED
    );
    driver.ok("unload plugin=other");
    assert_eq!(driver.error("unload plugin=other"), "no plugin is loaded as other");
    assert_eq!(driver.quit(), Some(0));
}

#[test]
fn what_plugins_print_is_no_answer() {
    let mut driver = Driver::start();
    let library = support::noisy_library();
    let why = driver.error(&format!("load path={}", library.display()));
    assert!(why.contains("nylon_ring_get_plugin_v1"), "{why}");
    assert_eq!(driver.quit(), Some(0));
}

#[test]
fn unary_calls_by_every_door() {
    for abi in ["v1", "v1-raw"] {
        let mut driver = Driver::with_plugin(abi);
        for line in [
            "entry=echo",
            "entry=echo door=raw",
            "entry=echo_sync door=fast",
            "entry=raw_sync door=raw",
        ] {
            assert_eq!(
                driver.frames(&format!("call body=a%20b {line}")),
                [(OK, "a b".into())],
                "{abi} {line}"
            );
        }
        let late = driver.ok("call entry=echo door=fast");
        assert_eq!(
            (&late["handle"], &late["ended"], &late["timeout"]),
            (&0.into(), &false.into(), &false.into())
        );
        let unknown = driver.ok("call entry=nope");
        assert_eq!(
            (&unknown["handle"], unknown["frames"].as_array().unwrap().len()),
            (&INVALID.into(), 0)
        );
        let metadata = "method=PUT path=/%C3%A4 query=a=1 hkey=k hval=v hkey=k hval=%C3%A4";
        assert_eq!(
            driver.frames(&format!("call entry=describe {metadata}")),
            [(OK, "PUT\n/ä\na=1\n2\nk: v\nk: ä\n".into())]
        );
        assert_eq!(
            driver.frames("call entry=describe door=raw"),
            [(OK, "no request\n".into())]
        );
        assert_eq!(driver.frames("call entry=fail body=x"), [(ERR, "ValueError: x".into())]);
        assert_eq!(
            driver.frames("call entry=fail_sync body=x"),
            [(ERR, "ValueError: x".into())]
        );
        for status in [ERR, INVALID, UNSUPPORTED] {
            assert_eq!(
                driver.frames(&format!("call entry=status body={status}")),
                [(status, "as asked".into())]
            );
        }
        assert!(driver.error("call entry=echo door=id").contains("by number"));
        assert_eq!(driver.quit(), Some(0));
    }
}

#[test]
fn long_bodies_by_length_and_checksum() {
    let mut driver = Driver::with_plugin("v1");
    let long = driver.ok("call entry=echo body_size=70000");
    let frame = &long["frames"][0];
    let body: Vec<u8> = (0..70_000_u32).map(|at| (at % 251) as u8).collect();
    assert_eq!(
        (&frame["len"], &frame["hex"]),
        (&70_000.into(), &serde_json::Value::Null)
    );
    assert_eq!(frame["crc32"], crc32fast::hash(&body));
    assert_eq!(driver.quit(), Some(0));
}

#[test]
fn state_is_the_hosts() {
    let mut driver = Driver::with_plugin("v1");
    assert_eq!(driver.frames("call entry=state body=kept"), [(OK, "kept".into())]);
    assert_eq!(driver.frames("call entry=state_peek body=x"), [(OK, String::new())]);
    assert_eq!(driver.ok("state_count")["count"], 0);
    assert_eq!(driver.quit(), Some(0));
}

#[test]
fn held_calls_are_waited_for_and_dropped() {
    let mut driver = Driver::with_plugin("v1");
    let (first, second, third) = (
        sid(&driver.ok("submit entry=held body=one")),
        sid(&driver.ok("submit entry=held body=two")),
        sid(&driver.ok("submit entry=held body=three")),
    );
    assert_eq!(driver.ok(&format!("wait sid={first} timeout=0.01"))["timeout"], true);
    driver.ok(&format!("drop sid={second}"));
    assert_eq!(
        driver.error(&format!("wait sid={second}")),
        format!("no call with sid {second} is in progress")
    );
    assert_eq!(driver.frames("call entry=let_go"), [(OK, "3".into())]);
    assert_eq!(driver.frames(&format!("wait sid={first}")), [(OK, "one".into())]);
    assert_eq!(driver.frames(&format!("wait sid={third}")), [(OK, "three".into())]);
    let left = sid(&driver.ok("submit entry=held body=four"));
    driver.ok("unload");
    assert_eq!(driver.frames(&format!("wait sid={left}"))[0].0, ERR);
    assert_eq!(driver.quit(), Some(0));
}

#[test]
fn streams_from_the_plugin() {
    let mut driver = Driver::with_plugin("v1");
    let text = |status, text: &str| (status, text.to_owned());
    assert_eq!(
        driver.frames("call kind=stream entry=count body=2"),
        [text(OK, "0"), text(OK, "1"), text(STREAM_END, "")]
    );
    assert_eq!(
        driver.frames("call kind=stream entry=count_fail body=1 door=raw"),
        [text(OK, "0"), text(ERR, "RuntimeError: broken")]
    );
    let endless = sid(&driver.ok("submit kind=stream entry=endless"));
    let begun = driver.ok(&format!("wait sid={endless} frames=3"));
    assert_eq!((frames(&begun).len(), &begun["ended"]), (3, &false.into()));
    assert_eq!(
        driver.ok(&format!("stream_data sid={endless} body=x"))["status"],
        UNSUPPORTED
    );
    assert_eq!(driver.ok(&format!("stream_close sid={endless}"))["status"], OK);
    assert_eq!(
        driver.frames(&format!("wait sid={endless}")).last(),
        Some(&text(STREAM_END, ""))
    );
    assert_eq!(driver.ok(&format!("stream_close sid={endless}"))["status"], INVALID);
    let dropped = sid(&driver.ok("submit kind=stream entry=endless"));
    driver.ok(&format!("drop sid={dropped}"));
    let ended = |driver: &mut Driver| driver.frames("call entry=ended")[0].1.clone();
    while ended(&mut driver) != "2" {
        std::thread::yield_now(); // the stream ends on its own thread
    }
    assert_eq!(driver.quit(), Some(0));
}

#[test]
fn streams_both_ways() {
    let mut driver = Driver::with_plugin("v1-raw");
    let chat = sid(&driver.ok("submit kind=stream entry=chat body=you"));
    for body in ["one", "two"] {
        assert_eq!(driver.ok(&format!("stream_data sid={chat} body={body}"))["status"], OK);
    }
    assert_eq!(driver.ok(&format!("stream_close sid={chat}"))["status"], OK);
    let expected = [(OK, "hello you"), (OK, "ONE"), (OK, "TWO"), (STREAM_END, "")];
    assert_eq!(
        driver.frames(&format!("wait sid={chat}")),
        expected.map(|(status, text)| (status, text.to_owned()))
    );
    assert_eq!(driver.ok("stream_data sid=99 body=x")["status"], INVALID);
    assert_eq!(driver.quit(), Some(0));
}

#[test]
fn a_storm() {
    let mut driver = Driver::with_plugin("v1");
    for line in [
        "entry=echo",
        "entry=echo_sync door=fast",
        "entry=raw_echo door=raw body_size=5000",
    ] {
        let counts = driver.ok(&format!("storm threads=4 calls=2000 {line}"));
        let expected = [
            ("accepted", 2000),
            ("replies", 2000),
            ("refused", 0),
            ("wrong", 0),
            ("lost", 0),
        ];
        assert_eq!(
            expected.map(|(name, _)| (name, counts[name].as_u64().unwrap())),
            expected,
            "{line}"
        );
    }
    let wrong = driver.ok("storm threads=2 calls=10 entry=describe");
    assert_eq!((&wrong["replies"], &wrong["wrong"]), (&10.into(), &10.into()));
    let refused = driver.ok("storm threads=2 calls=10 entry=nope");
    assert_eq!((&refused["accepted"], &refused["refused"]), (&0.into(), &10.into()));
    assert_eq!(driver.quit(), Some(0));
}

#[test]
fn a_storm_until_the_plugin_is_unloaded() {
    let mut driver = Driver::with_plugin("v1");
    let job = driver.ok("storm entry=echo threads=4 until=unload async=1")["job"].clone();
    driver.ok("unload");
    let counts = driver.ok(&format!("join job={job}"));
    assert_eq!(counts["accepted"], counts["replies"]);
    assert_eq!((&counts["wrong"], &counts["lost"]), (&0.into(), &0.into()));
    assert!(counts["accepted"].as_u64().unwrap() > 0, "{counts}");
    assert_eq!(driver.quit(), Some(0));
}

#[test]
fn reloads_under_traffic() {
    for abi in ["v1", "v1-raw"] {
        let mut driver = Driver::with_plugin(abi);
        let counts = driver.ok("reload n=40 threads=4 entry=echo");
        assert_eq!(
            (&counts["reloads"], counts["rss_kib"].as_array().unwrap().len()),
            (&40.into(), 10)
        );
        assert_eq!(counts["accepted"], counts["replies"], "{counts}");
        assert_eq!((&counts["wrong"], &counts["lost"]), (&0.into(), &0.into()), "{counts}");
        assert!(counts["replies"].as_u64().unwrap() >= 160, "{counts}");
        assert_eq!(driver.frames("call entry=echo body=after"), [(OK, "after".into())]);
        assert_eq!(driver.quit(), Some(0));
    }
}

#[test]
fn a_reload_is_a_new_instance() {
    let mut driver = Driver::with_plugin("v1");
    let held = sid(&driver.ok("submit entry=held body=old"));
    driver.ok("reload n=1 threads=0");
    assert_eq!(driver.frames(&format!("wait sid={held}"))[0].0, ERR);
    assert_eq!(driver.frames("call entry=let_go"), [(OK, "0".into())]);
    assert_eq!(driver.quit(), Some(0));
}
