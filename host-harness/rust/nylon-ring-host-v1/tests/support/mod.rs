//! What the tests share: plugins built from C, and a time after which a test gives up.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod traffic;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nylon_ring_host_v1::{HighLevelRequest, HostStats, Layout, NrStatus, NylonRingHost, StreamFrame, StreamReceiver};

/// Compiles a C file of this repository, to a file of its own for each call; a sanitizer's run adds flags of its own.
fn compile(source: &str, defines: &[&str]) -> PathBuf {
    static BUILT: AtomicUsize = AtomicUsize::new(0);
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let number = BUILT.fetch_add(1, Ordering::Relaxed);
    let tests = std::env::current_exe().unwrap();
    let file = format!("{}-{number}.so", tests.file_stem().unwrap().to_str().unwrap());
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
    let _ = std::fs::remove_file(&file); // an earlier run's; the linker must not write into a file that is mapped
    let done = Command::new("cc")
        .args([
            "-std=c11",
            "-D_GNU_SOURCE",
            "-O1",
            "-fPIC",
            "-pthread",
            "-fvisibility=hidden",
            "-Wall",
            "-Wextra",
            "-Werror",
        ])
        .arg("-I")
        .arg(here.join("../../../shim/abi"))
        .args(defines)
        .args(
            std::env::var("NYLON_RING_TEST_CFLAGS")
                .unwrap_or_default()
                .split_whitespace(),
        )
        .args(["-shared", "-o"])
        .arg(&file)
        .arg(here.join(source))
        .status()
        .expect("a C compiler");
    assert!(done.success());
    file
}

/// The C test plugin, which the C host is tested with too. Each one is a file of its own, with statics of its own.
pub fn c_plugin() -> PathBuf {
    compile("../../../tests/plugins/c_plugin.c", &[])
}

/// The same in the six-function layout.
pub fn c_plugin_raw() -> PathBuf {
    compile("../../../tests/plugins/c_plugin.c", &["-DRAW"])
}

/// This folder's own.
pub fn faulty_plugin(defines: &[&str]) -> PathBuf {
    compile("tests/support/faulty_plugin.c", defines)
}

/// A library that prints to stdout when it is loaded, and is no plugin.
pub fn noisy_library() -> PathBuf {
    compile("tests/support/noisy.c", &[])
}

pub fn load(path: &Path) -> NylonRingHost {
    NylonRingHost::load_with(path, Layout::Seed).unwrap()
}

pub fn request(body: &[u8]) -> HighLevelRequest {
    HighLevelRequest {
        body: body.to_vec(),
        ..Default::default()
    }
}

/// A test that waits longer than this for something has failed.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it never came")
}

/// Every frame up to the end.
pub async fn frames(stream: &mut StreamReceiver) -> Vec<StreamFrame> {
    let mut frames = Vec::new();
    while let Some(frame) = soon(stream.recv()).await {
        frames.push(frame);
    }
    frames
}

/// A frame as the plugin sent it.
pub fn frame(status: NrStatus, data: &[u8]) -> StreamFrame {
    StreamFrame {
        status,
        data: data.to_vec(),
    }
}

/// Every call was answered and every stream has ended: nothing is left in the host.
pub fn assert_idle(host: &NylonRingHost) {
    assert_eq!(host.stats(), HostStats::default());
}
