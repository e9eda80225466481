//! The servers' API: one request after the other, on connections that are kept.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use serde::de::DeserializeOwned;

use super::auth::Auth;
use super::nodes::Nodes;
use super::product::{Product, Verdict};
use super::room::Room;
use super::{Options, error};
use crate::http::{self, Address, Answer, Limits, Reach};
use crate::sink::SinkError;

/// A request that is not answered within this has failed. The server may carry it out all the same, so it is also what
/// [`super::index::TOMBSTONES_KEPT`] goes by.
pub(super) const TIME_MAX: Duration = Duration::from_secs(60);
/// A server that does not say within this who it is is left out.
const PROOF_TIME_MAX: Duration = Duration::from_secs(10);
/// More than any answer is: the longest tell of documents that are completed.
const ANSWER_BYTES_MAX: usize = 512 << 20;
pub(super) const JSON: &str = "application/json";
pub(super) const LINES: &str = "application/x-ndjson";

/// See the module.
pub(super) struct Client {
    nodes: Nodes,
    auth: Auth,
    /// How large a bulk request may be.
    pub(super) room: Room,
    /// Whom was asked last, for messages.
    asked: String,
}

/// A request, as it is sent to whoever is to answer it.
struct Sent<'a> {
    method: Method,
    path: &'a str,
    media_type: &'a str,
    body: Bytes,
}

impl Sent<'_> {
    /// To this server. `Err`: why it cannot be.
    fn to(&self, address: &Address, auth: &Auth) -> Result<Request<Full<Bytes>>, String> {
        let Sent { method, path, media_type, body } = self;
        let (uri, host) = (format!("{}{path}", address.path), address.authority());
        let mut request =
            Request::builder().method(method).uri(&uri).header(HOST, &host).header(CONTENT_TYPE, *media_type);
        for (name, value) in auth.headers(method.as_str(), &host, &uri, body)? {
            request = request.header(name, value);
        }
        request.body(Full::new(body.clone())).map_err(|error| error.to_string())
    }
}

/// A connection to a server, to be.
fn client(address: &Address, ca: Option<&Path>) -> Result<http::Client, String> {
    let limits = Limits { time: TIME_MAX, answer_bytes: ANSWER_BYTES_MAX };
    http::Client::new(address.clone(), Reach::Anywhere, ca, limits)
}

impl Client {
    pub(super) fn new(options: &Options) -> Result<Self, SinkError> {
        let asked = options.addresses.first().map(ToString::to_string).unwrap_or_default();
        let unusable = |detail: String| SinkError::Unusable {
            target: asked.clone(),
            detail,
            remedy: "Mend it in the configuration, then restart walbridge".to_owned(),
        };
        let auth = Auth::new(options.credentials.as_ref()).map_err(unusable)?;
        let client = |address: &Address| client(address, options.ca.as_deref());
        let clients: Result<_, _> = options.addresses.iter().map(client).collect();
        let nodes = Nodes::new(clients.map_err(unusable)?);
        Ok(Client { nodes, auth, room: Room::new(options.bulk_bytes_max), asked })
    }

    /// Where it is, for messages.
    pub(super) fn shown(&self) -> String {
        self.asked.clone()
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

    /// What has been written is found from the first search on.
    pub(super) async fn refresh(&mut self, index: &str) -> Result<(), SinkError> {
        // Elasticsearch takes no body here.
        let answer = self.ask(Method::POST, &format!("/{index}/_refresh"), JSON, Bytes::new()).await?;
        self.accept("refreshing", answer).map(drop)
    }

    /// Asks, and gives whatever is answered. Whom it asks has said before who it is: nothing is sent twice, and nothing to a server that is
    /// another's.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        media_type: &str,
        body: Bytes,
    ) -> Result<Answer, SinkError> {
        if media_type == LINES {
            // Bulk requests are the work that there is to share.
            self.nodes.turn();
        }
        let sent = Sent { method, path, media_type, body };
        let detail = "no url is configured".to_owned();
        let mut missing = SinkError::Unavailable { target: self.shown(), detail };
        for _ in 0..self.nodes.len() {
            let Some(at) = self.nodes.now(Instant::now()) else { break };
            match self.prove(at).await {
                Ok(()) => return self.send(at, &sent).await,
                Err(error @ (SinkError::Unavailable { .. } | SinkError::Throttled { .. })) => missing = error,
                Err(error) => return Err(error),
            }
        }
        Err(missing)
    }

    /// That the server is there, is one that we know, and of the same cluster as the others.
    async fn prove(&mut self, at: usize) -> Result<(), SinkError> {
        if self.nodes.get(at).is_some_and(|node| node.cluster.is_some()) {
            return Ok(());
        }
        let found = tokio::time::timeout(PROOF_TIME_MAX, self.identify(at)).await.unwrap_or_else(|_| {
            let detail = format!("it does not say within {PROOF_TIME_MAX:?} who it is");
            Err(SinkError::Unavailable { target: self.shown(), detail })
        });
        let cluster = found.inspect_err(|_| self.nodes.has_failed(at, Instant::now()))?;
        if let Some((address, other)) = self.nodes.of_another(&cluster) {
            return Err(SinkError::Unusable {
                target: self.shown(),
                detail: format!("it is of another cluster ({cluster}) than {address} ({other})"),
                remedy: "Give the URLs of one cluster, then restart walbridge".to_owned(),
            });
        }
        self.nodes.is_proven(at, cluster);
        Ok(())
    }

    /// The cluster that the server is of; empty: it does not say.
    async fn identify(&mut self, at: usize) -> Result<String, SinkError> {
        let question = Sent { method: Method::GET, path: "/", media_type: JSON, body: Bytes::new() };
        let answer = self.send(at, &question).await?;
        // Not every role may ask, and OpenSearch Serverless does not say.
        if matches!(answer.status, 403 | 404) {
            return Ok(String::new());
        }
        let product: Product = self.read("asking what it is", answer)?;
        let (target, product_shown) = (self.shown(), product.shown());
        match product.verdict() {
            Verdict::Tested => tracing::info!(%target, product = product_shown, "connected"),
            Verdict::Untested => tracing::warn!(%target, product = product_shown, "connected; not tested with this"),
            Verdict::Refused => {
                let detail = format!("it is {product_shown}");
                return Err(SinkError::Unusable { target, detail, remedy: error::NEEDED.to_owned() });
            }
        }
        Ok(product.cluster_uuid)
    }

    /// Asks one of them.
    async fn send(&mut self, at: usize, sent: &Sent<'_>) -> Result<Answer, SinkError> {
        let Client { nodes, auth, asked, room: _ } = self;
        let missing = |detail: String, target: &str| SinkError::Unavailable { target: target.to_owned(), detail };
        let Some(node) = nodes.get_mut(at) else { return Err(missing("there is no such server".to_owned(), asked)) };
        let address = node.http.address().clone();
        *asked = address.to_string();
        let answer = node.http.ask(|| sent.to(&address, auth)).await;
        answer.map_err(|detail| {
            nodes.has_failed(at, Instant::now());
            missing(detail, asked)
        })
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
