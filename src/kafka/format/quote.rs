//! How PostgreSQL writes an array's elements (manual: "Array Input and Output Syntax").

/// An element as PostgreSQL writes it (`array_out`), quoted where its text could be read as something else.
pub(super) fn put_element(text: &[u8], delimiter: u8, out: &mut Vec<u8>) {
    let special = |&byte: &u8| {
        matches!(byte, b'"' | b'\\' | b'{' | b'}' | b' ' | b'\t' | b'\n' | b'\r' | 0x0B | 0x0C) || byte == delimiter
    };
    if !text.is_empty() && !text.eq_ignore_ascii_case(b"NULL") && !text.iter().any(special) {
        out.extend_from_slice(text);
        return;
    }
    out.push(b'"');
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}
