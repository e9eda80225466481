//! The keys of an `opensearch` sink.

use std::path::PathBuf;

use secrecy::SecretString;
use serde_json::{Map, Value as Json, json};
use toml::de::DeValue;

use super::key::{Describe, Key, Section, Value};
use super::reader::Item;
use super::sink::Template;
use crate::http::{Address, Credentials};

/// Where the index is, and how it is made.
#[derive(Clone, Debug)]
pub struct OpenSearch {
    /// The server, or what stands in front of the servers.
    pub address: Address,
    /// Who we are.
    pub credentials: Option<Credentials>,
    /// The authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The alias; the index behind it is `NAME-1`.
    pub index: String,
    /// The template of the documents' ids; `None`: schema, table and the row's key.
    pub key: Option<String>,
    /// Mappings of fields, by column.
    pub mapping: Map<String, Json>,
    /// Settings of the index.
    pub settings: Map<String, Json>,
}

/// [`Address`], checked.
struct Url(Address);
/// The name of an alias.
struct IndexName(String);
/// A table that is handed on as it is.
struct Object(Map<String, Json>);

static URL: Key<Url> = Key::required(
    "url",
    "\"https://search.internal:9200\"",
    "Where the server is, or what stands in front of several: `http://` or `https://`.",
);
static INDEX: Key<IndexName> = Key::required(
    "index",
    "\"users\"",
    "The name under which readers find the documents: an alias. The index behind it is `NAME-1`, and walbridge makes both.",
);
static KEY: Key<Template> = Key::optional(
    "key",
    "`schema.table:` and the row's key",
    "\"{id}\"",
    "The id of a row's document; `{column}` is that column's value, `{table}` the table's name.",
);
static USERNAME: Key<String> =
    Key::optional("username", "nobody", "\"walbridge\"", "Who we are (basic authentication).");
static PASSWORD: Key<SecretString> =
    Key::optional("password", "none", "\"${SEARCH_PASSWORD}\"", "The password, with `username`.");
static API_KEY: Key<SecretString> = Key::optional(
    "api_key",
    "none",
    "\"${SEARCH_API_KEY}\"",
    "An API key, encoded as the server gave it, in place of `username` and `password`.",
);
static CA: Key<PathBuf> =
    Key::optional("ca", "the system's authorities", "\"/etc/ssl/search.pem\"", "The authorities to trust, in PEM.");
static MAPPING: Key<Object> = Key::default(
    "mapping",
    "{}",
    "{ bio = { type = \"text\", analyzer = \"english\" } }",
    "The mapping of a column's field, in place of what its type calls for. Of a field that the index has already nothing changes.",
);
static SETTINGS: Key<Object> = Key::default(
    "settings",
    "{}",
    "{ number_of_shards = 3, number_of_replicas = 1 }",
    "Settings of the index when it is made, as the server names them.",
);

pub(super) static KEYS: &[&dyn Describe] =
    &[&URL, &INDEX, &KEY, &USERNAME, &PASSWORD, &API_KEY, &CA, &MAPPING, &SETTINGS];

/// Reads them.
pub(super) fn read(section: &Section<'_>) -> Option<OpenSearch> {
    let (address, index, key, ca) = (section.get(&URL), section.get(&INDEX), section.get(&KEY), section.get(&CA));
    let (mapping, settings) = (section.get(&MAPPING), section.get(&SETTINGS));
    let credentials = match (section.get(&USERNAME), section.get(&PASSWORD), section.get(&API_KEY)) {
        (None, None, None) => None,
        (Some(username), Some(password), None) => Some(Credentials::Basic(username, password)),
        (None, None, Some(key)) => Some(Credentials::ApiKey(key)),
        _ => {
            let help = "give username and password, or api_key alone".to_owned();
            section.complain("the server is told who we are in one way".to_owned(), help);
            return None;
        }
    };
    let key = key.map(|key| key.0);
    let (mapping, settings) = (mapping?.0, settings?.0);
    Some(OpenSearch { address: address?.0, credentials, ca, index: index?.0, key, mapping, settings })
}

impl Value for Url {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("a URL such as \"https://search.internal:9200\"")?;
        let address = Address::parse(&text);
        let address = address.inspect_err(|why| {
            item.complain(format!("`{}` is not a server's URL", item.path), Some((*why).to_owned()));
        });
        address.ok().map(Url)
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": "^https?://" })
    }
}

/// What the server takes for a name, and a URL as it is.
const INDEX_PATTERN: &str = "^[a-z0-9][a-z0-9_.-]{0,199}$";

impl Value for IndexName {
    fn read(item: &Item<'_>) -> Option<Self> {
        let name = item.text("a name such as \"users\"")?;
        let inside = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.-".contains(&byte);
        let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if begins && name.len() <= 200 && name.bytes().all(inside) {
            return Some(IndexName(name));
        }
        let help = "small letters, digits, `_`, `.` and `-`, at most 200, a letter or digit first".to_owned();
        item.complain(format!("`{}` cannot be an index's name", item.written()), Some(help));
        None
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": INDEX_PATTERN })
    }
}

impl Value for Object {
    fn read(item: &Item<'_>) -> Option<Self> {
        match as_json(item.value.get_ref()) {
            Some(Json::Object(object)) => Some(Object(object)),
            _ => {
                let help = "write it as a table, of texts, numbers, true, false and lists: { analyzer = \"english\" }";
                item.complain(format!("`{}` is a table", item.path), Some(help.to_owned()));
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "object", "additionalProperties": true })
    }
}

/// The same in JSON; `None` for what JSON has not.
fn as_json(value: &DeValue<'_>) -> Option<Json> {
    Some(match value {
        DeValue::String(text) => Json::from(text.as_ref()),
        DeValue::Boolean(value) => Json::from(*value),
        DeValue::Integer(number) => Json::from(i64::from_str_radix(number.as_str(), number.radix()).ok()?),
        DeValue::Float(number) => Json::from(number.as_str().parse::<f64>().ok().filter(|number| number.is_finite())?),
        DeValue::Array(elements) => {
            Json::Array(elements.iter().map(|element| as_json(element.get_ref())).collect::<Option<_>>()?)
        }
        DeValue::Table(members) => {
            let member = |(name, value): (&toml::Spanned<std::borrow::Cow<'_, str>>, &toml::Spanned<DeValue<'_>>)| {
                Some((name.get_ref().to_string(), as_json(value.get_ref())?))
            };
            Json::Object(members.iter().map(member).collect::<Option<_>>()?)
        }
        DeValue::Datetime(_) => return None,
    })
}
