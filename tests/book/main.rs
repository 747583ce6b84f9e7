//! The programs of README.md and docs/, as they stand there; `build.rs` takes them out.

#![allow(dead_code, clippy::ptr_arg, reason = "what a reader would write is not always what clippy would")]

include!(concat!(env!("OUT_DIR"), "/book.rs"));
