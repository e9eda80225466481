//! A connection URL, taken apart: parameters by name, percent-decoded, with libpq's environment variables beneath them.

use std::path::PathBuf;

use super::address::{AddressError, ChannelBinding, Host, Session, SslMode};

const PARAMETERS: [&str; 15] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "channel_binding",
    "connect_timeout",
    "application_name",
    "passfile",
    "target_session_attrs",
    "load_balance_hosts",
];
/// What stands for a parameter that the url leaves out (manual: "Environment Variables" of libpq).
const VARIABLES: [(&str, &str); 12] = [
    ("host", "PGHOST"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("dbname", "PGDATABASE"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
    ("application_name", "PGAPPNAME"),
    ("target_session_attrs", "PGTARGETSESSIONATTRS"),
];
const DEFAULT_PORT: u16 = 5432;

/// The URL cut into parameters, percent-decoded.
pub(crate) struct Parts(Vec<(String, String)>);

impl Parts {
    /// What the url leaves out is taken from the environment; what is empty there counts as not set.
    pub(crate) fn split(url: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Self, AddressError> {
        let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://")).ok_or_else(|| {
            AddressError(
                "a url of PostgreSQL begins with postgres://, as in postgres://user@host:5432/database".to_owned(),
            )
        })?;
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        let (user, password) = login.split_once(':').map_or((login, None), |(user, word)| (user, Some(word)));
        let given = |(name, variable): &(&str, &str)| Some(((*name).to_owned(), environment(variable)?));
        let mut parts: Vec<(String, String)> = VARIABLES.iter().filter_map(given).collect();
        parts.retain(|(_, value)| !value.is_empty());
        let mut add = |name: &str, value: &str| -> Result<(), AddressError> {
            parts.push((name.to_owned(), decode_percent(name, value)?));
            Ok(())
        };
        for (name, value) in [("user", user), ("dbname", database), ("authority", hosts)] {
            if !value.is_empty() {
                add(name, value)?;
            }
        }
        if let Some(password) = password {
            add("password", password)?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair
                .split_once('=')
                .ok_or_else(|| AddressError("a parameter of the url has no value; write name=value".to_owned()))?;
            if !PARAMETERS.contains(&name) {
                return Err(unknown_parameter(name));
            }
            add(name, value)?;
        }
        Ok(Parts(parts))
    }

    /// The last one counts, so a parameter overrides what stands before the `?`.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }

    pub(crate) fn parsed<T: std::str::FromStr>(&self, name: &str, wanted: &str) -> Result<Option<T>, AddressError> {
        let parse = |text: String| text.parse().map_err(|_| AddressError(format!("{name} must be {wanted}")));
        self.get(name).map(parse).transpose()
    }

    /// Hosts and ports in pairs; one port is for all hosts.
    pub(crate) fn hosts(&self) -> Result<Vec<Host>, AddressError> {
        let list = self.last_of(&["host", "authority"]).unwrap_or_else(|| "localhost".to_owned());
        let hosts: Vec<&str> = list.split(',').collect();
        let ports: Vec<u16> = match self.get("port") {
            Some(text) => text.split(',').map(|port| parse_port(port.trim())).collect::<Result<_, _>>()?,
            None => vec![DEFAULT_PORT],
        };
        if ports.len() > 1 && ports.len() != hosts.len() {
            let (ports, hosts) = (ports.len(), hosts.len());
            return Err(AddressError(format!(
                "there are {ports} ports for {hosts} hosts; give one for all, or one for each"
            )));
        }
        let ports = ports.iter().cycle();
        hosts.iter().zip(ports).map(|(host, port)| parse_host(host.trim(), *port)).collect()
    }

    /// The value that was given last under any of these names.
    fn last_of(&self, names: &[&str]) -> Option<String> {
        self.0.iter().rev().find(|(key, _)| names.contains(&key.as_str())).map(|(_, value)| value.clone())
    }

    pub(crate) fn ssl_mode(&self) -> Result<Option<SslMode>, AddressError> {
        let Some(mode) = self.get("sslmode") else { return Ok(None) };
        Ok(Some(match mode.as_str() {
            "disable" => SslMode::Disable,
            "allow" | "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => {
                return Err(AddressError(
                    "sslmode must be disable, prefer, require, verify-ca or verify-full".to_owned(),
                ));
            }
        }))
    }

    pub(crate) fn channel_binding(&self) -> Result<ChannelBinding, AddressError> {
        match self.get("channel_binding").as_deref() {
            None | Some("prefer") => Ok(ChannelBinding::Prefer),
            Some("require") => Ok(ChannelBinding::Require),
            Some("disable") => Ok(ChannelBinding::Disable),
            Some(_) => Err(AddressError("channel_binding must be disable, prefer or require".to_owned())),
        }
    }

    pub(crate) fn session(&self) -> Result<Option<Session>, AddressError> {
        let Some(text) = self.get("target_session_attrs") else { return Ok(None) };
        let found = Session::WORDS.iter().find(|(word, _)| *word == text);
        let words = || Session::WORDS.map(|(word, _)| word).join(", ");
        found
            .map(|(_, session)| Some(*session))
            .ok_or_else(|| AddressError(format!("target_session_attrs must be one of {}", words())))
    }

    pub(crate) fn shuffle(&self) -> Result<bool, AddressError> {
        match self.get("load_balance_hosts").as_deref() {
            None | Some("disable") => Ok(false),
            Some("random") => Ok(true),
            Some(_) => Err(AddressError("load_balance_hosts must be disable or random".to_owned())),
        }
    }
}

