//! Who we are.

use std::path::PathBuf;

use secrecy::SecretString;

use super::{AwsKeys, AwsScope};

/// How we say who we are.
#[derive(Clone, Debug)]
pub enum Credentials {
    /// A name and its password.
    Basic(String, SecretString),
    /// An API key, encoded.
    ApiKey(SecretString),
    /// Each request is signed (AWS Signature Version 4).
    Aws(AwsScope, AwsSecret),
}

/// Where the keys for that are.
#[derive(Clone, Debug)]
pub enum AwsSecret {
    /// Here.
    Keys(AwsKeys),
    /// In a file of shared credentials, under the name of a profile. It is read for each request, for keys that are good for a while are replaced there.
    File {
        /// The file.
        path: PathBuf,
        /// The profile.
        profile: String,
    },
}

impl AwsSecret {
    /// The keys as they are now.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) fn keys(&self) -> Result<AwsKeys, String> {
        match self {
            AwsSecret::Keys(keys) => Ok(keys.clone()),
            AwsSecret::File { path, profile } => {
                let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
                profiled(&text, profile).ok_or_else(|| {
                    let wanted = "aws_access_key_id and aws_secret_access_key";
                    format!("{} has no {wanted} under [{profile}]", path.display())
                })
            }
        }
    }
}

/// The keys of a profile in a file of shared credentials.
fn profiled(text: &str, profile: &str) -> Option<AwsKeys> {
    let heading = |line: &str| Some(line.strip_prefix('[')?.strip_suffix(']')?.trim() == profile);
    let lines = text.lines().map(str::trim).skip_while(|line| heading(line) != Some(true)).skip(1);
    let lines: Vec<&str> = lines.take_while(|line| !line.starts_with('[')).collect();
    let value = |wanted: &str| {
        let mut values = lines.iter().filter_map(|line| line.split_once('='));
        values.find(|(name, _)| name.trim() == wanted).map(|(_, value)| value.trim().to_owned())
    };
    Some(AwsKeys {
        access_key_id: value("aws_access_key_id")?,
        secret_access_key: value("aws_secret_access_key")?.into(),
        session_token: value("aws_session_token").map(SecretString::from),
    })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_profile_has_its_own_keys_and_no_other_s() {
        let text = "[default]\naws_access_key_id = A\n\n[ search ]\n# ours\naws_access_key_id=B\naws_secret_access_key = s=+/\n\
                    aws_session_token = t\n[half]\naws_access_key_id = C\n[other]\naws_secret_access_key = x\n";
        let keys = profiled(text, "search").expect("keys");
        assert_eq!((keys.access_key_id.as_str(), keys.secret_access_key.expose_secret()), ("B", "s=+/"));
        assert_eq!(keys.session_token.as_ref().map(|token| token.expose_secret()), Some("t"));
        assert!(profiled(text, "half").is_none() && profiled(text, "none").is_none());
    }
}
