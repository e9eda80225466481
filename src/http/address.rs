//! A base URL, taken apart.

use std::fmt;

/// A base URL: `http://host:port/path`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Encrypted.
    pub tls: bool,
    /// The host's name or address; of IPv6 without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What stands in front of the API's paths: empty, or with a slash in front and none behind.
    pub path: String,
}

impl Address {
    /// Reads one.
    ///
    /// # Errors
    /// Why it cannot be one.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (tls, rest) = match text.split_once("://") {
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            _ => return Err("it begins with http:// or https://"),
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
        if authority.contains('@') {
            return Err("write the name and the password as username and password");
        }
        if path.contains(['?', '#']) || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it ends with the path in front of the API's own, without a query");
        }
        let brackets = authority.rfind(']');
        let colon = authority.rfind(':').filter(|&colon| brackets.is_none_or(|end| colon > end));
        let (host, port) = match colon.and_then(|colon| authority.split_at_checked(colon)) {
            Some((host, port)) => {
                (host, port.trim_start_matches(':').parse().map_err(|_| "its port is no number up to 65535")?)
            }
            None => (authority, if tls { 443 } else { 80 }),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        if host.is_empty() || port == 0 {
            return Err("it has no host, or no port");
        }
        Ok(Address { tls, host, port, path: path.trim_end_matches('/').to_owned() })
    }

    /// `host:port`, as HTTP has it.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}{}", if self.tls { "https" } else { "http" }, self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_what_is_none_says_why() {
        let show = |text: &str| Address::parse(text).map(|address| address.to_string());
        assert_eq!(show("http://registry:8081"), Ok("http://registry:8081".to_owned()));
        assert_eq!(
            show("https://r.internal/apis/ccompat/v7/"),
            Ok("https://r.internal:443/apis/ccompat/v7".to_owned())
        );
        assert_eq!(show("http://[::1]:8081"), Ok("http://[::1]:8081".to_owned()));
        assert_eq!(show("http://[::1]"), Ok("http://[::1]:80".to_owned()));
        for (wrong, why) in [
            ("registry:8081", "http://"),
            ("http://a:b@registry", "username"),
            ("http://registry:80810", "port"),
            ("http://:8081", "host"),
            ("http://registry/a?b", "query"),
        ] {
            assert!(show(wrong).is_err_and(|said| said.contains(why)), "{wrong}");
        }
    }
}
