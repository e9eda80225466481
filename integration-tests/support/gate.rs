//! Whoever stands in front of an OpenSearch node: hands requests on, answers some as a test wants, and changes answers. With TLS, which a node has only
//! with a plugin.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::serve::Listener;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::task::AbortOnDropHandle;

use super::ports;
use super::postgres::certificate::Certificate;

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// Path and query.
    pub(crate) uri: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer in place of the node's: a status, a header besides, and a body.
pub(crate) type Told = (u16, Option<(&'static str, String)>, String);

type Tells = Box<dyn Fn(&Asked) -> Option<Told> + Send>;
type Alters = Box<dyn Fn(&Asked, &mut Value) + Send>;

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    tells: Option<Tells>,
    alters: Option<Alters>,
}

/// A gate of its own on loopback.
pub(crate) struct Gate {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    _server: AbortOnDropHandle<()>,
}

impl Gate {
    /// In front of the node at this port, on the runtime of whoever starts it; with a certificate behind TLS.
    pub(crate) fn start(node: u16, certificate: Option<&Certificate>) -> Gate {
        let (listener, port) = ports::listen();
        let state = Arc::new(Mutex::new(State::default()));
        let (shared, client) = (Arc::clone(&state), reqwest::Client::new());
        let router =
            Router::new().fallback(move |request: Request| answer(shared.clone(), client.clone(), node, request));
        let server = match certificate {
            None => tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") }),
            Some(certificate) => {
                let listener = Tls { listener, acceptor: acceptor(certificate) };
                tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") })
            }
        };
        Gate { port, state, _server: AbortOnDropHandle::new(server) }
    }

    /// All that it was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// Requests of which this says something are answered so, and do not come to the node.
    pub(crate) fn tell(&self, tells: impl Fn(&Asked) -> Option<Told> + Send + 'static) {
        self.lock().tells = Some(Box::new(tells));
    }

    /// The node's answers are changed by this.
    pub(crate) fn alter(&self, alters: impl Fn(&Asked, &mut Value) + Send + 'static) {
        self.lock().alters = Some(Box::new(alters));
    }

    /// All requests are handed on from here on, and all answers.
    pub(crate) fn open(&self) {
        let mut state = self.lock();
        (state.tells, state.alters) = (None, None);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(state: Arc<Mutex<State>>, client: reqwest::Client, node: u16, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a body");
    let uri = parts.uri.path_and_query().map_or_else(String::new, ToString::to_string);
    let asked = Asked { method: parts.method.to_string(), uri, headers: parts.headers, body };
    let told = {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.asked.push(asked.clone());
        state.tells.as_ref().and_then(|tells| tells(&asked))
    };
    if let Some((status, header, body)) = told {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().expect("a header"));
        }
        return (StatusCode::from_u16(status).expect("a status"), headers, body).into_response();
    }
    let request = client.request(parts.method, format!("http://127.0.0.1:{node}{}", asked.uri));
    let media_type = asked.headers.get("content-type").cloned().expect("a body's type");
    let request = request.header("content-type", media_type).body(asked.body.clone());
    let Ok(answered) = request.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let status = answered.status();
    let Ok(body) = answered.bytes().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
    match (&state.alters, serde_json::from_slice(&body)) {
        (Some(alters), Ok(mut value)) => {
            alters(&asked, &mut value);
            (status, value.to_string()).into_response()
        }
        _ => (status, body).into_response(),
    }
}

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.expect("a connection");
            // Whoever does not trust us goes away.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

fn acceptor(certificate: &Certificate) -> TlsAcceptor {
    let read = |path: &Path| std::fs::read(path).expect("a file");
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&read(&certificate.certificate)).collect::<Result<_, _>>().expect("PEM");
    let key = PrivateKeyDer::from_pem_slice(&read(&certificate.key)).expect("a key");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(chain, key);
    TlsAcceptor::from(Arc::new(config.expect("a certificate")))
}
