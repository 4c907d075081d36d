//! The entries by name, and what the unary ones answer.

use std::fmt::Write;

use nylon_ring_abi::NrStatus;
use nylon_ring_abi::plugin::Request;

/// What an entry does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    Echo,
    EchoSync,
    Describe,
    Fail,
    FailSync,
    Status,
    State,
    StatePeek,
    Ended,
    Held,
    LetGo,
    Count,
    CountFail,
    Endless,
    Spread,
    Chat,
    Relay,
}

/// The index is the id of ABI v2.
const ENTRIES: [(&str, Entry); 24] = [
    ("echo", Entry::Echo),
    ("echo_sync", Entry::EchoSync),
    ("raw_echo", Entry::Echo),
    ("raw_sync", Entry::EchoSync),
    ("echo_async", Entry::Echo),
    ("echo_executor", Entry::Echo),
    ("describe", Entry::Describe),
    ("fail", Entry::Fail),
    ("fail_sync", Entry::FailSync),
    ("status", Entry::Status),
    ("state", Entry::State),
    ("state_peek", Entry::StatePeek),
    ("count", Entry::Count),
    ("count_fail", Entry::CountFail),
    ("endless", Entry::Endless),
    ("ended", Entry::Ended),
    ("spread", Entry::Spread),
    ("spread_async", Entry::Spread),
    ("chat", Entry::Chat),
    ("relay", Entry::Relay),
    ("relay_async", Entry::Relay),
    ("relay_object", Entry::Relay),
    ("held", Entry::Held),
    ("let_go", Entry::LetGo),
];

impl Entry {
    pub fn find(name: &str) -> Option<Self> {
        ENTRIES.iter().find(|(of, _)| *of == name).map(|(_, entry)| *entry)
    }
}

/// The number of an entry.
pub fn id_of(name: &str) -> Option<u32> {
    ENTRIES
        .iter()
        .position(|(of, _)| *of == name)
        .and_then(|at| u32::try_from(at).ok())
}

/// The name of an entry.
pub fn name_of(id: u32) -> Option<&'static str> {
    ENTRIES.get(usize::try_from(id).ok()?).map(|(name, _)| *name)
}

/// A status and its bytes.
pub type Reply = (NrStatus, Vec<u8>);

pub fn failure(text: &str) -> Reply {
    (NrStatus::Err, text.as_bytes().to_vec())
}

pub fn fail(body: &[u8]) -> Reply {
    (NrStatus::Err, [b"ValueError: ", body].concat())
}

pub fn status(body: &[u8]) -> Reply {
    match body {
        b"1" => (NrStatus::Err, b"as asked".to_vec()),
        b"2" => (NrStatus::Invalid, b"as asked".to_vec()),
        b"3" => (NrStatus::Unsupported, b"as asked".to_vec()),
        _ => failure("ValueError: status is 1, 2 or 3"),
    }
}

pub fn describe(request: Option<Request<'_>>) -> Reply {
    let Some(request) = request else {
        return (NrStatus::Ok, b"no request\n".to_vec());
    };
    let mut text = String::new();
    let count = request.headers.len();
    // Writing to a String fails only where a part's Display does, and these are texts and a number.
    let _ = write!(
        text,
        "{}\n{}\n{}\n{count}\n",
        request.method, request.path, request.query
    );
    let mut out = text.into_bytes();
    for (name, value) in &request.headers {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    (NrStatus::Ok, out)
}

#[cfg(test)]
mod tests {
    use super::{ENTRIES, Entry, id_of, name_of};

    #[test]
    fn ids_are_places() {
        for (name, entry) in ENTRIES {
            assert_eq!(name_of(id_of(name).unwrap()), Some(name));
            assert_eq!(Entry::find(name), Some(entry));
        }
        assert_eq!((id_of("nope"), name_of(24), Entry::find("")), (None, None, None));
    }
}
