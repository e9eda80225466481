//! `[sinks.NAME.aws]`: requests that are signed for Amazon.

use std::path::PathBuf;

use secrecy::SecretString;
use serde_json::Value as Json;

use super::key::{Describe, Key, Section, Value, table_schema};
use super::reader::Item;
use super::value::Choice;
use crate::http::{AwsKeys, AwsScope, AwsSecret, Credentials};

#[derive(Clone, Copy, Debug)]
enum Service {
    Managed,
    Serverless,
}

impl Choice for Service {
    const WORDS: &'static [(&'static str, Self)] = &[("es", Service::Managed), ("aoss", Service::Serverless)];
}

static REGION: Key<String> = Key::required("region", "\"eu-central-1\"", "The region that the servers are in.");
static SERVICE: Key<Service> =
    Key::default("service", "\"es\"", "\"aoss\"", "`es`: OpenSearch Service; `aoss`: OpenSearch Serverless.");
static ACCESS_KEY_ID: Key<String> = Key::optional(
    "access_key_id",
    "from `credentials_file`",
    "\"${AWS_ACCESS_KEY_ID}\"",
    "The public half of the key, with `secret_access_key`.",
);
static SECRET_ACCESS_KEY: Key<SecretString> = Key::optional(
    "secret_access_key",
    "from `credentials_file`",
    "\"${AWS_SECRET_ACCESS_KEY}\"",
    "The secret half of the key.",
);
static SESSION_TOKEN: Key<SecretString> = Key::optional(
    "session_token",
    "none",
    "\"${AWS_SESSION_TOKEN}\"",
    "What goes with a key that is good for a while. Whoever replaces such keys writes them to a `credentials_file`.",
);
static CREDENTIALS_FILE: Key<PathBuf> = Key::optional(
    "credentials_file",
    "none",
    "\"/run/secrets/aws\"",
    "A file of shared credentials, in place of the keys here. It is read for each request, so keys can be replaced there.",
);
static PROFILE: Key<String> =
    Key::default("profile", "\"default\"", "\"search\"", "The heading in that file under which the keys are.");

pub(super) static KEYS: &[&dyn Describe] =
    &[&REGION, &SERVICE, &ACCESS_KEY_ID, &SECRET_ACCESS_KEY, &SESSION_TOKEN, &CREDENTIALS_FILE, &PROFILE];

/// [`Credentials::Aws`].
pub(super) struct Aws(pub(super) Credentials);

impl Value for Aws {
    fn read(item: &Item<'_>) -> Option<Self> {
        let section = Section::of(item, item.value.span())?;
        section.refuse_others(KEYS, |_| None);
        let (region, service, profile) = (section.get(&REGION), section.get(&SERVICE), section.get(&PROFILE));
        let (id, secret, session_token) =
            (section.get(&ACCESS_KEY_ID), section.get(&SECRET_ACCESS_KEY), section.get(&SESSION_TOKEN));
        let path = section.get(&CREDENTIALS_FILE);
        let secret = match (id, secret, path) {
            (Some(access_key_id), Some(secret_access_key), None) => {
                AwsSecret::Keys(AwsKeys { access_key_id, secret_access_key, session_token })
            }
            (None, None, Some(path)) => AwsSecret::File { path, profile: profile? },
            _ => {
                let help = "give access_key_id and secret_access_key, or credentials_file alone".to_owned();
                section.complain("the keys are in one place".to_owned(), help);
                return None;
            }
        };
        let service = match service? {
            Service::Managed => "es",
            Service::Serverless => "aoss",
        };
        Some(Aws(Credentials::Aws(AwsScope { region: region?, service: service.to_owned() }, secret)))
    }

    fn schema() -> Json {
        table_schema(KEYS)
    }
}
