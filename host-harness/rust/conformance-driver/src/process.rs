//! This process, from outside: what it holds, and its stdout.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;

use serde_json::{Map, Value};

/// A number out of /proc/self/status.
fn status_field(name: &str) -> io::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let field = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = field.and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
    number.ok_or_else(|| io::Error::other(format!("/proc/self/status has no {name}")))
}

/// Resident memory.
pub(crate) fn rss_kib() -> io::Result<u64> {
    status_field("VmRSS")
}

/// The answer of `rss`.
pub(crate) fn usage() -> io::Result<Map<String, Value>> {
    let fds = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1); // less the one that reads the folder
    Ok(Map::from_iter([
        ("rss_kib".to_owned(), rss_kib()?.into()),
        ("threads".to_owned(), status_field("Threads")?.into()),
        ("fds".to_owned(), fds.into()),
    ]))
}

/// Keeps stdout for answers: gives the real one, and from now on what anybody prints there goes to stderr.
pub(crate) fn keep_stdout() -> io::Result<File> {
    let real = io::stdout().as_fd().try_clone_to_owned()?;
    // SAFETY: both descriptors are this process's own and open.
    if unsafe { libc::dup2(libc::STDERR_FILENO, libc::STDOUT_FILENO) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(File::from(real))
}
