//! Streams: a thread each, which alone sends for its sid, so that frames keep their order.

use std::collections::{HashMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nylon_ring_abi::NrStatus;

use crate::calls::Link;
use crate::entries::{Entry, Reply, failure};
use crate::outlet::Sent;

/// Frames that wait for the stream's thread.
const INBOX_MAX: usize = 1024;
/// Between two frames of `endless`: a v1 host buffers without bounds.
const PACE: Duration = Duration::from_millis(1);
/// From the first to the longest wait for a host that has not taken a frame.
const BACK_OFF: (Duration, Duration) = (Duration::from_micros(50), Duration::from_millis(5));
/// How often a last frame is tried again at shutdown: its receiver may never look.
const LAST_TRIES: u32 = 100;

#[derive(Default)]
struct Input {
    frames: VecDeque<Vec<u8>>,
    /// The host has closed it.
    closed: bool,
    /// The plugin is being shut down.
    stopping: bool,
}

struct Stream {
    sid: u64,
    takes_input: bool,
    input: Mutex<Input>,
    changed: Condvar,
}

/// How a stream goes on after a frame. `Over` has the last frame, where anybody wants one.
enum Flow {
    On,
    Over(Option<Reply>),
}

fn end() -> Reply {
    (NrStatus::StreamEnd, Vec::new())
}

fn stopped() -> Reply {
    failure("the plugin is shutting down")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Stream {
    /// What ends the stream before its next frame.
    fn ends(&self, input: &Input) -> Option<Reply> {
        if input.stopping {
            return Some(stopped());
        }
        (input.closed && !self.takes_input).then(end)
    }

    fn wait(&self, time: Duration) {
        let input = lock(&self.input);
        let quiet = |input: &mut Input| self.ends(input).is_none();
        // What woke it is looked at before the next frame.
        drop(self.changed.wait_timeout_while(input, time, quiet));
    }
}

pub struct Streams {
    link: Arc<Link>,
    open: Mutex<HashMap<u64, Arc<Stream>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    ended: AtomicU64,
}

impl Streams {
    pub fn new(link: Arc<Link>) -> Self {
        Self {
            link,
            open: Mutex::default(),
            threads: Mutex::default(),
            ended: AtomicU64::new(0),
        }
    }

    /// How many `endless` streams have ended.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::SeqCst)
    }

    pub fn open(self: &Arc<Self>, sid: u64, entry: Entry, body: Vec<u8>) -> NrStatus {
        let stream = Arc::new(Stream {
            sid,
            takes_input: matches!(entry, Entry::Chat | Entry::Relay),
            input: Mutex::default(),
            changed: Condvar::new(),
        });
        {
            let mut open = lock(&self.open);
            if open.contains_key(&sid) {
                return NrStatus::Invalid;
            }
            open.insert(sid, Arc::clone(&stream));
        }
        let streams = Arc::clone(self);
        let thread = thread::Builder::new().name("conformance".to_owned());
        match thread.spawn(move || streams.run(&stream, entry, &body)) {
            Ok(thread) => {
                self.keep(thread);
                NrStatus::Ok
            }
            Err(error) => {
                eprintln!("conformance: no thread for a stream: {error}");
                lock(&self.open).remove(&sid);
                NrStatus::Err
            }
        }
    }

    /// Keeps a thread until it can be joined, and joins those that have ended.
    fn keep(&self, thread: JoinHandle<()>) {
        let mut threads = lock(&self.threads);
        let ended: Vec<_> = threads.extract_if(.., |thread| thread.is_finished()).collect();
        threads.push(thread);
        drop(threads);
        for thread in ended {
            let _ = thread.join(); // it catches what it panics with
        }
    }

    fn run(&self, stream: &Stream, entry: Entry, body: &[u8]) {
        let produced = catch_unwind(AssertUnwindSafe(|| self.produce(stream, entry, body)));
        let last = produced.unwrap_or_else(|_| Some(failure("the stream panicked: see the log")));
        if entry == Entry::Endless {
            self.ended.fetch_add(1, Ordering::SeqCst);
        }
        // Before the last frame: with that the host may use the sid again.
        lock(&self.open).remove(&stream.sid);
        self.link.state.clear(stream.sid);
        if let Some(last) = last {
            self.send_last(stream, last);
        }
    }

    /// Every frame but the last, which it gives; `None` when nobody wants one.
    fn produce(&self, stream: &Stream, entry: Entry, body: &[u8]) -> Option<Reply> {
        match entry {
            Entry::Chat => {
                return self.talk(stream, Some([b"hello ", body].concat()), |frame| {
                    frame.to_ascii_uppercase()
                });
            }
            Entry::Relay => return self.talk(stream, None, |frame| frame),
            Entry::Spread => return self.spread(stream, body),
            _ => {}
        }
        let number = std::str::from_utf8(body).ok().and_then(|text| text.parse::<u64>().ok());
        let frames = match (entry, number) {
            (Entry::Endless, _) => u64::MAX,
            (_, Some(number)) => number,
            (_, None) => return Some(failure("ValueError: a decimal number was expected")),
        };
        for number in 0..frames {
            if let Flow::Over(last) = self.frame(stream, number.to_string().as_bytes()) {
                return last;
            }
            if entry == Entry::Endless {
                stream.wait(PACE);
            }
        }
        Some(match entry {
            Entry::CountFail => failure("RuntimeError: broken"),
            _ => end(),
        })
    }

    fn spread(&self, stream: &Stream, body: &[u8]) -> Option<Reply> {
        for piece in body.chunks((body.len() / 8).max(1)) {
            if let Flow::Over(last) = self.frame(stream, piece) {
                return last;
            }
        }
        Some(end())
    }

    /// Sends `next`, then what `answer` makes of each frame that comes in.
    fn talk(&self, stream: &Stream, mut next: Option<Vec<u8>>, answer: fn(Vec<u8>) -> Vec<u8>) -> Option<Reply> {
        loop {
            if let Some(frame) = next
                && let Flow::Over(last) = self.frame(stream, &frame)
            {
                return last;
            }
            let input = lock(&stream.input);
            let waits = |input: &mut Input| input.frames.is_empty() && !input.closed && !input.stopping;
            let mut input = stream
                .changed
                .wait_while(input, waits)
                .unwrap_or_else(PoisonError::into_inner);
            next = match input.frames.pop_front() {
                Some(frame) => Some(answer(frame)),
                None if input.stopping => return Some(stopped()),
                None => return Some(end()),
            };
        }
    }

    /// Sends a frame, again and again while the host's buffer is full.
    fn frame(&self, stream: &Stream, data: &[u8]) -> Flow {
        let mut back_off = BACK_OFF.0;
        loop {
            if let Some(last) = stream.ends(&lock(&stream.input)) {
                return Flow::Over(Some(last));
            }
            match self.link.outlet.send(stream.sid, NrStatus::Ok, data) {
                Sent::Done => return Flow::On,
                Sent::Gone => return Flow::Over(None),
                Sent::Full => stream.wait(back_off),
            }
            back_off = (back_off * 2).min(BACK_OFF.1);
        }
    }

    fn send_last(&self, stream: &Stream, (status, data): Reply) {
        let mut back_off = BACK_OFF.0;
        let mut tries = 0;
        while self.link.outlet.send(stream.sid, status, &data) == Sent::Full {
            if lock(&stream.input).stopping {
                tries += 1;
                if tries > LAST_TRIES {
                    eprintln!("conformance: the host never took the last frame of sid {}", stream.sid);
                    return;
                }
            }
            thread::sleep(back_off);
            back_off = (back_off * 2).min(BACK_OFF.1);
        }
    }

    fn find(&self, sid: u64) -> Option<Arc<Stream>> {
        lock(&self.open).get(&sid).cloned()
    }

    /// The host's frame: `Ok` when it waits for the stream's thread.
    pub fn data(&self, sid: u64, data: &[u8]) -> NrStatus {
        let Some(stream) = self.find(sid) else {
            return NrStatus::Invalid;
        };
        if !stream.takes_input {
            return NrStatus::Unsupported;
        }
        let mut input = lock(&stream.input);
        if input.closed {
            return NrStatus::Invalid;
        }
        if input.frames.len() >= INBOX_MAX {
            return self.link.outlet.inbox_full();
        }
        input.frames.push_back(data.to_vec());
        drop(input);
        stream.changed.notify_all();
        NrStatus::Ok
    }

    /// The host's end: the second one is `Invalid`.
    pub fn close(&self, sid: u64) -> NrStatus {
        let Some(stream) = self.find(sid) else {
            return NrStatus::Invalid;
        };
        if std::mem::replace(&mut lock(&stream.input).closed, true) {
            return NrStatus::Invalid;
        }
        stream.changed.notify_all();
        NrStatus::Ok
    }

    /// Ends all of them with `Err`, and their threads. Nobody opens any more.
    pub fn close_all(&self) {
        let open: Vec<_> = lock(&self.open).values().cloned().collect();
        for stream in open {
            lock(&stream.input).stopping = true;
            stream.changed.notify_all();
        }
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            let _ = thread.join(); // it catches what it panics with
        }
    }
}
