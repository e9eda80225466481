//! The keys of a `webhook` sink.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value as Json, json};

use super::key::{Describe, Key, Section, Value};
use super::reader::Item;
use super::value::{Count, Positive};
use crate::http::Address;

/// Whom to tell, and how.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where requests go.
    pub address: Address,
    /// Addresses that are not public may be asked.
    pub allow_private: bool,
    /// What requests are signed with.
    pub secret: Option<SecretString>,
    /// Who we are.
    pub token: Option<SecretString>,
    /// The authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// Events of one request.
    pub events_max: usize,
    /// The file of the checkpoint.
    pub checkpoint: PathBuf,
}

/// [`Address`], checked.
struct Url(Address);
/// A secret that cannot be guessed.
struct Signing(SecretString);

static URL: Key<Url> = Key::required(
    "url",
    "\"https://hooks.example.com/changes\"",
    "Where the events are posted: `https://` or `http://`. Redirects are not followed.",
);
static CHECKPOINT: Key<PathBuf> = Key::required(
    "checkpoint",
    "\"/var/lib/walbridge-hooks.checkpoint\"",
    "The file in which walbridge notes how far the receiver has come. Nothing else may write it.",
);
static SECRET: Key<Signing> = Key::optional(
    "secret",
    "requests are not signed",
    "\"${WEBHOOK_SECRET}\"",
    "What requests are signed with, at least 16 bytes; the receiver has the same.",
);
static TOKEN: Key<SecretString> =
    Key::optional("token", "none", "\"${WEBHOOK_TOKEN}\"", "A bearer token that says who we are.");
static CA: Key<PathBuf> =
    Key::optional("ca", "the system's authorities", "\"/etc/ssl/hooks.pem\"", "The authorities to trust, in PEM.");
static TIMEOUT: Key<Positive> =
    Key::default("timeout", "\"30s\"", "\"10s\"", "How long an answer is waited for, connecting included.");
static EVENTS_MAX: Key<Count> =
    Key::default("events_max", "100", "1", "So many events go into a request at most; beside that 1 MiB of them.");
static ALLOW_PRIVATE: Key<bool> = Key::default(
    "allow_private",
    "false",
    "true",
    "Whether addresses that are not public may be asked: of this machine, of private networks, link-local ones. Decided by the address that is connected to.",
);

pub(super) static KEYS: &[&dyn Describe] =
    &[&URL, &CHECKPOINT, &SECRET, &TOKEN, &CA, &TIMEOUT, &EVENTS_MAX, &ALLOW_PRIVATE];

/// Reads them.
pub(super) fn read(section: &Section<'_>) -> Option<Webhook> {
    let (address, checkpoint, secret) = (section.get(&URL), section.get(&CHECKPOINT), section.get(&SECRET));
    let (token, ca, timeout) = (section.get(&TOKEN), section.get(&CA), section.get(&TIMEOUT));
    let (events_max, allow_private) = (section.get(&EVENTS_MAX), section.get(&ALLOW_PRIVATE));
    if secret.is_none() && section.item("secret").is_some() {
        return None;
    }
    Some(Webhook {
        address: address?.0,
        allow_private: allow_private?,
        secret: secret.map(|secret| secret.0),
        token,
        ca,
        timeout: timeout?.0,
        events_max: events_max?.0,
        checkpoint: checkpoint?,
    })
}

impl Value for Url {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("a URL such as \"https://hooks.example.com/changes\"")?;
        let address = Address::parse(&text);
        let address = address.inspect_err(|why| {
            item.complain(format!("`{}` cannot be posted to", item.path), Some((*why).to_owned()));
        });
        address.ok().map(Url)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^https?://" })
    }
}

/// As many as can hardly be guessed.
const SECRET_BYTES_MIN: usize = 16;

impl Value for Signing {
    fn read(item: &Item<'_>) -> Option<Self> {
        let secret = SecretString::read(item)?;
        if secret.expose_secret().len() >= SECRET_BYTES_MIN {
            return Some(Signing(secret));
        }
        let help = "take what `openssl rand -hex 32` prints, from the environment: \"${WEBHOOK_SECRET}\"".to_owned();
        item.complain(format!("`{}` has fewer than {SECRET_BYTES_MIN} bytes", item.path), Some(help));
        None
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }
}