fn unknown_parameter(name: &str) -> AddressError {
    let near = PARAMETERS.iter().map(|&known| (strsim::damerau_levenshtein(name, known), known)).min();
    match near {
        Some((distance, known)) if distance <= 3 => {
            AddressError(format!("the url has an unknown parameter `{name}`; did you mean `{known}`?"))
        }
        _ => AddressError(format!("the url has an unknown parameter `{name}`; known are {}", PARAMETERS.join(", "))),
    }
}

fn parse_host(text: &str, default_port: u16) -> Result<Host, AddressError> {
    if text.starts_with('/') {
        return Ok(Host::Unix(PathBuf::from(text), default_port));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, after) = rest
            .split_once(']')
            .ok_or_else(|| AddressError("an IPv6 address stands in brackets: [::1]:5432".to_owned()))?;
        let port = after.strip_prefix(':').map_or(Ok(default_port), parse_port)?;
        return Ok(Host::Tcp(address.to_owned(), port));
    }
    match text.split_once(':') {
        // More than one colon: an IPv6 address given by the `host` parameter, where no brackets are needed.
        Some((_, after)) if after.contains(':') => Ok(Host::Tcp(text.to_owned(), default_port)),
        Some((name, port)) => Ok(Host::Tcp(name.to_owned(), parse_port(port)?)),
        None if text.is_empty() => Ok(Host::Tcp("localhost".to_owned(), default_port)),
        None => Ok(Host::Tcp(text.to_owned(), default_port)),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    text.parse().ok().filter(|&port| port != 0).ok_or_else(|| {
        AddressError(
            "the port must be a number from 1 to 65535; a `/`, `@` or `:` in a password is written %2F, %40, %3A"
                .to_owned(),
        )
    })
}

fn decode_percent(name: &str, text: &str) -> Result<String, AddressError> {
    let refuse =
        || AddressError(format!("{name} in the url is not percent-encoded rightly; a literal % is written %25"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let (digits, after) = rest.split_at_checked(2).ok_or_else(refuse)?;
            let digits = std::str::from_utf8(digits).map_err(|_| refuse())?;
            bytes.push(u8::from_str_radix(digits, 16).map_err(|_| refuse())?);
            rest = after;
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok().filter(|text| !text.contains('\0')).ok_or_else(refuse)
}
