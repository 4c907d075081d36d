//! `libconformance_raw.so`: ABI v2, and v1 with six functions.

nylon_ring_abi::define_plugin!(conformance_plugin::Instance, name: "conformance", version: "1.0.0", layout: RAW);
conformance_plugin::export_v2!();
