//! `[admin]`: the HTTP port for operators.

use std::net::SocketAddr;
use std::path::PathBuf;

use secrecy::{ExposeSecret as _, SecretString};

use super::key::{Describe, Key, Section};

/// The admin port.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What a client must show; always there where others than this machine can connect.
    pub token: Option<SecretString>,
}

static LISTEN: Key<SocketAddr> = Key::default(
    "listen",
    "\"127.0.0.1:7431\"",
    "\"127.0.0.1:7431\"",
    "Address and port. Any other address than this machine's own needs a token.",
);
static TOKEN: Key<SecretString> = Key::optional(
    "token",
    "everyone on this machine may look",
    "\"${WALBRIDGE_TOKEN}\"",
    "What clients must send as `Authorization: Bearer …`; at least 16 characters. Better from the environment than written here.",
);
static TOKEN_FILE: Key<PathBuf> =
    Key::optional("token_file", "see `token`", "\"/run/secrets/walbridge-token\"", "A file that holds the token.");

pub(super) static KEYS: &[&dyn Describe] = &[&LISTEN, &TOKEN, &TOKEN_FILE];

/// What can be guessed in a lifetime is no token.
const TOKEN_CHARACTERS_MIN: usize = 16;

/// Reads it.
pub(super) fn read(section: &Section<'_>) -> Option<Admin> {
    section.refuse_others(KEYS, |_| None);
    let listen = section.get(&LISTEN);
    let token = read_token(section);
    let (listen, token) = (listen?, token?);
    if !listen.ip().is_loopback() && token.is_none() {
        let message = format!("{listen} can be reached from other machines, and there is no token");
        let help = "add token = \"${WALBRIDGE_TOKEN}\", or listen on 127.0.0.1".to_owned();
        match section.item("listen") {
            Some(item) => item.complain(message, Some(help)),
            None => section.complain(message, help),
        }
        return None;
    }
    Some(Admin { listen, token })
}

fn read_token(section: &Section<'_>) -> Option<Option<SecretString>> {
    let (item, token) = match (section.item("token"), section.item("token_file")) {
        (None, None) => return Some(None),
        (Some(_), Some(file)) => {
            file.complain("there is a `token` already".to_owned(), Some("keep one of the two".to_owned()));
            return None;
        }
        (Some(item), None) => (item, section.get(&TOKEN)?),
        (None, Some(item)) => {
            let path = section.get(&TOKEN_FILE)?;
            let text = std::fs::read_to_string(&path).inspect_err(|error| {
                let help = "the file must be there, and readable for the user that runs walbridge".to_owned();
                item.complain(format!("cannot read {}: {error}", item.written()), Some(help));
            });
            (item, SecretString::from(text.ok()?.trim_end()))
        }
    };
    let characters = token.expose_secret().chars();
    let sendable = token.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
    if characters.count() < TOKEN_CHARACTERS_MIN || !sendable {
        let help = "16 or more visible ASCII characters; openssl rand -hex 32 makes a good one".to_owned();
        item.complain("the token is too short, or has a character that cannot be sent".to_owned(), Some(help));
        return None;
    }
    Some(Some(token))
}
