use std::{fmt, ptr, slice};

/// A text is longer than the ABI can say (`u32`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong(pub usize);

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is more than the ABI's u32 can count", self.0)
    }
}

impl std::error::Error for TooLong {}

/// A borrowed text: UTF-8, except that a header's value may be any bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NrStr {
    /// Its first byte; anything at all when `len` is 0.
    pub ptr: *const u8,
    /// Its length in bytes.
    pub len: u32,
    /// Written as 0, never read.
    pub reserved: u32,
}

/// Borrowed bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NrBytes {
    /// The first byte; anything at all when `len` is 0.
    pub ptr: *const u8,
    /// How many.
    pub len: u64,
}

/// One header of a request; names may repeat.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NrHeader {
    /// Its name, UTF-8.
    pub key: NrStr,
    /// Its value, any bytes.
    pub value: NrStr,
}

/// What a request says besides its body.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct NrRequest {
    /// The path.
    pub path: NrStr,
    /// The method.
    pub method: NrStr,
    /// The query, without the question mark.
    pub query: NrStr,
    /// The first of `headers_len` headers.
    pub headers: *const NrHeader,
    /// How many headers.
    pub headers_len: u32,
    /// Written as 0.
    pub reserved0: u32,
    /// Written as 0.
    pub reserved1: u64,
}

/// The slice at `ptr`; `None` when no slice can be there: null with a length, or a length past the address space.
///
/// # Safety
/// If `len` is not 0 and `ptr` is not null, `len` bytes at `ptr` are readable and stay unchanged during `'a`.
unsafe fn view<'a>(ptr: *const u8, len: u64) -> Option<&'a [u8]> {
    if len == 0 {
        return Some(&[]);
    }
    let len = usize::try_from(len).ok().filter(|&len| isize::try_from(len).is_ok())?;
    (ptr as usize).checked_add(len)?;
    if ptr.is_null() {
        return None;
    }
    // SAFETY: not null, of a length a slice may have, and readable as the caller promises.
    Some(unsafe { slice::from_raw_parts(ptr, len) })
}

impl NrStr {
    /// The empty text.
    pub const EMPTY: Self = Self {
        ptr: ptr::null(),
        len: 0,
        reserved: 0,
    };

    /// A view of `text`, which must outlive every use of it.
    pub fn of(text: &str) -> Result<Self, TooLong> {
        Self::of_bytes(text.as_bytes())
    }

    /// A view of a header's value, which may be any bytes, and must outlive every use of it.
    pub fn of_bytes(value: &[u8]) -> Result<Self, TooLong> {
        Ok(Self {
            ptr: value.as_ptr(),
            len: u32::try_from(value.len()).map_err(|_| TooLong(value.len()))?,
            reserved: 0,
        })
    }

    /// The bytes; `None` when no slice can be there.
    ///
    /// # Safety
    /// The view is as its owner gave it, and its owner keeps the bytes, unchanged, during `'a`.
    pub unsafe fn as_bytes<'a>(self) -> Option<&'a [u8]> {
        // SAFETY: the caller's promise.
        unsafe { view(self.ptr, u64::from(self.len)) }
    }

    /// The text; `None` when no slice can be there, or it is no UTF-8.
    ///
    /// # Safety
    /// As for [`NrStr::as_bytes`].
    pub unsafe fn as_str<'a>(self) -> Option<&'a str> {
        // SAFETY: the caller's promise.
        std::str::from_utf8(unsafe { self.as_bytes() }?).ok()
    }
}

impl NrBytes {
    /// No bytes.
    pub const EMPTY: Self = Self {
        ptr: ptr::null(),
        len: 0,
    };

    /// A view of `data`, which must outlive every use of it.
    pub fn from_slice(data: &[u8]) -> Self {
        Self {
            ptr: data.as_ptr(),
            len: data.len() as u64,
        }
    }

    /// The bytes; `None` when no slice can be there.
    ///
    /// # Safety
    /// The view is as its owner gave it, and its owner keeps the bytes, unchanged, during `'a`.
    pub unsafe fn as_slice<'a>(self) -> Option<&'a [u8]> {
        // SAFETY: the caller's promise.
        unsafe { view(self.ptr, self.len) }
    }
}

impl NrHeader {
    /// A view of both, which must outlive every use of it.
    pub fn new(key: &str, value: impl AsRef<[u8]>) -> Result<Self, TooLong> {
        Ok(Self {
            key: NrStr::of(key)?,
            value: NrStr::of_bytes(value.as_ref())?,
        })
    }
}

impl NrRequest {
    /// A view of all four, which must outlive every use of it.
    pub fn build(method: &str, path: &str, query: &str, headers: &[NrHeader]) -> Result<Self, TooLong> {
        Ok(Self {
            path: NrStr::of(path)?,
            method: NrStr::of(method)?,
            query: NrStr::of(query)?,
            headers: headers.as_ptr(),
            headers_len: u32::try_from(headers.len()).map_err(|_| TooLong(headers.len()))?,
            reserved0: 0,
            reserved1: 0,
        })
    }
}
