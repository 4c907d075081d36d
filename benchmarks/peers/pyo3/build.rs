//! The plugin finds the libpython it was built for, and stays when its host closes it: PyO3 leaves the threads that have
//! been in Python destructors of its code, which they run when they end.

fn main() {
    pyo3_build_config::add_libpython_rpath_link_args();
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
