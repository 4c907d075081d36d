//! What the tests share: the plugin under test, one built from C, and a time after which a test gives up.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nylon_ring_host::{HostMetrics, NrStatus, NylonRingHost, NylonRingHostError, PluginHandle, StreamReceiver};

/// The define that makes no difference.
const FULL: &str = "FULL";

/// The name each plugin is loaded under.
pub const NAME: &str = "conformance";

/// Compiles this crate's own plugin, or with a define another one, to a file of its own for each call; a
/// sanitizer's run adds flags of its own.
fn compile(define: &str) -> PathBuf {
    static BUILT: AtomicUsize = AtomicUsize::new(0);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let number = BUILT.fetch_add(1, Ordering::Relaxed);
    let tests = std::env::current_exe().unwrap();
    let tests = tests.file_stem().unwrap().to_str().unwrap();
    let file = format!("{tests}-{define}-{number}.so");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    let _ = std::fs::remove_file(&file); // an earlier run's; the linker must not write into a file that is mapped
    let done = Command::new("cc")
        .args(["-std=c11", "-D_GNU_SOURCE", "-O1", "-fPIC", "-pthread"])
        .args(["-fvisibility=hidden", "-Wall", "-Wextra", "-Werror"])
        .arg("-I")
        .arg(here.join("../../../shim/abi"))
        .arg(format!("-D{define}"))
        .args(
            std::env::var("NYLON_RING_TEST_CFLAGS")
                .unwrap_or_default()
                .split_whitespace(),
        )
        .args(["-shared", "-o"])
        .arg(&file)
        .arg(here.join("tests/support/plugin.c"))
        .arg(here.join("tests/support/jobs.c"))
        .status()
        .expect("a C compiler");
    assert!(done.success());
    file
}

/// The file that a variable of the environment names; without it, our own from C.
fn given(variable: &str, built: &OnceLock<PathBuf>, define: &str) -> String {
    let file = match std::env::var_os(variable) {
        Some(given) => {
            let given = PathBuf::from(given);
            assert!(given.is_file(), "{variable} names no file: {}", given.display());
            given
        }
        None => built.get_or_init(|| compile(define)).clone(),
    };
    file.to_str().unwrap().to_owned()
}

/// The plugin under test.
pub fn conformance_plugin() -> String {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    given("NYLON_RING_CONFORMANCE_PLUGIN", &BUILT, FULL)
}

/// One with `echo_sync` alone.
pub fn plain_plugin() -> String {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    given("NYLON_RING_PLAIN_PLUGIN", &BUILT, "PLAIN")
}

/// One whose init fails.
pub fn refusing_plugin() -> String {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    given("NYLON_RING_REFUSES_PLUGIN", &BUILT, "REFUSES")
}

/// Always this crate's own, a file that nobody else has loaded.
pub fn own_plugin() -> String {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    static COPIES: AtomicUsize = AtomicUsize::new(0);
    let built = BUILT.get_or_init(|| compile(FULL));
    let copy = built.with_extension(format!("{}.so", COPIES.fetch_add(1, Ordering::Relaxed)));
    let _ = std::fs::remove_file(&copy); // as above
    std::fs::copy(built, &copy).unwrap();
    copy.to_str().unwrap().to_owned()
}

pub fn load(path: &str) -> (NylonRingHost, PluginHandle) {
    load_into(NylonRingHost::new(), path)
}

pub fn load_into(mut host: NylonRingHost, path: &str) -> (NylonRingHost, PluginHandle) {
    host.load(NAME, path).unwrap();
    let plugin = host.plugin(NAME).unwrap();
    (host, plugin)
}

/// A test that waits longer than this for something has failed.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it never came")
}

/// Asks again until the answer is the expected one.
pub async fn until<T: PartialEq>(expected: T, mut ask: impl AsyncFnMut() -> T) {
    soon(async {
        while ask().await != expected {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

pub async fn answer(plugin: &PluginHandle, entry: &str, body: &[u8]) -> (NrStatus, Vec<u8>) {
    soon(plugin.call_response(entry, body)).await.unwrap()
}

/// What an entry that answers a number answers.
pub async fn number(plugin: &PluginHandle, entry: &str) -> u64 {
    let (status, text) = answer(plugin, entry, b"").await;
    assert_eq!(status, NrStatus::Ok);
    String::from_utf8(text).unwrap().parse().unwrap()
}

/// Lets held calls go until so many are gone: a pooled entry may begin after its `handle` has returned.
pub async fn let_go(plugin: &PluginHandle, calls: u64) {
    let mut gone = 0;
    until(calls, async || {
        gone += number(plugin, "let_go").await;
        gone
    })
    .await;
}

/// Every frame, the end included.
pub async fn frames(stream: &mut StreamReceiver) -> Vec<(NrStatus, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(frame) = soon(stream.recv()).await {
        frames.push((frame.status, frame.data));
    }
    frames
}

/// What `count` sends before its end.
pub fn numbers(count: u64) -> Vec<(NrStatus, Vec<u8>)> {
    let frame = |n: u64| (NrStatus::Ok, n.to_string().into_bytes());
    (0..count).map(frame).collect()
}

/// `count` in full.
pub fn counted(count: u64) -> Vec<(NrStatus, Vec<u8>)> {
    let mut frames = numbers(count);
    frames.push((NrStatus::StreamEnd, Vec::new()));
    frames
}

pub fn assert_refused<T>(answer: Result<T, NylonRingHostError>, status: NrStatus) {
    match answer {
        Err(NylonRingHostError::PluginHandleFailed(refused)) => assert_eq!(refused, status),
        Err(other) => panic!("not refused with {status:?}: {other}"),
        Ok(_) => panic!("not refused with {status:?}: accepted"),
    }
}

/// Every call was answered and every stream is over: nothing is left in the host.
pub fn assert_idle(host: &NylonRingHost) {
    let HostMetrics {
        pending_requests,
        state_sessions,
        in_flight_calls,
        loaded_plugins: _,
    } = host.metrics();
    assert_eq!((pending_requests, state_sessions, in_flight_calls), (0, 0, 0));
}
