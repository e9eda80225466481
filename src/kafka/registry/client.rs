//! What a registry is asked, and what its answers mean.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Settings;
use super::http;
use crate::http::Answer;
use crate::kafka::KafkaError;
use crate::kafka::format::{Language, Schema, SchemaIds, Schemas};
use crate::status::Code;

/// A registry, and the numbers that it has told.
#[derive(Debug)]
pub struct Registry {
    settings: Settings,
    /// By subject and schema.
    known: HashMap<(String, Schema), u32>,
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

    async fn id(&mut self, subject: String, language: Language, schema: &Schema) -> Result<u32, KafkaError> {
        let known = (subject, schema.clone());
        if let Some(id) = self.known.get(&known) {
            return Ok(*id);
        }
        let subject = &known.0;
        let latest = if schema.follows() { self.latest(subject, language).await? } else { None };
        let schema = schema.text(latest.as_deref());
        let versions = if self.settings.auto_register { "/versions" } else { "" };
        let body = match language {
            // Without the type, for registries from before there was another.
            Language::Avro => json!({ "schema": schema }),
            Language::Protobuf => json!({ "schema": schema, "schemaType": language.name() }),
        };
        let answer = self.ask(&format!("/subjects/{subject}{versions}"), Some(body)).await?;
        let id = self.judge(subject, language, &schema, answer)?.get("id").and_then(Value::as_u64);
        let id = id.and_then(|id| u32::try_from(id).ok()).ok_or_else(|| self.senseless("a number"))?;
        tracing::info!(subject, id, language = language.name(), "schema has its number");
        self.known.insert(known, id);
        Ok(id)
    }

    /// The text of a subject's last version; `None` if there is none.
    ///
    /// # Errors
    /// As [`Registry::ids`].
    pub async fn latest(&self, subject: &str, language: Language) -> Result<Option<String>, KafkaError> {
        let (status, body) = self.ask(&format!("/subjects/{subject}/versions/latest"), None).await?;
        // What has a code of the registry's is about the subject.
        if status == 404 && body.get("error_code").is_some() {
            return Ok(None);
        }
        let version = self.judge(subject, language, "", (status, body))?;
        let text = version.get("schema").and_then(Value::as_str).ok_or_else(|| self.senseless("a schema"))?;
        Ok(Some(text.to_owned()))
    }

    async fn ask(&self, path: &str, body: Option<Value>) -> Result<(u16, Value), KafkaError> {
        let answer = http::ask(&self.settings, path, body.map(|body| body.to_string().into_bytes())).await;
        let unreachable = |detail| KafkaError::Registry { url: self.settings.address.to_string(), detail };
        let Answer { status, body, .. } = answer.map_err(unreachable)?;
        Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
    }

    fn senseless(&self, lacks: &str) -> KafkaError {
        let url = self.settings.address.to_string();
        KafkaError::Registry { url, detail: format!("it answers without {lacks}") }
    }

    /// What is answered, if it is what was asked for.
    fn judge(
        &self,
        subject: &str,
        language: Language,
        text: &str,
        (status, body): (u16, Value),
    ) -> Result<Value, KafkaError> {
        let url = self.settings.address.to_string();
        let said = body.get("message").and_then(Value::as_str).unwrap_or("it does not say why").to_owned();
        let refused = |detail: String, code| KafkaError::RegistryRefused { url: url.clone(), detail, code };
        let schema = |detail: String| KafkaError::Schema { subject: subject.to_owned(), detail };
        Err(match status {
            200 => return Ok(body),
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
                "the registry holds it incompatible with the one before: {said}. {}. If it may follow that all the same: set the \
                 subject's compatibility to NONE (PUT {url}/config/{subject}), restart walbridge, and set it back; or let the table have another `topic`",
                suspicion(language)
            )),
            408 | 429 | 500.. => KafkaError::Registry { url, detail: format!("it answers {status}: {said}") },
            _ => schema(format!("the registry answers {status}: {said}. Mend that, then restart walbridge")),
        })
    }
}

/// What may be the matter with a schema that a registry holds incompatible.
const fn suspicion(language: Language) -> &'static str {
    match language {
        Language::Avro => {
            "A column has another type than before, or the key has other columns, and readers by the older schema would fail"
        }
        Language::Protobuf => {
            "It only adds fields to that one, so either the rule refuses these too (FORWARD), or that one is not walbridge's"
        }
    }
}
