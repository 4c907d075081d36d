//! A line, read: the verb, its keys, and the call they describe.

use std::str::FromStr;
use std::time::Duration;

use crate::error::DriverError;

/// How many replies a call has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One.
    Unary,
    /// Frames, and a last one.
    Stream,
}

/// Which way a call goes into the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// `handle`, on v1 with a request.
    Handle,
    /// Just bytes: `handle_raw`, or `handle` with a null request.
    Raw,
    /// The host's call for entries that answer inside `handle`.
    Fast,
    /// By number: `resolve_entry`, then `handle_by_id`.
    Id,
}

/// A call to make.
#[derive(Clone, Debug)]
pub struct Request {
    /// The entry's name.
    pub entry: String,
    /// Which call of the host's.
    pub kind: Kind,
    /// Which way.
    pub door: Door,
    /// For [`Door::Handle`] on v1; empty where the line has none.
    pub method: String,
    /// Likewise.
    pub path: String,
    /// Likewise.
    pub query: String,
    /// Likewise: names, and values of any bytes, in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The payload.
    pub body: Vec<u8>,
}

/// `verb key=value key=value …`
#[derive(Debug)]
pub(crate) struct Command {
    pub verb: String,
    keys: Vec<(String, Vec<u8>)>,
}

/// The byte at each place of a body that is given by its size.
pub(crate) fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        out.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
    }
    Some(out)
}

impl Command {
    /// `None` for an empty line. A word without `=` is a key with an empty value.
    pub fn parse(line: &str) -> Result<Option<Self>, DriverError> {
        let mut words = line.split_ascii_whitespace();
        let Some(verb) = words.next() else {
            return Ok(None);
        };
        let mut keys = Vec::new();
        for word in words {
            let (key, value) = word.split_once('=').unwrap_or((word, ""));
            let value = decode(value).ok_or_else(|| DriverError::Encoding(word.to_owned()))?;
            keys.push((key.to_owned(), value));
        }
        let verb = verb.to_owned();
        Ok(Some(Self { verb, keys }))
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &[u8]> {
        self.keys
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_slice())
    }

    /// The value; the last one, should the key have come again.
    pub fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.all(key).last()
    }

    pub fn text(&self, key: &str) -> Result<Option<&str>, DriverError> {
        self.bytes(key).map(|value| as_text(key, value)).transpose()
    }

    pub fn needed(&self, key: &'static str) -> Result<&str, DriverError> {
        self.text(key)?.ok_or(DriverError::Missing(key))
    }

    pub fn number<T: FromStr>(&self, key: &'static str) -> Result<Option<T>, DriverError> {
        let parse = |text: &str| {
            text.parse().map_err(|_| DriverError::Value {
                key,
                value: text.to_owned(),
                expected: "a number",
            })
        };
        self.text(key)?.map(parse).transpose()
    }

    pub fn sid(&self) -> Result<u64, DriverError> {
        self.number("sid")?.ok_or(DriverError::Missing("sid"))
    }

    /// How long a wait may last.
    pub fn timeout(&self) -> Result<Duration, DriverError> {
        let seconds = self.number::<f64>("timeout")?.unwrap_or(30.0);
        Duration::try_from_secs_f64(seconds).map_err(|_| DriverError::Value {
            key: "timeout",
            value: seconds.to_string(),
            expected: "seconds",
        })
    }

    pub fn flag(&self, key: &str) -> bool {
        self.bytes(key) == Some(b"1")
    }

    /// Into how many pieces the body of a call goes, where it is sent when the stream is open.
    pub fn pieces(&self) -> Result<Option<usize>, DriverError> {
        let pieces = self.number("pieces")?.unwrap_or(8);
        Ok((self.bytes("kind") == Some(b"duplex")).then_some(pieces))
    }

    pub fn plugin(&self) -> Result<&str, DriverError> {
        Ok(self.text("plugin")?.unwrap_or("main"))
    }

    fn choice<T: Copy>(
        &self,
        key: &'static str,
        choices: &[(&str, T)],
        expected: &'static str,
    ) -> Result<T, DriverError> {
        let given = self.text(key)?;
        let mut found = choices
            .iter()
            .filter(|(name, _)| given.is_none_or(|given| given == *name));
        found
            .next()
            .map(|(_, choice)| *choice)
            .ok_or_else(|| DriverError::Value {
                key,
                value: given.unwrap_or_default().to_owned(),
                expected,
            })
    }

    /// The payload: `body`, or as many bytes as `body_size` says.
    pub fn body(&self) -> Result<Vec<u8>, DriverError> {
        match self.number("body_size")? {
            Some(size) => Ok((0..size).map(pattern).collect()),
            None => Ok(self.bytes("body").unwrap_or_default().to_vec()),
        }
    }

    /// The call that the keys describe, to this entry.
    pub fn request(&self, entry: &str) -> Result<Request, DriverError> {
        let text = |key| Ok::<_, DriverError>(self.text(key)?.unwrap_or_default().to_owned());
        let names = self.all("hkey").map(|name| as_text("hkey", name));
        let header = |(name, value): (Result<&str, _>, &[u8])| Ok((name?.to_owned(), value.to_owned()));
        Ok(Request {
            entry: entry.to_owned(),
            kind: self.choice(
                "kind",
                &[
                    ("unary", Kind::Unary),
                    ("stream", Kind::Stream),
                    ("duplex", Kind::Stream),
                ],
                "unary, stream or duplex",
            )?,
            door: self.choice(
                "door",
                &[
                    ("handle", Door::Handle),
                    ("raw", Door::Raw),
                    ("fast", Door::Fast),
                    ("id", Door::Id),
                ],
                "handle, raw, fast or id",
            )?,
            method: text("method")?,
            path: text("path")?,
            query: text("query")?,
            headers: names
                .zip(self.all("hval"))
                .map(header)
                .collect::<Result<_, DriverError>>()?,
            body: self.body()?,
        })
    }
}

