//! What a receiver verifies: that a request is ours, and when it was made.
//!
//! `Walbridge-Signature: t=1764195600,v1=…`: the time in seconds since 1970, and in hex digits the HMAC-SHA-256, by the secret, of that time's digits, a
//! point and the body. A receiver computes it over the bytes it got, compares in constant time, and refuses a time too far from its own.

use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use crate::http::hex;

/// The header's name.
pub(super) const HEADER: &str = "Walbridge-Signature";

/// The header's value.
pub(super) fn sign(secret: &SecretString, now: SystemTime, body: &[u8]) -> String {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let mut text = format!("t={seconds},v1=");
    // A key of any length will do.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else { return text };
    mac.update(format!("{seconds}.").as_bytes());
    mac.update(body);
    text.push_str(&hex(&mac.finalize().into_bytes()));
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// The digest is OpenSSL's: `printf '1764195600.[]' | openssl dgst -sha256 -hmac 'a secret of some length'`.
    #[test]
    fn a_signature_is_what_another_program_computes() {
        let now = UNIX_EPOCH + Duration::from_secs(1_764_195_600);
        let signed = sign(&SecretString::from("a secret of some length"), now, b"[]");
        assert_eq!(signed, "t=1764195600,v1=dcb7a6e5faad8c4798e72905b377381a312ec4c922e05b4dc36b6bb3db8662cb");
    }
}
