//! `money` as `cash_out` writes it where `lc_monetary` is `C`.

use super::number::padded;

/// `-$1,234.56`.
pub(super) fn write(cents: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(if cents < 0 { b"-$" } else { b"$" });
    let (whole, fraction) = (cents.unsigned_abs() / 100, cents.unsigned_abs() % 100);
    let mut digits = Vec::with_capacity(20);
    padded(whole, 1, &mut digits);
    for (index, digit) in digits.iter().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(b',');
        }
        out.push(*digit);
    }
    out.push(b'.');
    padded(fraction, 2, out);
}
