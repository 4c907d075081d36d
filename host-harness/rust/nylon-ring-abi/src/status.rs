use std::fmt;

/// How a call went.
///
/// A number with names, and no Rust enum: the other side may write any `u32` here, and an enum that holds a
/// number it has no name for is undefined behaviour.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct NrStatus(pub u32);

#[allow(non_upper_case_globals)] // read as an enum's variants, and usable as patterns
impl NrStatus {
    /// All went well. In a stream: a frame, and more may follow.
    pub const Ok: Self = Self(0);
    /// The call failed.
    pub const Err: Self = Self(1);
    /// Bad input, an unknown entry, or a call out of turn.
    pub const Invalid: Self = Self(2);
    /// The plugin does not offer this.
    pub const Unsupported: Self = Self(3);
    /// The last frame of a stream.
    pub const StreamEnd: Self = Self(4);
}

impl NrStatus {
    const NAMES: [&'static str; 5] = ["Ok", "Err", "Invalid", "Unsupported", "StreamEnd"];

    /// The ABI's name of this number; `None` for one that version 1 does not know.
    pub fn name(self) -> Option<&'static str> {
        Self::NAMES.get(usize::try_from(self.0).ok()?).copied()
    }

    /// Whether this reply is its stream's last: every one but `Ok`.
    pub fn ends_stream(self) -> bool {
        self != Self::Ok
    }
}

impl fmt::Display for NrStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "status {}", self.0),
        }
    }
}

impl fmt::Debug for NrStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
