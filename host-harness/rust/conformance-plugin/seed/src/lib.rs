//! `libconformance.so`: ABI v2, and v1 with five functions.

nylon_ring_abi::define_plugin!(conformance_plugin::Instance, name: "conformance", version: "1.0.0", layout: SEED);
conformance_plugin::export_v2!();
