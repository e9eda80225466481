//! What a registry is asked, and what its answers mean.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Settings;
use super::http::{self, Answer};
use crate::kafka::KafkaError;
use crate::kafka::format::{Language, SchemaIds, Schemas};
use crate::status::Code;

/// A registry, and the numbers that it has told.
#[derive(Debug)]
pub struct Registry {
    settings: Settings,
    /// By subject and schema.
    known: HashMap<(String, String), u32>,
}

impl Registry {
    /// Asks nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Registry { settings, known: HashMap::new() }
    }

    /// The numbers of a topic's schemas.
    ///
    /// # Errors
    /// [`KafkaError::Registry`], [`KafkaError::RegistryRefused`], [`KafkaError::Schema`].
    pub async fn ids(&mut self, topic: &str, schemas: &Schemas) -> Result<SchemaIds, KafkaError> {
        let key = match &schemas.key {
            None => 0,
            Some(key) => self.id(format!("{topic}-key"), schemas.language, key).await?,
        };
        Ok(SchemaIds { key, value: self.id(format!("{topic}-value"), schemas.language, &schemas.value).await? })
    }

    async fn id(&mut self, subject: String, language: Language, schema: &str) -> Result<u32, KafkaError> {
        let known = (subject, schema.to_owned());
        if let Some(id) = self.known.get(&known) {
            return Ok(*id);
        }
        let subject = &known.0;
        let versions = if self.settings.auto_register { "/versions" } else { "" };
        let body = match language {
            // Without the type, for registries from before there was another.
            Language::Avro => json!({ "schema": schema }),
        };
        let path = format!("/subjects/{subject}{versions}");
        let answer = http::post(&self.settings, &path, body.to_string().into_bytes());
        let url = self.settings.address.to_string();
        let answer = answer.await.map_err(|detail| KafkaError::Registry { url, detail })?;
        let id = self.judge(subject, schema, answer)?;
        tracing::info!(subject, id, language = language.name(), "schema has its number");
        self.known.insert(known, id);
        Ok(id)
    }

    fn judge(&self, subject: &str, text: &str, (status, body): Answer) -> Result<u32, KafkaError> {
        let url = self.settings.address.to_string();
        let body = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let said = body.get("message").and_then(Value::as_str).unwrap_or("it does not say why").to_owned();
        let refused = |detail: String, code| KafkaError::RegistryRefused { url: url.clone(), detail, code };
        let schema = |detail: String| KafkaError::Schema { subject: subject.to_owned(), detail };
        Err(match status {
            200 => match body.get("id").and_then(Value::as_u64).and_then(|id| u32::try_from(id).ok()) {
                Some(id) => return Ok(id),
                None => KafkaError::Registry { url, detail: "it answers without a number".to_owned() },
            },
            401 => refused(
                "it does not take the credentials. Mend username and password of schema_registry, then restart walbridge".to_owned(),
                Code::SecurityAuth,
            ),
            403 => refused(
                format!("it does not allow it ({said}). Allow this name to read and to write subject {subject}, then restart walbridge"),
                Code::SecurityAuth,
            ),
            // What has a code of the registry's is about the schema, else there is no registry.
            404 if !self.settings.auto_register && body.get("error_code").is_some() => schema(format!(
                "it is not in the registry, and auto_register = false ({said}). Register it, then restart walbridge. It is: {text}"
            )),
            404 | 405 => refused(
                "there is no registry under this URL. Mend the url of schema_registry (Apicurio's ends with /apis/ccompat/v7), then restart walbridge".to_owned(),
                Code::ConfigInvalid,
            ),
            409 => schema(format!(
                "the registry holds it incompatible with the one before: {said}. A column has another type than before, or the key has other columns, \
                 and readers by the older schema would fail. If they may: set the subject's compatibility to NONE (PUT {url}/config/{subject}), restart \
                 walbridge, and set it back; or let the table have another `topic`"
            )),
            408 | 429 | 500.. => KafkaError::Registry { url, detail: format!("it answers {status}: {said}") },
            _ => schema(format!("the registry answers {status}: {said}. Mend that, then restart walbridge")),
        })
    }
}
