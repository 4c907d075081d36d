//! The command: the conformance driver's conversation, and what bench prints.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)] // helpers of tests count as no tests

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::{Value, json};
use support::{conformance_plugin, plain_plugin, refusing_plugin};

const COMMAND: &str = env!("CARGO_BIN_EXE_nylon-ring-crates");

struct Driver {
    child: Child,
    lines: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Driver {
    fn start() -> Self {
        let mut child = Command::new(COMMAND)
            .arg("drive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, answers }
    }

    fn loaded() -> Self {
        let mut driver = Self::start();
        driver.is_ok(&format!("load path={} abi=v2", conformance_plugin()));
        driver
    }

    fn ask(&mut self, line: &str) -> Value {
        writeln!(self.lines, "{line}").unwrap();
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }

    fn is_ok(&mut self, line: &str) -> Value {
        let answer = self.ask(line);
        assert_eq!(answer["ok"], true, "{line}: {answer}");
        answer
    }

    fn refuses(&mut self, line: &str) -> Value {
        let answer = self.ask(line);
        assert!(answer["error"].is_string(), "{line}: {answer}");
        answer
    }

    /// A call of one reply: its status and its bytes in hex.
    fn reply(&mut self, line: &str) -> (u64, String) {
        let answer = self.is_ok(line);
        assert_eq!(answer["ended"], true, "{line}: {answer}");
        let frame = &answer["frames"][0];
        let hex = frame["hex"].as_str().unwrap().to_owned();
        (frame["status"].as_u64().unwrap(), hex)
    }

    /// Lets held calls go until so many are gone: a pooled entry may begin after its `handle` has returned.
    fn let_go(&mut self, calls: u64) {
        let mut gone = 0;
        while gone < calls {
            let (_, hex) = self.reply("call entry=let_go");
            gone += hex.strip_prefix('3').unwrap().parse::<u64>().unwrap(); // one digit, in ASCII
        }
    }

    fn quit(mut self) {
        self.is_ok("quit");
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn the_driver_says_what_it_is() {
    let mut driver = Driver::start();
    let hello = driver.is_ok("hello");
    assert_eq!(hello["abi"], json!(["v2"]));
    for can in [
        "fast",
        "id",
        "duplex",
        "reload",
        "backpressure",
        "drop_unary",
        "drop_stops",
    ] {
        assert!(hello["cannot"][can].is_null(), "{can}");
    }
    for cannot in ["metadata", "raw", "state", "answer_at_unload"] {
        assert!(hello["cannot"][cannot].is_string(), "{cannot}");
    }
    driver.quit();
}

#[test]
fn calls_go_in_by_every_door() {
    let mut driver = Driver::loaded();
    for door in ["handle", "fast", "id"] {
        let reply = driver.reply(&format!("call entry=echo_sync door={door} body=%00ab"));
        assert_eq!(reply, (0, "006162".to_owned()));
    }
    assert_eq!(
        driver.reply("call entry=fail body=no"),
        (1, "56616c75654572726f723a206e6f".to_owned())
    );
    let unknown = driver.is_ok("call entry=nowhere");
    assert_eq!((&unknown["handle"], &unknown["frames"]), (&json!(2), &json!([])));
    let no_reply = driver.is_ok("call entry=held door=fast");
    assert_eq!(
        (&no_reply["handle"], &no_reply["ended"]),
        (&json!(0), &Value::Bool(false))
    );
    driver.refuses("call entry=echo door=raw");
    driver.refuses("call entry=count kind=stream door=fast body=1");
    driver.refuses("call entry=nowhere door=id");
    driver.quit();
}

#[test]
fn calls_are_held_waited_for_and_dropped() {
    let mut driver = Driver::loaded();
    let kept = driver.is_ok("submit entry=held body=kept")["sid"].clone();
    let dropped = driver.is_ok("submit entry=held body=dropped")["sid"].clone();
    driver.is_ok(&format!("drop sid={dropped}"));
    assert_eq!(driver.is_ok(&format!("wait sid={kept} timeout=0.01"))["timeout"], true);
    driver.let_go(2);
    assert_eq!(driver.reply(&format!("wait sid={kept}")), (0, "6b657074".to_owned()));
    driver.refuses(&format!("wait sid={kept}"));
    driver.quit();
}

#[test]
fn streams_are_read_fed_closed_and_dropped() {
    let mut driver = Driver::loaded();
    for door in ["handle", "id"] {
        let count = driver.is_ok(&format!("call entry=count kind=stream body=3 door={door}"));
        let statuses: Vec<_> = count["frames"]
            .as_array()
            .unwrap()
            .iter()
            .map(|f| &f["status"])
            .collect();
        assert_eq!(statuses, [0, 0, 0, 4]);
    }
    let chat = driver.is_ok("submit entry=chat kind=stream body=you")["sid"].clone();
    assert_eq!(driver.is_ok(&format!("stream_data sid={chat} body=hey"))["status"], 0);
    assert_eq!(driver.is_ok(&format!("stream_close sid={chat}"))["status"], 0);
    let frames = driver.is_ok(&format!("wait sid={chat}"));
    assert_eq!(frames["frames"][1]["hex"], "484559");
    assert_eq!(driver.is_ok(&format!("stream_close sid={chat}"))["status"], 2);
    let endless = driver.is_ok("submit entry=endless kind=stream")["sid"].clone();
    driver.is_ok(&format!("wait sid={endless} frames=5"));
    driver.is_ok(&format!("drop sid={endless}"));
    while driver.reply("call entry=ended").1 != "31" {
        std::thread::yield_now(); // the producer is told by its next send
    }
    driver.is_ok("reload entry=echo n=1 threads=1");
    assert_eq!(driver.reply("call entry=ended").1, "30", "another instance");
    driver.quit();
}

#[test]
fn plugins_are_loaded_by_name_and_refused_with_their_status() {
    let mut driver = Driver::loaded();
    let refused = driver.refuses(&format!("load path={} plugin=refuses", refusing_plugin()));
    assert_ne!(refused["init"].as_u64().unwrap(), 0);
    driver.refuses("load path=/nowhere plugin=other");
    driver.is_ok(&format!("load path={} plugin=plain", plain_plugin()));
    assert_eq!(
        driver.is_ok("stream_close sid=1 plugin=plain")["status"],
        3,
        "no stream entry"
    );
    driver.is_ok("unload");
    driver.refuses("call entry=echo");
    assert_eq!(
        driver.reply("call entry=echo_sync body=x plugin=plain"),
        (0, "78".to_owned())
    );
    driver.quit();
}

#[test]
fn an_unloaded_plugin_leaves_no_thread() {
    let mut driver = Driver::loaded();
    let mut before = None;
    for _ in 0..5 {
        driver.reply("call entry=echo body=x");
        driver.is_ok("unload");
        // A thread that was joined is listed a while longer.
        let mut threads = (0..1000).map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            driver.is_ok("rss")["threads"].as_u64().unwrap()
        });
        match before {
            None => before = threads.by_ref().take(10).min(),
            Some(before) => assert!(threads.any(|now| now <= before), "more than {before}"),
        }
        driver.is_ok(&format!("load path={}", conformance_plugin()));
    }
    driver.quit();
}

#[test]
fn storms_and_reloads_lose_nothing() {
    let mut driver = Driver::loaded();
    let storm = driver.is_ok("storm entry=echo threads=4 calls=400");
    assert_eq!(
        (&storm["accepted"], &storm["replies"], &storm["wrong"], &storm["lost"]),
        (&json!(400), &json!(400), &json!(0), &json!(0))
    );
    let reload = driver.is_ok("reload entry=echo n=20 threads=4");
    assert_eq!(reload["reloads"], 20);
    assert_eq!(reload["accepted"], reload["replies"]);
    assert_eq!((&reload["wrong"], &reload["lost"]), (&json!(0), &json!(0)));
    let job = driver.is_ok("storm entry=echo threads=4 until=unload async=1")["job"].clone();
    driver.is_ok("storm entry=echo threads=2 calls=100");
    driver.is_ok("unload");
    let storm = driver.is_ok(&format!("join job={job}"));
    assert_eq!(storm["accepted"], storm["replies"]);
    driver.quit();
}

/// What is sent into a stream goes to the instance that it is open at.
#[test]
fn a_stream_s_input_after_a_reload() {
    let mut driver = Driver::loaded();
    let sid = driver.is_ok("submit entry=chat kind=stream body=you")["sid"].clone();
    driver.is_ok("reload n=1 threads=0");
    assert_eq!(driver.is_ok(&format!("stream_data sid={sid} body=a"))["status"], 0);
    assert_eq!(driver.is_ok(&format!("stream_close sid={sid}"))["status"], 0);
    let waited = driver.is_ok(&format!("wait sid={sid}"));
    let frames = waited["frames"].as_array().unwrap();
    let texts: Vec<_> = frames.iter().map(|frame| frame["hex"].as_str().unwrap()).collect();
    assert_eq!(texts, ["68656c6c6f20796f75", "41", ""], "{waited}");
    assert_eq!(driver.is_ok(&format!("stream_data sid={sid} body=a"))["status"], 2);
    driver.quit();
}

fn bench(options: &[&str]) -> Output {
    let plugin = conformance_plugin();
    Command::new(COMMAND)
        .args(["bench", &plugin])
        .args(options)
        .output()
        .unwrap()
}

#[test]
fn bench_tells_what_a_call_of_each_kind_costs() {
    for kind in ["call_response", "bytes", "fast", "id"] {
        let options = [
            "echo_sync",
            "--kind",
            kind,
            "--size",
            "64",
            "--calls",
            "210",
            "--reply",
            "64",
            "--json",
        ];
        let done = bench(&options);
        let told: Value = serde_json::from_slice(&done.stdout).unwrap();
        assert_eq!(
            (&told["kind"], &told["size"], &told["calls"]),
            (&json!(kind), &json!(64), &json!(210))
        );
        assert!(told["ns_per_call"].as_f64().unwrap() > 0.0);
    }
    let stream = [
        "count", "--kind", "stream", "--body", "10", "--calls", "42", "--frames", "5", "--json",
    ];
    for (options, frames) in [(&stream[..], 5.0), (&[&stream[..7], &["--json"]].concat(), 11.0)] {
        let told: Value = serde_json::from_slice(&bench(options).stdout).unwrap();
        assert_eq!(told["frames_per_call"], frames);
    }
}

#[test]
fn bench_fails_when_calls_do() {
    for (options, code) in [
        (&["fail_sync_not_there", "--kind", "fast"][..], 1),
        (&["fail", "--kind", "call_response"], 1),
        (&["count_fail", "--kind", "stream", "--body", "1"], 1),
        (&["echo_sync", "--kind", "bytes", "--size", "64", "--reply", "63"], 1),
        (&["echo_sync", "--kind", "fast", "--size", "64", "--reply", "65"], 1),
        (&["count", "--kind", "stream", "--body", "1", "--reply", "1000"], 1),
        (&["echo_sync"], 2),
        (&["echo_sync", "--kind", "quick"], 2),
        (&["echo_sync", "--kind", "fast", "--size", "some"], 2),
    ] {
        let done = bench(options);
        assert_eq!(done.status.code(), Some(code), "{options:?}");
        assert!(done.stdout.is_empty() && !done.stderr.is_empty());
    }
}
