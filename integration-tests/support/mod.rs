//! Starts real servers for tests, each with its own port and directory.
