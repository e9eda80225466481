//! The demo: `make demo`.

fn main() {}
