//! A request that handlers in Python are given.

use nylon_ring_abi::{NrRequest, NrStr};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

/// A class cannot borrow, so the texts are copied; they become Python objects when they are read.
#[pyclass(frozen)]
pub struct Request {
    #[pyo3(get)]
    method: String,
    #[pyo3(get)]
    path: String,
    #[pyo3(get)]
    query: String,
    headers: Vec<(String, String)>,
    #[pyo3(get)]
    body: Py<PyBytes>,
}

#[pymethods]
impl Request {
    #[getter]
    fn headers<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let made = PyDict::new(py);
        for (name, value) in &self.headers {
            made.set_item(name, value)?;
        }
        Ok(made)
    }
}

impl Request {
    /// `None` when something in it cannot be read, or is no UTF-8.
    ///
    /// # Safety
    /// The request and what it points to are as the host gave them.
    pub unsafe fn copy(py: Python<'_>, request: &NrRequest, body: &[u8]) -> Option<Self> {
        // SAFETY: so many headers are there, and their texts, by the caller's promise.
        unsafe {
            Some(Self {
                method: text(request.method)?,
                path: text(request.path)?,
                query: text(request.query)?,
                headers: (0..request.headers_len as usize)
                    .map(|at| {
                        let header = &*request.headers.add(at);
                        Some((text(header.key)?, text(header.value)?))
                    })
                    .collect::<Option<_>>()?,
                body: PyBytes::new(py, body).unbind(),
            })
        }
    }
}

/// # Safety
/// The text is as the host gave it.
unsafe fn text(view: NrStr) -> Option<String> {
    // SAFETY: the caller's promise.
    unsafe { view.as_str() }.map(str::to_owned)
}
