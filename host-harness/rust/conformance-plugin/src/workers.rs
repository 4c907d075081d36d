//! Two threads that answer pooled calls.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::calls::Calls;
use crate::entries::Entry;

const THREADS: usize = 2;

/// A call that was taken.
pub struct Job {
    pub entry: Entry,
    pub sid: u64,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
pub struct Workers {
    queue: Mutex<Queue>,
    changed: Condvar,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Workers {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn start(&self, calls: &Arc<Calls>) -> io::Result<()> {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..THREADS {
            let calls = Arc::clone(calls);
            let worker = thread::Builder::new().name("conformance".to_owned());
            threads.push(worker.spawn(move || work(&calls))?);
        }
        Ok(())
    }

    pub fn push(&self, job: Job) {
        self.queue().jobs.push_back(job);
        self.changed.notify_one();
    }

    fn next(&self) -> Option<Job> {
        let queue = self.queue();
        let waits = |queue: &mut Queue| queue.jobs.is_empty() && !queue.closed;
        let mut queue = self
            .changed
            .wait_while(queue, waits)
            .unwrap_or_else(PoisonError::into_inner);
        queue.jobs.pop_front()
    }

    /// Ends the threads, each after the job it is at; gives what nobody has begun.
    pub fn close(&self) -> VecDeque<Job> {
        let mut queue = self.queue();
        queue.closed = true;
        let left = std::mem::take(&mut queue.jobs);
        drop(queue);
        self.changed.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            let _ = thread.join(); // a worker catches what its jobs panic with
        }
        left
    }
}

/// A worker's thread.
fn work(calls: &Calls) {
    while let Some(job) = calls.workers.next() {
        let sid = job.sid;
        if catch_unwind(AssertUnwindSafe(|| calls.run(job))).is_err() {
            eprintln!("conformance: the call with sid {sid} panicked, and may have no reply");
        }
    }
}
