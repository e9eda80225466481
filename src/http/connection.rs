//! One connection, and one exchange after the other on it.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::RETRY_AFTER;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Address, Reach};

/// A connection; dropping it closes it.
pub(super) type Sender = http1::SendRequest<Full<Bytes>>;

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// When to ask again, in the server's words (`Retry-After`).
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Bytes,
}

/// What kept a request from being answered.
#[derive(Debug)]
pub(super) struct Failed {
    /// Why.
    pub(super) detail: String,
    /// Nothing of it was sent.
    pub(super) unsent: bool,
}

/// Connects; with a connector over TLS.
pub(super) async fn open(address: &Address, reach: Reach, tls: Option<&TlsConnector>) -> Result<Sender, String> {
    let addresses = reach.addresses(address).await?;
    let stream = TcpStream::connect(addresses.as_slice()).await.map_err(|error| error.to_string())?;
    // A request is written as a whole, and its answer waited for.
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let Some(connector) = tls else { return start(stream).await };
    let name = ServerName::try_from(address.host.clone()).map_err(|error| error.to_string())?;
    let stream = connector.connect(name, stream).await;
    start(stream.map_err(|error| format!("no TLS ({error}); see that `ca` is its authority"))?).await
}

async fn start<S>(stream: S) -> Result<Sender, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
    // It ends with its sender. What goes wrong with it, whoever waits for an answer is told.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Sends a request and reads the answer, which is at most so long. After an error the connection is of no use.
pub(super) async fn exchange(
    sender: &mut Sender,
    request: Request<Full<Bytes>>,
    answer_bytes_max: usize,
) -> Result<Answer, Failed> {
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| Failed { detail: error.to_string(), unsent: error.is_canceled() })?;
    let status = answer.status().as_u16();
    let retry_after = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = Limited::new(answer.into_body(), answer_bytes_max).collect().await;
    let body = body.map_err(|error| Failed { detail: format!("its answer broke off: {error}"), unsent: false })?;
    Ok(Answer { status, retry_after, body: body.to_bytes() })
}
