//! The command's `drive`, line by line, with the conformance suite's plugin.

use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde_json::Value;

pub struct Driver {
    process: Child,
    commands: ChildStdin,
    answers: Receiver<String>,
}

/// A file that cargo has built for this test: it lies beside the test's own.
pub fn plugin(name: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let file: PathBuf = test.with_file_name(format!("lib{name}.so"));
    assert!(file.is_file(), "{} was not built", file.display());
    file.to_str().unwrap().to_owned()
}

impl Driver {
    pub fn start() -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_nylon-ring-host"))
            .arg("drive")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, answers) = channel();
        thread::spawn(move || {
            for line in lines {
                if sender.send(line.unwrap()).is_err() {
                    break;
                }
            }
        });
        Self {
            commands: process.stdin.take().unwrap(),
            process,
            answers,
        }
    }

    /// With the plugin loaded as `main`.
    pub fn with_plugin(abi: &str) -> Self {
        let file = match abi {
            "v1-raw" => plugin("conformance_raw"),
            _ => plugin("conformance"),
        };
        let mut driver = Self::start();
        driver.ok(&format!("load path={file} abi={abi}"));
        driver
    }

    pub fn ask(&mut self, line: &str) -> Value {
        writeln!(self.commands, "{line}").unwrap();
        let answer = self.answers.recv_timeout(Duration::from_secs(60));
        serde_json::from_str(&answer.expect("an answer")).unwrap()
    }

    pub fn ok(&mut self, line: &str) -> Value {
        let answer = self.ask(line);
        assert_eq!(answer["ok"], true, "{line}: {answer}");
        answer
    }

    /// The reason why not.
    pub fn error(&mut self, line: &str) -> String {
        let answer = self.ask(line);
        answer["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{line}: {answer}"))
            .to_owned()
    }

    /// A call's frames, as status and text; it has ended.
    pub fn frames(&mut self, line: &str) -> Vec<(u64, String)> {
        let answer = self.ok(line);
        assert_eq!(answer["ended"], true, "{line}: {answer}");
        frames(&answer)
    }

    /// Ends it, and gives its exit code.
    pub fn quit(mut self) -> Option<i32> {
        self.ok("quit");
        self.process.wait().unwrap().code()
    }
}

fn from_hex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// An answer's frames, as status and text.
pub fn frames(answer: &Value) -> Vec<(u64, String)> {
    let to_pair = |frame: &Value| {
        let data = from_hex(frame["hex"].as_str().unwrap());
        assert_eq!(frame["len"], data.len());
        (frame["status"].as_u64().unwrap(), String::from_utf8(data).unwrap())
    };
    answer["frames"].as_array().unwrap().iter().map(to_pair).collect()
}

/// The sid of a call that was taken.
pub fn sid(answer: &Value) -> u64 {
    assert_eq!(answer["handle"], 0, "{answer}");
    answer["sid"].as_u64().unwrap()
}
