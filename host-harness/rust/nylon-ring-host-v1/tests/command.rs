//! The command, as a person types it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::process::Command;

/// Exit code, stdout, stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_nylon-ring-host"))
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (
        done.status.code().expect("no signal"),
        text(done.stdout),
        text(done.stderr),
    )
}

#[test]
fn call_of_each_kind() {
    let plugin = support::c_plugin();
    let plugin = plugin.to_str().unwrap();
    let fields = [
        "--method", "PUT", "--path", "/p", "--query", "q", "--header", "k: v", "--body", "123",
    ];
    let (code, out, _) = run(&[["call", plugin, "info"].as_slice(), &fields].concat());
    assert_eq!(
        (code, out.as_str()),
        (0, "Ok, 29 bytes: PUT /p?q headers=1 body=3 k=v\n")
    );
    for kind in ["--raw", "--fast"] {
        let (code, out, _) = run(&["call", plugin, "echo", kind, "--body", "hi"]);
        assert_eq!((code, out.as_str()), (0, "Ok, 2 bytes: hi\n"));
    }
    let (code, out, _) = run(&["call", plugin, "error"]);
    assert_eq!((code, out.as_str()), (1, "Err, 17 bytes: Error: on purpose\n"));
    let (code, _, why) = run(&["call", plugin, "nope"]);
    assert_eq!(
        (code, why.as_str()),
        (1, "nylon-ring-host: the plugin refused the call: Invalid\n")
    );
    let (code, _, why) = run(&["call", plugin, "lose_reply", "--timeout", "0.01"]);
    assert_eq!((code, why.as_str()), (1, "nylon-ring-host: no reply within 0.01 s\n"));
}

#[test]
fn the_six_function_layout_is_named() {
    let plugin = support::c_plugin_raw();
    let plugin = plugin.to_str().unwrap();
    let (code, out, _) = run(&["call", plugin, "echo", "--raw", "--layout", "raw", "--body", "six"]);
    assert_eq!((code, out.as_str()), (0, "Ok, 3 bytes: six\n"));
}

#[test]
fn a_plugin_that_writes_into_a_closed_pipe_gets_an_error() {
    let plugin = support::c_plugin();
    let (code, out, _) = run(&["call", plugin.to_str().unwrap(), "sigpipe"]);
    assert_eq!((code, out.as_str()), (0, "Ok, 5 bytes: EPIPE\n"));
}

#[test]
fn plugins_find_the_state_functions() {
    let plugin = support::c_plugin();
    let (code, out, _) = run(&["call", plugin.to_str().unwrap(), "state", "--body", "kept"]);
    assert_eq!((code, out.as_str()), (0, "Ok, 4 bytes: kept\n"));
}

#[test]
fn streams_both_ways() {
    let plugin = support::c_plugin();
    let plugin = plugin.to_str().unwrap();
    let (code, out, _) = run(&["stream", plugin, "stream", "--body", "2"]);
    assert_eq!(
        (code, out.as_str()),
        (0, "Ok, 7 bytes: frame 0\nOk, 7 bytes: frame 1\nStreamEnd, 0 bytes\n")
    );
    let (code, out, _) = run(&["stream", plugin, "duplex", "--send", "one", "--send", "two", "--close"]);
    assert_eq!(
        (code, out.as_str()),
        (0, "Ok, 3 bytes: one\nOk, 3 bytes: two\nStreamEnd, 0 bytes\n")
    );
    assert_eq!(run(&["stream", plugin, "error"]).0, 1);
}

#[test]
fn bench_of_each_kind() {
    let plugin = support::c_plugin();
    let plugin = plugin.to_str().unwrap();
    for (kind, entry, calls) in [
        ("unary", "echo", 100),
        ("raw", "echo", 100),
        ("fast", "echo", 100),
        ("stream", "burst", 102),
    ] {
        let (code, out, why) = run(&["bench", plugin, entry, "--kind", kind, "--calls", "100", "--json"]);
        assert_eq!((code, why.as_str()), (0, ""));
        let per = if kind == "stream" { "frame" } else { "call" };
        let start = format!(
            "{{\"kind\": \"{kind}\", \"entry\": \"{entry}\", \"per\": \"{per}\", \"calls\": {calls}, \"ns_per_call\": "
        );
        assert!(out.starts_with(&start), "{out}");
    }
    for (kind, entry) in [("raw", "echo"), ("stream", "burst")] {
        let options = [
            "bench", plugin, entry, "--kind", kind, "--calls", "10", "--reply", "1000",
        ];
        let (code, _, why) = run(&options);
        assert_eq!(code, 1);
        assert!(why.ends_with("not the 1000 of --reply\n"), "{why}");
    }
    let (code, _, why) = run(&["bench", plugin, "error", "--kind", "raw"]);
    assert_eq!(
        (code, why.as_str()),
        (1, "nylon-ring-host: the call was answered Err: Error: on purpose\n")
    );
}

#[test]
fn wrong_usage_is_told() {
    let cases: [(&[&str], &str); 6] = [
        (&["sing"], "no such command: sing"),
        (&["call", "p.so"], "ENTRY is missing"),
        (&["call", "p.so", "e", "--send", "x"], "no such option: --send"),
        (&["call", "p.so", "e", "--header", "x"], "--header wants K:V, got \"x\""),
        (&["bench", "p.so", "e"], "bench wants --kind"),
        (
            &["bench", "p.so", "e", "--calls", "many"],
            "--calls wants a number, got \"many\"",
        ),
    ];
    for (arguments, reason) in cases {
        let (code, _, why) = run(arguments);
        assert_eq!(code, 2);
        assert!(why.starts_with(&format!("nylon-ring-host: {reason}\n\n")), "{why}");
    }
    assert_eq!(run(&["--help"]).0, 0);
    assert_eq!(run(&["call", "missing.so", "e"]).0, 1);
}
