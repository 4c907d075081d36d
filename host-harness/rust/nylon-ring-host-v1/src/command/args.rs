//! The command line, read.

use std::time::Duration;

use nylon_ring_host_v1::{HighLevelRequest, Layout, NylonRingHost};

use crate::CommandError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Call,
    Stream,
    Bench,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Unary,
    Raw,
    Fast,
    Stream,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Unary => "unary",
            Self::Raw => "raw",
            Self::Fast => "fast",
            Self::Stream => "stream",
        }
    }
}

#[derive(Debug)]
pub struct Args {
    pub command: Command,
    pub plugin: String,
    pub entry: String,
    pub kind: Kind,
    pub calls: u64,
    pub workers: Option<usize>,
    pub reply: Option<usize>,
    pub json: bool,
    pub sends: Vec<String>,
    pub close: bool,
    pub timeout: Duration,
    layout: Layout,
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

fn usage(text: impl Into<String>) -> CommandError {
    CommandError::Usage(text.into())
}

fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T, CommandError> {
    text.parse()
        .map_err(|_| usage(format!("{option} wants a number, got {text:?}")))
}

fn body(text: String) -> Result<Vec<u8>, CommandError> {
    match text.strip_prefix('@') {
        Some(file) => std::fs::read(file).map_err(|error| CommandError::Body(file.to_owned(), error)),
        None => Ok(text.into_bytes()),
    }
}

impl Args {
    pub fn parse(given: Vec<String>) -> Result<Self, CommandError> {
        let mut given = given.into_iter();
        let mut next = |what: &str| given.next().ok_or_else(|| usage(format!("{what} is missing")));
        let command = match next("a command")?.as_str() {
            "call" => Command::Call,
            "stream" => Command::Stream,
            "bench" => Command::Bench,
            other => return Err(usage(format!("no such command: {other}"))),
        };
        let mut args = Self {
            command,
            plugin: next("PLUGIN")?,
            entry: next("ENTRY")?,
            kind: Kind::Unary,
            calls: 1_000_000,
            workers: None,
            reply: None,
            json: false,
            sends: Vec::new(),
            close: false,
            timeout: Duration::from_secs(30),
            layout: Layout::Seed,
            method: "GET".to_owned(),
            path: "/".to_owned(),
            query: String::new(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        let mut kind_given = false;
        while let Some(option) = given.next() {
            kind_given |= option == "--kind";
            args.take(&option, || {
                given.next().ok_or_else(|| usage(format!("{option} wants a value")))
            })?;
        }
        if command == Command::Bench && !kind_given {
            return Err(usage("bench wants --kind"));
        }
        Ok(args)
    }

    /// Takes one option; `value` gives what follows it.
    fn take(&mut self, option: &str, value: impl FnOnce() -> Result<String, CommandError>) -> Result<(), CommandError> {
        let command = self.command;
        match option {
            "--raw" if command == Command::Call => self.kind = Kind::Raw,
            "--fast" if command == Command::Call => self.kind = Kind::Fast,
            "--send" if command == Command::Stream => self.sends.push(value()?),
            "--close" if command == Command::Stream => self.close = true,
            "--json" if command == Command::Bench => self.json = true,
            "--calls" if command == Command::Bench => self.calls = number::<u64>(option, &value()?)?.max(1),
            "--workers" if command == Command::Bench => self.workers = Some(number::<usize>(option, &value()?)?.max(1)),
            "--reply" if command == Command::Bench => self.reply = Some(number(option, &value()?)?),
            "--kind" if command == Command::Bench => {
                self.kind = match value()?.as_str() {
                    "unary" => Kind::Unary,
                    "raw" => Kind::Raw,
                    "fast" => Kind::Fast,
                    "stream" => Kind::Stream,
                    other => return Err(usage(format!("no such kind: {other}"))),
                }
            }
            "--layout" => {
                self.layout = match value()?.as_str() {
                    "seed" => Layout::Seed,
                    "raw" => Layout::Raw,
                    other => return Err(usage(format!("no such layout: {other}"))),
                }
            }
            "--method" => self.method = value()?,
            "--path" => self.path = value()?,
            "--query" => self.query = value()?,
            "--header" => {
                let header = value()?;
                let (name, text) = header
                    .split_once(':')
                    .ok_or_else(|| usage(format!("--header wants K:V, got {header:?}")))?;
                self.headers.push((name.trim().to_owned(), text.trim().to_owned()));
            }
            "--body" => self.body = body(value()?)?,
            "--timeout" if command != Command::Bench => {
                self.timeout = Duration::try_from_secs_f64(number(option, &value()?)?)
                    .map_err(|error| usage(format!("--timeout: {error}")))?;
            }
            other => return Err(usage(format!("no such option: {other}"))),
        }
        Ok(())
    }

    pub fn load(&self) -> Result<NylonRingHost, CommandError> {
        Ok(NylonRingHost::load_with(&self.plugin, self.layout)?)
    }

    /// A request of its own for a call.
    pub fn request(&self) -> HighLevelRequest {
        HighLevelRequest {
            method: self.method.clone(),
            path: self.path.clone(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
            ..Default::default()
        }
    }
}
