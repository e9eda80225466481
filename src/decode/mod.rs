//! Bytes in, messages and values out. Pure: no I/O, no async, no clock.
