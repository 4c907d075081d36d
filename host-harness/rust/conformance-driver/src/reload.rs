//! The plugin loaded anew, again and again, while callers go on.

use std::sync::atomic::AtomicBool;
use std::thread;

use crate::command::Command;
use crate::error::DriverError;
use crate::host::Plugin;
use crate::process;
use crate::session::{Answer, Slot};
use crate::storm::{Storm, Until};

/// How often memory is looked at.
const SAMPLES: u64 = 10;

pub(crate) fn run<P: Plugin>(slot: &Slot<P>, command: &Command) -> Result<Answer, DriverError> {
    let reloads = command.number::<u64>("n")?.unwrap_or(1);
    let threads = command.number::<usize>("threads")?.unwrap_or(4);
    let storm = Storm::new(slot, command, Until::Told(AtomicBool::new(false)))?;
    let rss_kib = storm.run(threads, |caller_ended| {
        let mut rss_kib = Vec::new();
        for n in 1..=reloads {
            slot.farewell(|plugin| plugin.reload())?;
            // Each instance sees calls: without this a quick reload would never meet one.
            let enough = storm.replies() + threads as u64;
            while storm.replies() < enough && !caller_ended() {
                thread::yield_now();
            }
            if n * SAMPLES / reloads > (n - 1) * SAMPLES / reloads {
                rss_kib.push(process::rss_kib().map_err(DriverError::system("rss"))?);
            }
        }
        Ok(rss_kib)
    })?;
    let mut answer = storm.counts();
    answer.insert("reloads".to_owned(), reloads.into());
    answer.insert("rss_kib".to_owned(), rss_kib.into());
    Ok(answer)
}
