//! The embedded log: append-only segments on local disk.