fn as_text<'a>(key: &str, value: &'a [u8]) -> Result<&'a str, DriverError> {
    std::str::from_utf8(value).map_err(|_| DriverError::Encoding(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::{Command, Door, Kind};

    fn parse(line: &str) -> Command {
        Command::parse(line).unwrap().unwrap()
    }

    #[test]
    fn keys_decoded_and_repeated() {
        let command = parse("call entry=a%20b hkey=k hval=%C3%A4 hkey=l hval=%ff door=raw kind=stream body=%00%ff=x");
        assert_eq!(command.verb, "call");
        let request = command.request(command.needed("entry").unwrap()).unwrap();
        assert_eq!(
            (request.entry.as_str(), request.kind, request.door),
            ("a b", Kind::Stream, Door::Raw)
        );
        assert_eq!(
            request.headers,
            [("k".into(), "ä".into()), ("l".into(), b"\xff".to_vec())]
        );
        assert_eq!(request.body, b"\0\xff=x");
    }

    #[test]
    fn what_is_not_given() {
        let command = parse("call");
        let request = command.request("e").unwrap();
        assert_eq!((request.kind, request.door), (Kind::Unary, Door::Handle));
        assert_eq!(
            (command.plugin().unwrap(), command.timeout().unwrap().as_secs()),
            ("main", 30)
        );
        assert!(Command::parse(" \n").unwrap().is_none());
    }

    #[test]
    fn what_is_wrong_is_told() {
        for line in ["call body=%4", "call body=%zz", "call body=%"] {
            assert!(Command::parse(line).is_err(), "{line}");
        }
        assert_eq!(
            parse("c door=front").request("").unwrap_err().to_string(),
            "door=front: handle, raw, fast or id was expected"
        );
        assert_eq!(
            parse("c sid=x").sid().unwrap_err().to_string(),
            "sid=x: a number was expected"
        );
        assert_eq!(
            parse("c entry=%ff").needed("entry").unwrap_err().to_string(),
            "entry is not well percent-encoded UTF-8"
        );
        assert!(parse("c timeout=-1").timeout().is_err());
    }

    #[test]
    fn a_body_by_its_size() {
        let body = parse("c body_size=600").body().unwrap();
        assert_eq!((body.len(), body[250], body[251], body[599]), (600, 250, 0, 97));
    }
}
