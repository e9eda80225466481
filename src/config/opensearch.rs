//! The keys of an `opensearch` sink.

use std::path::PathBuf;

use secrecy::SecretString;
use serde_json::{Map, Value as Json, json};
use toml::de::DeValue;

use super::aws::Aws;
use super::key::{Describe, Key, Section, Value};
use super::reader::Item;
use super::value::Template;
use crate::http::{Address, Credentials};
use crate::project::key::{Place, is_index_name};

/// Where the index is, and how it is made.
#[derive(Clone, Debug)]
pub struct OpenSearch {
    /// The servers, or what stands in front of them; at least one.
    pub addresses: Vec<Address>,
    /// Who we are.
    pub credentials: Option<Credentials>,
    /// The authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// The alias, or its template where each row tells its own; the index behind it is `NAME-1`.
    pub index: String,
    /// The template of the routing value.
    pub routing: Option<String>,
    /// The ingest pipeline that documents go through.
    pub pipeline: Option<String>,
    /// The template of the documents' ids; `None`: schema, table and the row's key.
    pub key: Option<String>,
    /// Mappings of fields, by column.
    pub mapping: Map<String, Json>,
    /// Settings of the index.
    pub settings: Map<String, Json>,
}

/// [`Address`]es, checked.
struct Urls(Vec<Address>);
/// The name of an alias, or its template.
struct IndexName(String);
/// The template of a routing value.
struct Routing(String);
/// A table that is handed on as it is.
struct Object(Map<String, Json>);

static URL: Key<Urls> = Key::required(
    "url",
    "\"https://search.internal:9200\"",
    "Where the server is, `http://` or `https://`; or a list, of the servers of one cluster. They are asked in turn; one that cannot be reached is left out for a while.",
);
static INDEX: Key<IndexName> = Key::required(
    "index",
    "\"users\"",
    "The name under which readers find the documents: an alias. The index behind it is `NAME-1`, and walbridge makes both. With `{column}` in it each row tells its own.",
);
static ROUTING: Key<Routing> = Key::optional(
    "routing",
    "the id",
    "\"{tenant}\"",
    "What decides which shard a row's document is on; `{column}` is that column's value, as in `key`. A row that has NULL there goes by its id.",
);
static PIPELINE: Key<String> = Key::optional(
    "pipeline",
    "none",
    "\"geocode\"",
    "The ingest pipeline that documents go through. It must be there.",
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
static AWS: Key<Aws> = Key::optional(
    "aws",
    "requests are not signed",
    "{ region = \"eu-central-1\", credentials_file = \"/run/secrets/aws\" }",
    "Each request is signed for Amazon (Signature Version 4), in place of `username` and `api_key`.",
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
    &[&URL, &INDEX, &KEY, &ROUTING, &PIPELINE, &USERNAME, &PASSWORD, &API_KEY, &AWS, &CA, &MAPPING, &SETTINGS];

/// Reads them.
pub(super) fn read(section: &Section<'_>) -> Option<OpenSearch> {
    let (addresses, index, key, ca) = (section.get(&URL), section.get(&INDEX), section.get(&KEY), section.get(&CA));
    let (mapping, settings) = (section.get(&MAPPING), section.get(&SETTINGS));
    let (routing, pipeline) = (section.get(&ROUTING), section.get(&PIPELINE));
    if routing.is_none() && section.item(ROUTING.name()).is_some() {
        return None;
    }
    let credentials = read_credentials(section)?;
    let (key, routing) = (key.map(|key| key.0), routing.map(|routing| routing.0));
    let (mapping, settings) = (mapping?.0, settings?.0);
    Some(OpenSearch {
        addresses: addresses?.0,
        credentials,
        ca,
        index: index?.0,
        key,
        routing,
        pipeline,
        mapping,
        settings,
    })
}

/// How we say who we are. `None`: not as it can be.
fn read_credentials(section: &Section<'_>) -> Option<Option<Credentials>> {
    let aws = section.get(&AWS);
    if aws.is_none() && section.item(AWS.name()).is_some() {
        return None;
    }
    match (section.get(&USERNAME), section.get(&PASSWORD), section.get(&API_KEY), aws) {
        (None, None, None, aws) => Some(aws.map(|aws| aws.0)),
        (Some(username), Some(password), None, None) => Some(Some(Credentials::Basic(username, password))),
        (None, None, Some(key), None) => Some(Some(Credentials::ApiKey(key))),
        _ => {
            let help = "give username and password, or api_key alone, or aws alone".to_owned();
            section.complain("the server is told who we are in one way".to_owned(), help);
            None
        }
    }
}

impl Value for Urls {
    fn read(item: &Item<'_>) -> Option<Self> {
        let elements = item.one_or_many();
        let addresses = elements.iter().filter_map(|element| {
            let text = element.text("a URL such as \"https://search.internal:9200\", or a list of them")?;
            let address = Address::parse(&text);
            let address = address.inspect_err(|why| {
                element.complain(format!("`{}` is not a server's URL", element.path), Some((*why).to_owned()));
            });
            address.ok()
        });
        let addresses: Vec<Address> = addresses.collect();
        if elements.is_empty() {
            item.complain(format!("`{}` is an empty list", item.path), None);
        }
        (!addresses.is_empty() && addresses.len() == elements.len()).then_some(Urls(addresses))
    }

    fn schema() -> Json {
        let url = json!({ "type": "string", "pattern": "^https?://" });
        json!({ "anyOf": [url, { "type": "array", "items": url, "minItems": 1 }] })
    }
}

/// What the server takes for a name, and a URL as it is; and placeholders.
const INDEX_PATTERN: &str = "^[a-z0-9{][a-z0-9_.-]*(\\{[^{}]+\\}[a-z0-9_.-]*)*$";

impl Value for IndexName {
    fn read(item: &Item<'_>) -> Option<Self> {
        let name = item.text("a name such as \"users\"")?;
        let complain = |help: String| {
            item.complain(format!("`{}` cannot be an index's name", item.written()), Some(help));
            None
        };
        // The values are looked at when they come.
        let template = name.contains(['{', '}']).then(|| Place::parse("index", &name));
        let literal = match template {
            None => name.clone(),
            Some(Ok(_)) => name.split('{').enumerate().map(|(at, part)| literal(at, part)).collect(),
            Some(Err(error)) => return complain(error.to_string()),
        };
        if is_index_name(&literal) {
            return Some(IndexName(name));
        }
        complain("small letters, digits, `_`, `.` and `-`, at most 200, a letter or digit first".to_owned())
    }

    fn schema() -> Json {
        json!({ "type": "string", "pattern": INDEX_PATTERN })
    }
}

/// The text of a template's part, with a letter for its placeholder.
fn literal(at: usize, part: &str) -> String {
    match part.split_once('}') {
        Some((_, behind)) if at > 0 => format!("x{behind}"),
        _ => part.to_owned(),
    }
}

impl Value for Routing {
    fn read(item: &Item<'_>) -> Option<Self> {
        let text = item.text("a template such as \"{tenant}\"")?;
        let parsed = Place::parse("routing", &text);
        let parsed = parsed.inspect_err(|error| {
            item.complain(format!("`{}` cannot be a routing value", item.written()), Some(error.to_string()));
        });
        parsed.ok().map(|_| Routing(text))
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1, "pattern": "\\{" })
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
