//! Runs nylon-ring v2 plugins through the released host crate, `nylon-ring-host`: see the tests.
