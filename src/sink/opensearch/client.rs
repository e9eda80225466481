//! The server's API: one request after the other, on a connection that is kept.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use tokio_rustls::TlsConnector;

use super::{Options, error};
use crate::http::{self, Address, Credentials, Failed, Sender};
use crate::kafka::format::put_base64;
use crate::sink::SinkError;

/// A request that is not answered within this has failed. The server may carry it out all the same, so it is also what
/// [`super::index::TOMBSTONES_KEPT`] goes by.
pub(super) const TIME_MAX: Duration = Duration::from_secs(60);
/// More than any answer is: the longest tell of documents that are completed.
const ANSWER_BYTES_MAX: usize = 512 << 20;
pub(super) const JSON: &str = "application/json";
pub(super) const LINES: &str = "application/x-ndjson";

/// See the module.
pub(super) struct Client {
    address: Address,
    authorization: Option<HeaderValue>,
    tls: Option<TlsConnector>,
    sender: Option<Sender>,
}

/// What was answered.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

impl Client {
    pub(super) fn new(options: &Options) -> Result<Self, SinkError> {
        let address = options.address.clone();
        let unusable = |detail: String| SinkError::Unusable {
            target: address.to_string(),
            detail,
            remedy: "Mend it in the configuration, then restart walbridge".to_owned(),
        };
        let tls = address.tls.then(|| http::connector(options.ca.as_deref())).transpose().map_err(unusable)?;
        let authorization = options.credentials.as_ref().map(authorization).transpose().map_err(unusable)?;
        Ok(Client { address, authorization, tls, sender: None })
    }

    /// Where it is, for messages.
    pub(super) fn shown(&self) -> String {
        self.address.to_string()
    }

    pub(super) async fn get(&mut self, path: &str) -> Result<Answer, SinkError> {
        self.ask(Method::GET, path, JSON, Bytes::new()).await
    }

    pub(super) async fn put(&mut self, path: &str, body: &serde_json::Value) -> Result<Answer, SinkError> {
        self.ask(Method::PUT, path, JSON, body.to_string().into()).await
    }

    pub(super) async fn post(&mut self, path: &str, body: &serde_json::Value) -> Result<Answer, SinkError> {
        self.ask(Method::POST, path, JSON, body.to_string().into()).await
    }

    /// Asks, and gives whatever is answered.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Bytes,
    ) -> Result<Answer, SinkError> {
        let outcome = match tokio::time::timeout(TIME_MAX, self.exchange(&method, path, media_type, body)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no answer within {TIME_MAX:?}")),
        };
        outcome.map_err(|detail| {
            // Whatever comes on that connection yet is the answer to another question.
            self.sender = None;
            SinkError::Unavailable { target: self.shown(), detail }
        })
    }

    async fn exchange(&mut self, method: &Method, path: &str, media_type: &str, body: Bytes) -> Result<Answer, String> {
        // A connection that was kept may have been closed by the other side meanwhile.
        for kept in [true, false] {
            let mut sender = match self.sender.take().filter(|sender| kept && !sender.is_closed()) {
                Some(sender) => sender,
                None => http::open(&self.address, self.tls.as_ref()).await?,
            };
            let request = self.request(method, path, media_type, body.clone())?;
            match http::exchange(&mut sender, request, ANSWER_BYTES_MAX).await {
                Ok((status, body)) => {
                    self.sender = Some(sender);
                    return Ok(Answer { status, body });
                }
                Err(Failed { unsent: true, .. }) if kept => {}
                Err(failed) => return Err(failed.detail),
            }
        }
        Err("the connection was closed".to_owned())
    }

    fn request(
        &self,
        method: &Method,
        path: &str,
        media_type: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, String> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.address.path))
            .header(HOST, self.address.authority())
            .header(CONTENT_TYPE, media_type);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Full::new(body)).map_err(|error| error.to_string())
    }

    /// What is answered, if the status says that it is well.
    pub(super) fn accept(&self, doing: &str, answer: Answer) -> Result<Bytes, SinkError> {
        match answer.status {
            200..=299 => Ok(answer.body),
            status => Err(error::refused(self.shown(), doing, status, &answer.body)),
        }
    }

    /// What is answered, as what it must be.
    pub(super) fn read<T: DeserializeOwned>(&self, doing: &str, answer: Answer) -> Result<T, SinkError> {
        let body = self.accept(doing, answer)?;
        serde_json::from_slice(&body).map_err(|error| SinkError::Unavailable {
            target: self.shown(),
            detail: format!("{doing}: it answers what OpenSearch does not ({error})"),
        })
    }
}

fn authorization(credentials: &Credentials) -> Result<HeaderValue, String> {
    let text = match credentials {
        Credentials::Basic(name, password) => {
            let mut text = b"Basic ".to_vec();
            put_base64(format!("{name}:{}", password.expose_secret()).as_bytes(), &mut text);
            text
        }
        Credentials::ApiKey(key) => format!("ApiKey {}", key.expose_secret()).into_bytes(),
    };
    let mut value = HeaderValue::from_bytes(&text).map_err(|_| "the API key cannot be one".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}
