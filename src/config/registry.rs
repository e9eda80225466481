//! The keys of a schema registry.

use std::path::PathBuf;

use secrecy::SecretString;
use serde_json::Value as Json;

use super::key::{Describe, Key, Section, Value, table_schema};
use super::reader::Item;
use crate::http::Address;
use crate::kafka::format::Format;
use crate::kafka::registry::Settings;

/// [`Address`], checked.
struct Url(Address);

static URL: Key<Url> = Key::required(
    "url",
    "\"https://registry.internal:8081\"",
    "Where it is, with the path in front of `/subjects` if there is one (Apicurio's: `/apis/ccompat/v7`).",
);
static USERNAME: Key<String> =
    Key::optional("username", "nobody", "\"walbridge\"", "Who we are (basic authentication).");
static PASSWORD: Key<SecretString> =
    Key::optional("password", "none", "\"${REGISTRY_PASSWORD}\"", "The password, with `username`.");
static CA: Key<PathBuf> =
    Key::optional("ca", "the system's authorities", "\"/etc/ssl/registry.pem\"", "The authorities to trust, in PEM.");
static AUTO_REGISTER: Key<bool> = Key::default(
    "auto_register",
    "true",
    "false",
    "A schema that the registry does not have is registered. `false`: it must be there, or the source or sink halts and says it.",
);

pub(super) static KEYS: &[&dyn Describe] = &[&URL, &USERNAME, &PASSWORD, &CA, &AUTO_REGISTER];

/// Whether there is a registry exactly where the format has schemas; complains if not.
pub(super) fn fits(section: &Section<'_>, format: Format) -> bool {
    let name = format.name();
    match (section.item("schema_registry"), format.has_schemas()) {
        (Some(item), false) => {
            let help = "leave it out, or choose format = \"avro\" or \"protobuf\"".to_owned();
            item.complain(
                format!("the format \"{name}\" has no schemas, so `{}` is for nothing", item.path),
                Some(help),
            );
            false
        }
        (None, true) => {
            let Some(item) = section.item("format") else { return false };
            let help = "add schema_registry = { url = \"http://registry:8081\" }".to_owned();
            item.complain(
                format!("the format \"{name}\" has its schemas in a registry, and none is named"),
                Some(help),
            );
            false
        }
        _ => true,
    }
}

impl Value for Url {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("a URL such as \"http://registry:8081\"")?;
        let address = Address::parse(&text);
        let address = address.inspect_err(|why| {
            item.complain(format!("`{}` is not a registry's URL", item.path), Some((*why).to_owned()));
        });
        address.ok().map(Url)
    }

    fn schema() -> Json {
        serde_json::json!({ "type": "string", "pattern": "^https?://" })
    }
}

/// [`Settings`], read.
pub(super) struct RawRegistry(pub(super) Settings);

impl Value for RawRegistry {
    fn read(item: &Item<'_>) -> Option<Self> {
        let section = Section::of(item, item.value.span())?;
        section.refuse_others(KEYS, |_| None);
        let (url, ca, auto_register) = (section.get(&URL), section.get(&CA), section.get(&AUTO_REGISTER));
        let credentials = match (section.get(&USERNAME), section.get(&PASSWORD)) {
            (Some(username), Some(password)) => Some((username, password)),
            (None, None) => None,
            _ => {
                let text = format!("`{}` needs username and password, or neither", item.path);
                section.complain(text, "give both".to_owned());
                return None;
            }
        };
        Some(RawRegistry(Settings { address: url?.0, credentials, ca, auto_register: auto_register? }))
    }

    fn schema() -> Json {
        table_schema(KEYS)
    }
}
