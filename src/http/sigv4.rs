//! AWS Signature Version 4: a request is signed with a key of its day, region and service, that is made of a secret.
//!
//! The algorithm is Amazon's (IAM User Guide, "Create a signed AWS API request"). What is signed is the method, the path, the query, the host, the
//! time, the session token where there is one, and the body's hash; the other side computes the same of what it got.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit as _, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::escape::{hex, percent_encoded};

/// What a request is signed with.
#[derive(Clone, Debug)]
pub struct AwsKeys {
    /// The public half.
    pub access_key_id: String,
    /// The other.
    pub secret_access_key: SecretString,
    /// What goes with keys that are good for a while.
    pub session_token: Option<SecretString>,
}

/// Where a signature is good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsScope {
    /// `eu-central-1`.
    pub region: String,
    /// `es`, or `aoss` of OpenSearch Serverless.
    pub service: String,
}

/// A request as far as it is signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signed<'a> {
    pub(crate) method: &'a str,
    /// As HTTP has it in `Host`.
    pub(crate) host: &'a str,
    /// As it is sent: percent-encoded where it has to be.
    pub(crate) path: &'a str,
    /// As it is sent, without the question mark; empty: none.
    pub(crate) query: &'a str,
    pub(crate) body: &'a [u8],
    /// The body's hash is sent as well: OpenSearch Serverless wants that.
    pub(crate) tells_hash: bool,
}

/// The headers that a request needs besides, with their values. `now` is of UTC.
pub(crate) fn sign(
    keys: &AwsKeys,
    scope: &AwsScope,
    request: Signed<'_>,
    now: jiff::Timestamp,
) -> Vec<(&'static str, SecretString)> {
    let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
    let day = time.get(..8).unwrap_or_default();
    let hash = hex(&Sha256::digest(request.body));
    let mut headers = vec![("host", SecretString::from(request.host.to_owned()))];
    if request.tells_hash {
        headers.push(("x-amz-content-sha256", SecretString::from(hash.clone())));
    }
    headers.push(("x-amz-date", SecretString::from(time.clone())));
    headers.extend(keys.session_token.clone().map(|token| ("x-amz-security-token", token)));

    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let mut canonical =
        format!("{}\n{}\n{}\n", request.method, percent_encoded(request.path, b"-._~/"), sorted(request.query));
    for (name, value) in &headers {
        // Writing to a string does not fail.
        let _ = writeln!(canonical, "{name}:{}", value.expose_secret());
    }
    let _ = write!(canonical, "\n{names}\n{hash}");
    let within = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{within}\n{}", hex(&Sha256::digest(canonical)));
    let secret = format!("AWS4{}", keys.secret_access_key.expose_secret()).into_bytes();
    let key = [day, &scope.region, &scope.service, "aws4_request"].iter().fold(secret, |key, part| hmac(&key, part));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{within}, SignedHeaders={names}, Signature={}",
        keys.access_key_id,
        hex(&hmac(&key, &text))
    );
    headers.push(("authorization", SecretString::from(authorization)));
    headers.retain(|(name, _)| *name != "host");
    headers
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    // A key of any length will do.
    Hmac::<Sha256>::new_from_slice(key).map_or_else(
        |_| Vec::new(),
        |mut mac| {
            mac.update(text.as_bytes());
            mac.finalize().into_bytes().to_vec()
        },
    )
}

/// The parameters in order, each with an equals sign.
fn sorted(query: &str) -> String {
    let mut parameters: Vec<(String, String)> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            // What was encoded for the request stays as it is.
            (percent_encoded(name, b"-._~%"), percent_encoded(value, b"-._~%"))
        })
        .collect();
    parameters.sort();
    parameters.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of the test suite that Amazon has published for the algorithm.
    fn signature(request: Signed<'_>, token: Option<&str>) -> String {
        let keys = AwsKeys {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: SecretString::from("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"),
            session_token: token.map(SecretString::from),
        };
        let scope = AwsScope { region: "us-east-1".to_owned(), service: "service".to_owned() };
        let now = "2015-08-30T12:36:00Z".parse().expect("a time");
        let headers = sign(&keys, &scope, request, now);
        headers.last().expect("headers").1.expose_secret().to_owned()
    }

    fn vanilla(method: &'static str) -> Signed<'static> {
        Signed { method, host: "example.amazonaws.com", path: "/", query: "", body: b"", tells_hash: false }
    }

    const CREDENTIAL: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request";

    /// The cases `get-vanilla`, `post-vanilla`, `get-vanilla-query-order-key-case`, `get-utf8` and `post-sts-header-before` of that suite.
    #[test]
    fn the_published_requests_have_the_published_signatures() {
        let plain = |signature: &str| format!("{CREDENTIAL}, SignedHeaders=host;x-amz-date, Signature={signature}");
        assert_eq!(
            signature(vanilla("GET"), None),
            plain("5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31")
        );
        assert_eq!(
            signature(vanilla("POST"), None),
            plain("5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b")
        );
        assert_eq!(
            signature(Signed { query: "Param2=value2&Param1=value1", ..vanilla("GET") }, None),
            plain("b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500")
        );
        assert_eq!(
            signature(Signed { path: "/\u{1234}", ..vanilla("GET") }, None),
            plain("8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85")
        );
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/\
            qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+\
            scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        assert_eq!(
            signature(vanilla("POST"), Some(token)),
            format!(
                "{CREDENTIAL}, SignedHeaders=host;x-amz-date;x-amz-security-token, \
                 Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
            )
        );
    }
}
