//! Files that are no plugins, plugins that refuse, and loading again under traffic.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nylon_ring_host_v1::{NrStatus, NylonRingHost, NylonRingHostError as Error};
use support::{assert_idle, c_plugin, faulty_plugin, load, request, soon};

fn refusal(path: &Path) -> Error {
    NylonRingHost::load(path).expect_err("it loaded")
}

#[test]
fn what_is_no_plugin_is_named() {
    let missing = refusal(Path::new("no-such-plugin.so"));
    assert!(matches!(missing, Error::LoadError { .. }));
    assert!(
        missing.to_string().starts_with("cannot load no-such-plugin.so: "),
        "{missing}"
    );
    assert!(
        matches!(refusal(Path::new("libm.so.6")), Error::LoadError { .. }),
        "a bare name is a file here"
    );
    assert!(matches!(
        refusal(&faulty_plugin(&["-DABI=2"])),
        Error::AbiVersionMismatch { expected: 1, actual: 2 }
    ));
    for (define, reason) in [
        ("-DSIZE=8", "its info has 8 bytes of 56"),
        ("-DNO_TABLE", "it has no table of functions"),
        ("-DNO_HANDLE", "it has no handle function"),
        ("-DNO_INFO", "it gives no plugin info"),
        (
            "-Dnylon_ring_get_plugin_v1=get_plugin_v0",
            "it does not export nylon_ring_get_plugin_v1",
        ),
    ] {
        let error = refusal(&faulty_plugin(&[define]));
        assert!(matches!(error, Error::InvalidEntryPoint { .. }), "{error}");
        assert!(error.to_string().ends_with(reason), "{error}");
    }
}

/// A plugin that writes down what happens to it, and where.
fn traced(name: &str, defines: &[&str]) -> (PathBuf, PathBuf) {
    let trace = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_file(&trace); // an earlier run's
    let define = format!("-DTRACE=\"{}\"", trace.display());
    (faulty_plugin(&[&[define.as_str()], defines].concat()), trace)
}

const WHOLE_LIFE: &str = "init: context live\nshutdown: context live\nunloaded: context gone\n";

#[test]
fn a_failed_init_is_shut_down_and_closed() {
    let (file, trace) = traced("refused", &["-DREFUSES"]);
    assert!(matches!(refusal(&file), Error::InitFailed(NrStatus::Unsupported)));
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), WHOLE_LIFE);
}

#[test]
fn the_context_goes_after_shutdown_and_then_the_file() {
    let (file, trace) = traced("dropped", &[]);
    drop(load(&file));
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), WHOLE_LIFE);
}

#[tokio::test]
async fn a_receiver_dropped_during_shutdown_enters_the_plugin_no_more() {
    let (file, trace) = traced("late-receiver", &[]);
    let host = load(&file);
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    host.call_raw("shutdown_waits", &theirs.as_raw_fd().to_ne_bytes())
        .await
        .unwrap();
    let (_, stream) = host.call_stream("keep", request(b"")).await.unwrap();
    let dropping = std::thread::spawn(move || drop(host));
    let mut byte = [0];
    ours.read_exact(&mut byte).unwrap(); // shutdown has begun
    drop(stream);
    ours.write_all(&byte).unwrap();
    dropping.join().unwrap();
    assert_eq!(std::fs::read_to_string(&trace).unwrap(), WHOLE_LIFE);
}

#[tokio::test]
async fn one_file_twice() {
    let file = c_plugin();
    let (one, two) = (load(&file), load(&file));
    for host in [&one, &two] {
        assert_eq!(host.call_raw("echo", b"x").await.unwrap().1, b"x");
    }
    drop(one);
    assert_eq!(soon(two.call("deferred", request(b"y"))).await.unwrap().1, b"y");
    assert_idle(&two);
}

async fn round(host: Arc<NylonRingHost>) {
    assert_eq!(host.call("deferred", request(b"a")).await.unwrap().1, b"a");
    assert_eq!(host.call_raw_unary_fast("echo", b"b").await.unwrap().1, b"b");
    let (_, mut stream) = host.call_stream("stream", request(b"3")).await.unwrap();
    assert_eq!(support::frames(&mut stream).await.len(), 4);
}

/// Each time from a file of its own, so that the old code really goes from memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reload_under_traffic() {
    let file = c_plugin();
    let copies = AtomicU64::new(0);
    let next = || {
        let copy = file.with_file_name(format!(
            "{}-{}.so",
            std::process::id(),
            copies.fetch_add(1, Ordering::Relaxed)
        ));
        std::fs::copy(&file, &copy).unwrap();
        let host = load(&copy);
        std::fs::remove_file(&copy).unwrap();
        host
    };
    support::traffic::reload_under_traffic(30, next, round).await;
}
