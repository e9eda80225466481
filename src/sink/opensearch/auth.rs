//! Saying who we are, with each request.

use hyper::header::{AUTHORIZATION, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;

use crate::decode::base64;
use crate::http::{AwsScope, AwsSecret, Credentials, Signed, sign};

/// See the module.
pub(super) enum Auth {
    /// We are nobody.
    None,
    /// The same each time.
    Header(HeaderValue),
    /// The request is signed.
    Aws(AwsScope, AwsSecret),
}

impl Auth {
    /// `Err`: why these are none that could be sent.
    pub(super) fn new(credentials: Option<&Credentials>) -> Result<Self, String> {
        let text = match credentials {
            None => return Ok(Auth::None),
            Some(Credentials::Aws(scope, secret)) => return Ok(Auth::Aws(scope.clone(), secret.clone())),
            Some(Credentials::Basic(name, password)) => {
                let mut text = b"Basic ".to_vec();
                base64::encode(format!("{name}:{}", password.expose_secret()).as_bytes(), &mut text);
                text
            }
            Some(Credentials::ApiKey(key)) => format!("ApiKey {}", key.expose_secret()).into_bytes(),
        };
        secret(&text).map(Auth::Header).ok_or_else(|| "the API key cannot be one".to_owned())
    }

    /// The headers that a request needs for it. `Err`: why there are none.
    pub(super) fn headers(
        &self,
        method: &str,
        host: &str,
        uri: &str,
        body: &[u8],
    ) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        match self {
            Auth::None => Ok(Vec::new()),
            Auth::Header(value) => Ok(vec![(AUTHORIZATION, value.clone())]),
            Auth::Aws(scope, keys) => {
                let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
                let tells_hash = scope.service == "aoss";
                let request = Signed { method, host, path, query, body, tells_hash };
                let headers = sign(&keys.keys()?, scope, request, jiff::Timestamp::now());
                let headers = headers.into_iter().map(|(name, value)| {
                    Some((HeaderName::from_static(name), secret(value.expose_secret().as_bytes())?))
                });
                headers.collect::<Option<_>>().ok_or_else(|| "the AWS credentials have a line break in them".to_owned())
            }
        }
    }
}

/// A header's value that is never shown.
fn secret(text: &[u8]) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_bytes(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
