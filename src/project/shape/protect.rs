//! Values that are not shown as they are. NULL stays NULL, and what is unchanged stays so.

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use crate::project::sql::hex;

/// What becomes of a value.
#[derive(Clone, Debug)]
pub enum Protection {
    /// Each character but the last so many becomes `*`; all of them, if there are no more than that.
    Mask {
        /// How many stay.
        keep: usize,
    },
    /// HMAC-SHA-256 of its text, in hex: equal values stay equal, and without the key nobody can try which value it was.
    Hash(SecretString),
    /// The same word for every value.
    Redact,
}

/// What stands for a redacted value.
pub(super) const REDACTED: &str = "REDACTED";

impl Protection {
    /// What is shown for this text.
    pub(super) fn apply(&self, text: &[u8]) -> String {
        match self {
            Protection::Mask { keep } => mask(&String::from_utf8_lossy(text), *keep),
            Protection::Redact => REDACTED.to_owned(),
            Protection::Hash(key) => {
                let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose_secret().as_bytes()) else {
                    // HMAC takes keys of every length.
                    return REDACTED.to_owned();
                };
                mac.update(text);
                hex(&mac.finalize().into_bytes())
            }
        }
    }

    /// Whether two values that differ are still told apart.
    pub(super) const fn tells_apart(&self) -> bool {
        matches!(self, Protection::Hash(_))
    }

    /// The word for it in the configuration.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Protection::Mask { .. } => "mask",
            Protection::Hash(_) => "hash",
            Protection::Redact => "redact",
        }
    }
}

fn mask(text: &str, keep: usize) -> String {
    let length = text.chars().count();
    let hidden = if length > keep { length - keep } else { length };
    text.chars().enumerate().map(|(at, character)| if at < hidden { '*' } else { character }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_values_keep_their_end_unless_that_would_be_all_of_them() {
        for (text, keep, expected) in [
            ("4111111111111111", 4, "************1111"),
            ("1234", 4, "****"),
            ("12", 4, "**"),
            ("é🦀x", 1, "**x"),
            ("", 0, ""),
        ] {
            assert_eq!(Protection::Mask { keep }.apply(text.as_bytes()), expected);
        }
        assert_eq!(Protection::Redact.apply(b"x"), REDACTED);
    }

    #[test]
    fn a_hash_is_hmac_sha_256_as_rfc_4231_has_it() {
        // Its test case 2.
        let hash = Protection::Hash("Jefe".into()).apply(b"what do ya want for nothing?");
        assert_eq!(hash, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }
}
