//! A request that handlers in Python are given.

use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use nylon_ring_abi::{NrBytes, NrRequest, NrStr};
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// What the host lends while it waits.
pub struct Lent<'a> {
    pub request: &'a NrRequest,
    pub body: NrBytes,
}

/// A class cannot borrow: it has a pointer, which is null once the call is over. Fields become Python objects when they
/// are read.
#[pyclass(frozen)]
pub struct Request {
    lent: AtomicPtr<Lent<'static>>,
}

impl Request {
    /// # Safety
    /// `forget` is called before `lent` ends.
    pub unsafe fn new(lent: &Lent<'_>) -> Self {
        Self {
            lent: AtomicPtr::new(ptr::from_ref(lent).cast_mut().cast()),
        }
    }

    /// The call is over.
    pub fn forget(&self) {
        self.lent.store(ptr::null_mut(), Ordering::Relaxed);
    }

    fn lent(&self) -> PyResult<&Lent<'_>> {
        // SAFETY: what `new` was given is there until `forget`, and both run with the GIL held, as this does.
        let lent = unsafe { self.lent.load(Ordering::Relaxed).as_ref() };
        lent.ok_or_else(|| PyRuntimeError::new_err("the call of this request is over"))
    }
}

/// # Safety
/// The text is as the host gave it.
unsafe fn text<'a>(view: NrStr) -> PyResult<&'a str> {
    // SAFETY: the caller's promise.
    unsafe { view.as_str() }.ok_or_else(|| PyValueError::new_err("the text is no UTF-8"))
}

#[pymethods]
impl Request {
    #[getter]
    fn method(&self) -> PyResult<&str> {
        // SAFETY: the host's, and it waits.
        unsafe { text(self.lent()?.request.method) }
    }

    #[getter]
    fn path(&self) -> PyResult<&str> {
        // SAFETY: as above.
        unsafe { text(self.lent()?.request.path) }
    }

    #[getter]
    fn query(&self) -> PyResult<&str> {
        // SAFETY: as above.
        unsafe { text(self.lent()?.request.query) }
    }

    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let request = self.lent()?.request;
        let made = PyDict::new(py);
        for at in 0..request.headers_len as usize {
            // SAFETY: as above, and there are so many.
            let (name, value) = unsafe {
                let header = &*request.headers.add(at);
                (text(header.key)?, text(header.value)?)
            };
            made.set_item(name, value)?;
        }
        Ok(made)
    }

    #[getter]
    fn body<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        // SAFETY: as above.
        let body = unsafe { self.lent()?.body.as_slice() };
        let body = body.ok_or_else(|| PyValueError::new_err("there is no body where the host says it is"))?;
        Ok(PyBytes::new(py, body))
    }
}
