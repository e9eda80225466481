//! Whose trace a transaction is part of (W3C Trace Context), told by the transaction itself:
//! `pg_logical_emit_message(true, 'traceparent', '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01')`.
//!
//! Only whoever writes the transaction knows it, and a message in its stream is the only thing that reaches us with its rows: nothing
//! is made up where nothing was said.

/// The header, and the message's prefix.
pub(super) const HEADER: &str = "traceparent";

/// Whether it is a `traceparent` of a version that can be known: lower-case hexadecimal, and no ids of zeros alone.
pub(super) fn is_context(value: &[u8]) -> bool {
    let parts: Vec<&[u8]> = value.split(|&byte| byte == b'-').collect();
    // Later versions may add fields at the end.
    let ([version, trace, parent, flags] | [version, trace, parent, flags, _, ..]) = parts.as_slice() else {
        return false;
    };
    let is_hex = |part: &[u8], length: usize| {
        part.len() == length && part.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &[u8], length: usize| is_hex(part, length) && part.iter().any(|&byte| byte != b'0');
    let known = is_hex(version, 2) && *version != b"ff" && (*version != b"00" || parts.len() == 4);
    known && is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2) && value.len() <= 512 && value.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trace_context_is_taken_for_one() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert!(is_context(good.as_bytes()));
        assert!(is_context(format!("{}-more", good.replace("00-4", "01-4")).as_bytes()));
        for bad in [
            "",
            "hello",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
        ] {
            assert!(!is_context(bad.as_bytes()), "{bad}");
        }
    }
}
