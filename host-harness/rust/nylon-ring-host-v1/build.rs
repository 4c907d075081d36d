//! Exports `nylon_ring_host_ext` from this package's programs, and tells the tests whether there is a Python plugin.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=NYLON_RING_TEST_PLUGIN");
    println!("cargo:rustc-link-arg-bins=-rdynamic");
    println!("cargo:rustc-link-arg-tests=-rdynamic");
    if let Ok(plugin) = std::env::var("NYLON_RING_TEST_PLUGIN") {
        println!("cargo:rustc-cfg=python_plugin");
        println!("cargo:rustc-env=NYLON_RING_TEST_PLUGIN={plugin}");
    }
}
