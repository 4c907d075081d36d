//! What the tests share.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::time::Duration;

/// A file that cargo has built for this test: it lies beside the test's own.
pub fn plugin(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let file = test.with_file_name(format!("lib{name}.so"));
    assert!(file.is_file(), "{} was not built", file.display());
    file
}

/// A test that waits longer than this for something has failed.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("it never came")
}
