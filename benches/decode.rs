//! To come.

/// Prints its figures, one a line.
pub(crate) fn run() {}
