//! Lines in, answers out; the plugins that are loaded, by name; the jobs that go on beside.

use std::collections::HashMap;
use std::io::{self, BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use serde_json::{Map, Value};

use crate::calls::HeldCalls;
use crate::command::Command;
use crate::error::DriverError;
use crate::host::{Host, LoadError, Plugin};
use crate::{process, reload, storm};

/// A verb's answer without its `ok`.
pub(crate) type Answer = Map<String, Value>;

/// A loaded plugin, and what its callers must know of its end.
pub(crate) struct Slot<P> {
    pub plugin: P,
    /// Instances that were told to go, or will be in a moment.
    pub leaving: AtomicU64,
    /// Of those, the ones that no new call reaches any more.
    pub left: AtomicU64,
    /// Calls of callers on threads that were taken.
    pub traffic: AtomicU64,
    /// Set when `unload` has returned.
    pub unloaded: AtomicBool,
}

impl<P> Slot<P> {
    /// Sends an instance away. A call that overlaps this may be answered `Err`.
    pub fn farewell<R>(&self, send_away: impl FnOnce(&P) -> R) -> R {
        self.leaving.fetch_add(1, Ordering::SeqCst);
        let sent = send_away(&self.plugin);
        self.left.fetch_add(1, Ordering::SeqCst);
        sent
    }
}

pub(crate) struct Session<H: Host> {
    host: H,
    plugins: Mutex<HashMap<String, Arc<Slot<H::Plugin>>>>,
    held: HeldCalls,
    jobs: Mutex<HashMap<u64, JoinHandle<Value>>>,
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn refusal(error: &DriverError) -> Value {
    let mut answer = Answer::new();
    answer.insert("error".to_owned(), error.to_string().into());
    if let DriverError::Load(LoadError { init: Some(status), .. }) = error {
        answer.insert("init".to_owned(), (*status).into());
    }
    Value::Object(answer)
}

fn to_value(answer: Result<Answer, DriverError>) -> Value {
    match answer {
        Ok(mut answer) => {
            answer.insert("ok".to_owned(), true.into());
            Value::Object(answer)
        }
        Err(error) => refusal(&error),
    }
}

impl<H: Host> Session<H> {
    /// The plugin that a command names, if it is loaded.
    fn slot(&self, command: &Command) -> Result<Option<Arc<Slot<H::Plugin>>>, DriverError> {
        Ok(lock(&self.plugins).get(command.plugin()?).cloned())
    }

    fn hello(&self) -> Answer {
        let cannot: Map<_, _> = self
            .host
            .cannot()
            .iter()
            .map(|(what, why)| ((*what).to_owned(), (*why).into()))
            .collect();
        Answer::from_iter([
            ("host".to_owned(), self.host.name().into()),
            ("abi".to_owned(), self.host.abi().into()),
            ("cannot".to_owned(), cannot.into()),
        ])
    }

    fn load(&self, command: &Command) -> Result<Answer, DriverError> {
        let spoken = self.host.abi();
        let abi = command.text("abi")?.or(spoken.first().copied()).unwrap_or_default();
        if !spoken.contains(&abi) {
            return Err(DriverError::Abi(abi.to_owned()));
        }
        let name = command.plugin()?;
        let mut plugins = lock(&self.plugins);
        if plugins.contains_key(name) {
            return Err(DriverError::Loaded(name.to_owned()));
        }
        let plugin = self.host.load(command.needed("path")?, abi)?;
        self.held.forget(name); // of an earlier plugin of this name: its sids come again
        let slot = Slot {
            plugin,
            leaving: AtomicU64::new(0),
            left: AtomicU64::new(0),
            traffic: AtomicU64::new(0),
            unloaded: AtomicBool::new(false),
        };
        plugins.insert(name.to_owned(), Arc::new(slot));
        Ok(Answer::new())
    }

    fn unload(&self, name: &str) -> Result<Answer, DriverError> {
        let slot = lock(&self.plugins).remove(name);
        let slot = slot.ok_or_else(|| DriverError::NoPlugin(name.to_owned()))?;
        let broken = slot.farewell(|plugin| plugin.unload());
        slot.unloaded.store(true, Ordering::SeqCst);
        let mut answer = Answer::new();
        if let Some(broken) = broken.map_err(DriverError::Host)? {
            answer.insert("broken".to_owned(), broken.into());
        }
        Ok(answer)
    }

    fn unload_all(&self) -> Result<Answer, DriverError> {
        let names: Vec<String> = lock(&self.plugins).keys().cloned().collect();
        for name in names {
            self.unload(&name)?;
        }
        Ok(Answer::new())
    }

    fn run(&self, command: &Command, slot: Option<&Slot<H::Plugin>>) -> Result<Answer, DriverError> {
        let loaded = || match slot {
            Some(slot) => Ok(slot),
            None => Err(DriverError::NoPlugin(command.plugin()?.to_owned())),
        };
        match command.verb.as_str() {
            "hello" => Ok(self.hello()),
            "load" => self.load(command),
            "call" => self.held.call(&loaded()?.plugin, command),
            "submit" => self.held.submit(&loaded()?.plugin, command),
            "wait" => self.held.wait(command),
            "drop" => self.held.give_up(command),
            "stream_data" => {
                let plugin = &loaded()?.plugin;
                status(plugin.stream_data(command.sid()?, &command.body()?))
            }
            "stream_close" => status(loaded()?.plugin.stream_close(command.sid()?)),
            "storm" => storm::run(loaded()?, command),
            "reload" => reload::run(loaded()?, command),
            "unload" => self.unload(command.plugin()?),
            "state_count" => {
                let count = loaded()?.plugin.state_count().map_err(DriverError::Host)?;
                Ok(Answer::from_iter([("count".to_owned(), count.into())]))
            }
            "rss" => process::usage().map_err(DriverError::system("rss")),
            "quit" => self.unload_all(),
            other => Err(DriverError::NoVerb(other.to_owned())),
        }
    }

    fn run_caught(&self, command: &Command, slot: Option<&Slot<H::Plugin>>) -> Value {
        // The answer says so, and the panic's text is on stderr already.
        to_value(catch_unwind(AssertUnwindSafe(|| self.run(command, slot))).unwrap_or(Err(DriverError::Panicked)))
    }

    /// A job with callers has begun when this returns: one of their calls was taken, or they are done.
    fn start_job(self: &Arc<Self>, command: Command) -> Result<Answer, DriverError> {
        let session = Arc::clone(self);
        let slot = self.slot(&command)?; // now: the next line may unload it
        let watched = slot
            .clone()
            .filter(|_| matches!(command.verb.as_str(), "storm" | "reload"));
        let traffic = || watched.as_ref().map(|slot| slot.traffic.load(Ordering::SeqCst));
        let before = traffic();
        let job = thread::Builder::new()
            .name("job".to_owned())
            .spawn(move || session.run_caught(&command, slot.as_deref()))
            .map_err(DriverError::system("cannot start a thread for the job"))?;
        while before.is_some() && traffic() == before && !job.is_finished() {
            thread::yield_now();
        }
        let mut jobs = lock(&self.jobs);
        let number = (1..).find(|number| !jobs.contains_key(number)).unwrap_or_default();
        jobs.insert(number, job);
        Ok(Answer::from_iter([("job".to_owned(), number.into())]))
    }

    fn join(&self, command: &Command) -> Result<Value, DriverError> {
        let number = command.number("job")?.ok_or(DriverError::Missing("job"))?;
        let job = lock(&self.jobs).remove(&number).ok_or(DriverError::NoJob(number))?;
        job.join().map_err(|_| DriverError::Panicked)
    }

    fn answer(self: &Arc<Self>, command: Command) -> Value {
        match command.verb.as_str() {
            "join" => self.join(&command).unwrap_or_else(|error| refusal(&error)),
            "quit" => self.run_caught(&command, None),
            _ if command.flag("async") => to_value(self.start_job(command)),
            _ => match self.slot(&command) {
                Ok(slot) => self.run_caught(&command, slot.as_deref()),
                Err(error) => refusal(&error),
            },
        }
    }

    /// True when the lines are over: the other side wants an end, or is gone.
    fn answer_line(self: &Arc<Self>, line: &str, answers: &mut impl Write) -> io::Result<bool> {
        let (answer, over) = match Command::parse(line) {
            Ok(None) => return Ok(false),
            Ok(Some(command)) => {
                let over = command.verb == "quit";
                (self.answer(command), over)
            }
            Err(error) => (refusal(&error), false),
        };
        let mut text = answer.to_string();
        text.push('\n');
        answers.write_all(text.as_bytes())?;
        Ok(over)
    }

    fn run_lines(self: &Arc<Self>) -> io::Result<()> {
        let mut answers = process::keep_stdout()?;
        for line in io::stdin().lock().lines() {
            if self.answer_line(&line?, &mut answers)? {
                break;
            }
        }
        Ok(())
    }

    /// Unloads what is left, and ends the jobs: all of them have an end once their plugin is gone.
    fn finish(&self) -> Result<(), DriverError> {
        let unloaded = self.unload_all();
        let jobs: Vec<_> = lock(&self.jobs).drain().collect();
        for (_, job) in jobs {
            job.join().map_err(|_| DriverError::Panicked)?;
        }
        unloaded.map(drop)
    }
}

fn status(answered: Result<u32, String>) -> Result<Answer, DriverError> {
    let status = answered.map_err(DriverError::Host)?;
    Ok(Answer::from_iter([("status".to_owned(), status.into())]))
}

/// Answers the lines of stdin until `quit`, or until there are no more. A program's `main` returns what it gives.
pub fn run(host: impl Host) -> ExitCode {
    let session = Arc::new(Session {
        host,
        plugins: Mutex::default(),
        held: HeldCalls::default(),
        jobs: Mutex::default(),
    });
    let answered = session.run_lines().map_err(DriverError::system("stdin or stdout"));
    match answered.and(session.finish()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "driver: {error}"); // nobody may be reading
            ExitCode::FAILURE
        }
    }
}
