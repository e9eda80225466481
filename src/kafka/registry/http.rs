//! One request over HTTP/1.1, on a connection of its own: a registry is asked a few times a day.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use secrecy::ExposeSecret as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::Settings;
use crate::kafka::format::put_base64;

/// A registry that does not answer within this is not available.
const TIME_MAX: Duration = Duration::from_secs(10);
/// More than any answer is.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// What was answered: the status, and the body.
pub(super) type Answer = (u16, Bytes);

/// Posts a JSON document, or gets what is there if there is none. `Err`: what kept it from being answered.
pub(super) async fn ask(settings: &Settings, path: &str, body: Option<Vec<u8>>) -> Result<Answer, String> {
    let exchange = async {
        let address = &settings.address;
        let stream =
            TcpStream::connect((address.host.as_str(), address.port)).await.map_err(|error| error.to_string())?;
        if !address.tls {
            return exchange(stream, settings, path, body).await;
        }
        let connector = TlsConnector::from(tls(settings.ca.as_deref())?);
        let name = ServerName::try_from(address.host.clone()).map_err(|error| error.to_string())?;
        let stream = connector.connect(name, stream).await;
        exchange(
            stream.map_err(|error| format!("no TLS ({error}); see that `ca` is its authority"))?,
            settings,
            path,
            body,
        )
        .await
    };
    tokio::time::timeout(TIME_MAX, exchange).await.map_err(|_| format!("no answer within {TIME_MAX:?}"))?
}

async fn exchange<S>(stream: S, settings: &Settings, path: &str, body: Option<Vec<u8>>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    let request = request(settings, path, body).map_err(|error| error.to_string())?;
    // The connection ends when its sender is dropped, and works for as long as it is awaited.
    let answer = async move {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        Ok((status, body.map_err(|error| format!("its answer broke off: {error}"))?.to_bytes()))
    };
    let (answer, _) = tokio::join!(answer, connection);
    answer
}

fn request(settings: &Settings, path: &str, body: Option<Vec<u8>>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let address = &settings.address;
    let mut request = Request::builder()
        .method(if body.is_some() { Method::POST } else { Method::GET })
        .uri(format!("{}{path}", address.path))
        .header(HOST, address.authority())
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .header(ACCEPT, format!("{MEDIA_TYPE}, application/json"));
    if let Some((username, password)) = &settings.credentials {
        let mut basic = b"Basic ".to_vec();
        put_base64(format!("{username}:{}", password.expose_secret()).as_bytes(), &mut basic);
        request = request.header(AUTHORIZATION, basic);
    }
    request.body(Full::new(Bytes::from(body.unwrap_or_default())))
}

fn tls(ca: Option<&Path>) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        Some(path) => {
            let failed = |error: String| format!("{}: {error}", path.display());
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(error.to_string()))? {
                let certificate = certificate.map_err(|error| failed(error.to_string()))?;
                roots.add(certificate).map_err(|error| failed(error.to_string()))?;
            }
        }
    }
    if roots.is_empty() {
        return Err("there is no certificate authority to trust; name one with `ca`".to_owned());
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(builder.with_root_certificates(roots).with_no_client_auth()))
}
