//! Calls made by hand: held by sid from `submit` until they have ended or are dropped.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::command::Command;
use crate::error::DriverError;
use crate::host::{Accepted, NotTaken, Plugin};
use crate::replies::{Frame, Gathered, Replies, Waiter};
use crate::session::{Answer, lock};

/// Longer payloads are answered by length and CRC-32 alone.
const SHOWN_BYTES: usize = 64 << 10;

/// Sids of the driver's own, for calls whose host does not tell one: exact in any JSON reader, and more than a host
/// counts to.
const OWN_SIDS: u64 = 1 << 52;

#[derive(Default)]
pub(crate) struct HeldCalls {
    /// By plugin and sid. They outlive their plugin: what it sent when it was shut down is still in them.
    calls: Mutex<HashMap<(String, u64), Replies>>,
    own_sids: AtomicU64,
}

fn hex(data: &[u8]) -> String {
    let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
    data.iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

fn frame_to_json(frame: &Frame) -> Value {
    let mut out = json!({
        "status": frame.status,
        "len": frame.data.len(),
        "crc32": crc32fast::hash(&frame.data),
    });
    if frame.data.len() <= SHOWN_BYTES
        && let Some(out) = out.as_object_mut()
    {
        out.insert("hex".to_owned(), hex(&frame.data).into());
    }
    out
}

fn write(gathered: &Gathered, answer: &mut Answer) {
    let frames: Vec<Value> = gathered.frames.iter().map(frame_to_json).collect();
    answer.insert("frames".to_owned(), frames.into());
    answer.insert("ended".to_owned(), gathered.ended.into());
    answer.insert("timeout".to_owned(), gathered.timeout.into());
    if let Some(why) = &gathered.absent {
        answer.insert("absent".to_owned(), why.as_str().into());
    }
}

fn gather(command: &Command, replies: &mut Replies) -> Result<Gathered, DriverError> {
    let waiter = Waiter::new().map_err(DriverError::system("cannot wait"))?;
    Ok(waiter.gather(
        replies,
        command.number("frames")?.unwrap_or(usize::MAX),
        command.timeout()?,
    ))
}

impl HeldCalls {
    /// The call's `handle` and `sid`, and its replies where there will be any.
    fn enter(&self, plugin: &impl Plugin, command: &Command) -> Result<(Answer, u64, Option<Replies>), DriverError> {
        let own_sid = || OWN_SIDS + self.own_sids.fetch_add(1, Ordering::Relaxed);
        let (status, sid, replies) = match plugin.submit(command.request(command.needed("entry")?)?) {
            Ok(Accepted { sid, replies }) => (0, sid.unwrap_or_else(own_sid), Some(replies)),
            Err(NotTaken::Refused(status)) => (status, own_sid(), None),
            Err(other) => return Err(other.into()),
        };
        let answer = Answer::from_iter([("handle".to_owned(), status.into()), ("sid".to_owned(), sid.into())]);
        Ok((answer, sid, replies))
    }

    pub fn call(&self, plugin: &impl Plugin, command: &Command) -> Result<Answer, DriverError> {
        let (mut answer, _, replies) = self.enter(plugin, command)?;
        let gathered = match replies {
            Some(mut replies) => gather(command, &mut replies)?,
            None => Gathered::default(),
        };
        write(&gathered, &mut answer);
        Ok(answer)
    }

    pub fn submit(&self, plugin: &impl Plugin, command: &Command) -> Result<Answer, DriverError> {
        let (answer, sid, replies) = self.enter(plugin, command)?;
        if let Some(replies) = replies {
            let key = (command.plugin()?.to_owned(), sid);
            let replaced = lock(&self.calls).insert(key, replies);
            drop(replaced); // not under the lock: it may call the plugin
        }
        Ok(answer)
    }

    fn take(&self, command: &Command) -> Result<((String, u64), Replies), DriverError> {
        let key = (command.plugin()?.to_owned(), command.sid()?);
        let replies = lock(&self.calls).remove(&key).ok_or(DriverError::NoCall(key.1))?;
        Ok((key, replies))
    }

    /// Takes the call out while it waits, and puts it back unless nothing more can come.
    pub fn wait(&self, command: &Command) -> Result<Answer, DriverError> {
        let (key, mut replies) = self.take(command)?;
        let gathered = gather(command, &mut replies)?;
        if !gathered.is_over() {
            lock(&self.calls).insert(key, replies);
        }
        let mut answer = Answer::new();
        write(&gathered, &mut answer);
        Ok(answer)
    }

    pub fn give_up(&self, command: &Command) -> Result<Answer, DriverError> {
        drop(self.take(command)?);
        Ok(Answer::new())
    }

    /// Gives up all calls of a plugin.
    pub fn forget(&self, plugin: &str) {
        let calls: Vec<_> = lock(&self.calls).extract_if(|(of, _), _| of == plugin).collect();
        drop(calls);
    }
}
