//! The bytes' way to the server: TCP, TLS over TCP, or a Unix socket.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::address::{Address, Host, SslMode};
use super::error::PostgresError;
use super::tls;

/// An open connection, before any message.
pub(crate) enum Transport {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Unix(UnixStream),
}

/// `SSLRequest` (manual: "Message Formats"): length 8, code 80877103.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xD2, 0x16, 0x2F];

impl Transport {
    /// Connects to one host, with TLS as the address asks. The caller sets the time limit.
    pub(crate) async fn connect(host: &Host, address: &Address) -> Result<Self, PostgresError> {
        let unreachable =
            |error: io::Error| PostgresError::Unreachable { address: host.to_string(), detail: error.to_string() };
        match host {
            Host::Unix(directory, port) => {
                let path = directory.join(format!(".s.PGSQL.{port}"));
                UnixStream::connect(Path::new(&path)).await.map(Transport::Unix).map_err(unreachable)
            }
            Host::Tcp(name, port) => {
                let stream = TcpStream::connect((name.as_str(), *port)).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                negotiate_tls(stream, name, host, address).await
            }
        }
    }

    /// The `tls-server-end-point` channel binding, if there is a TLS channel to bind to.
    pub(crate) fn channel_binding(&self) -> Option<Vec<u8>> {
        let Transport::Tls(stream) = self else { return None };
        let certificate = stream.get_ref().1.peer_certificates()?.first()?;
        tls::server_end_point(certificate)
    }

    pub(crate) fn is_tls(&self) -> bool {
        matches!(self, Transport::Tls(_))
    }

    pub(crate) fn is_unix(&self) -> bool {
        matches!(self, Transport::Unix(_))
    }
}

async fn negotiate_tls(
    mut stream: TcpStream,
    name: &str,
    host: &Host,
    address: &Address,
) -> Result<Transport, PostgresError> {
    if address.ssl_mode == SslMode::Disable {
        return Ok(Transport::Tcp(stream));
    }
    let unreachable =
        |error: io::Error| PostgresError::Unreachable { address: host.to_string(), detail: error.to_string() };
    let refuse = |detail: String| PostgresError::Tls { address: host.to_string(), detail };
    stream.write_all(&SSL_REQUEST).await.map_err(unreachable)?;
    // One byte and no more: anything that follows the answer in plain text was injected (CVE-2021-23222).
    match stream.read_u8().await.map_err(unreachable)? {
        b'S' => {}
        b'N' if address.ssl_mode == SslMode::Prefer => return Ok(Transport::Tcp(stream)),
        b'N' => {
            return Err(refuse(
                "the server does not offer it. Set ssl = on there, or sslmode=disable in the url if the network is safe".into(),
            ));
        }
        _ => return Err(refuse("the server did not answer the request for it; is this PostgreSQL?".to_owned())),
    }
    let config = tls::client_config(address).map_err(refuse)?;
    let server_name = rustls::pki_types::ServerName::try_from(name.to_owned())
        .map_err(|_| refuse(format!("`{name}` is not a host name that a certificate can be for")))?;
    // With plain bytes behind the `S` the handshake fails: they are read as its first record.
    let stream = tokio_rustls::TlsConnector::from(config).connect(server_name, stream).await.map_err(|error| {
        let broken = matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof);
        if broken { unreachable(error) } else { refuse(tls::explain(&error)) }
    })?;
    Ok(Transport::Tls(Box::new(stream)))
}

impl AsyncRead for Transport {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
            Transport::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Transport {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
            Transport::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Transport::Tls(stream) => Pin::new(stream).poll_flush(context),
            Transport::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Transport::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Tls(stream) => Pin::new(stream).poll_shutdown(context),
            Transport::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
