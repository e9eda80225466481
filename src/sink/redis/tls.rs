//! Certificates: read when a connection is made, so that new ones count from the next on.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::{fs, io};

use redis::{Client, ClientTlsConfig, ConnectionInfo, RedisError, TlsCertificates};
use rustls::CertificateError;

use super::{Server, error};
use crate::sink::SinkError;

/// A client of the server.
///
/// # Errors
/// A file cannot be read, or does not hold what it should.
pub(super) fn client(server: &Server, shown: &str, info: ConnectionInfo) -> Result<Client, SinkError> {
    if server.ca.is_none() && server.identity.is_none() {
        return Client::open(info).map_err(|error| error::broken(shown, &error));
    }
    let read = |path: &Path| {
        let unusable = |error: io::Error| SinkError::Unusable {
            target: shown.to_owned(),
            detail: format!("{} cannot be read: {error}", path.display()),
            remedy: "Mend the path, or let walbridge's user read it".to_owned(),
        };
        fs::read(path).map_err(unusable)
    };
    let root_cert = server.ca.as_deref().map(read).transpose()?;
    let identity = server.identity.as_ref();
    let identity = identity.map(|(certificate, key)| Ok((read(certificate)?, read(key)?))).transpose()?;
    let client_tls = identity.map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
    let has_authority = root_cert.as_ref().is_none_or(|pem| pem.windows(10).any(|bytes| bytes == b"-----BEGIN"));
    let made = Client::build_with_tls(info, TlsCertificates { client_tls, root_cert });
    match made {
        Ok(client) if has_authority => Ok(client),
        made => Err(SinkError::Unusable {
            target: shown.to_owned(),
            detail: made.err().map_or_else(|| "there is no certificate in `ca`".to_owned(), |error| error.to_string()),
            remedy: "Give certificates and key in PEM".to_owned(),
        }),
    }
}

/// What a failed handshake means, with the remedy; `None` if it was none.
pub(super) fn explain(error: &RedisError) -> Option<String> {
    let cause = cause(error)?;
    let remedy = match cause {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "Its certificate is not from an authority that we trust: name the right one with `ca`"
        }
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "Its certificate is for another host: connect by a name that stands in it, or have it reissued",
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            "Its certificate has expired: renew it on the server"
        }
        rustls::Error::AlertReceived(_) => {
            "The server did not take ours: give client_certificate and client_key of an authority that it trusts"
        }
        _ => "Check that the port speaks TLS, and the server's certificate",
    };
    Some(format!("{cause}. {remedy}"))
}

fn cause(error: &RedisError) -> Option<&rustls::Error> {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        // The library shares what it wraps.
        let shared = error.downcast_ref::<Arc<dyn Error + Send + Sync>>();
        let error = shared.map_or(error, |shared| &**shared);
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let found = inner.and_then(|inner| inner.downcast_ref());
        if let Some(found) = found.or_else(|| error.downcast_ref::<rustls::Error>()) {
            return Some(found);
        }
        next = error.source();
    }
    None
}
