//! TLS as libpq names its modes, with rustls and one crypto provider (two compiled in make rustls panic at first use).

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use sha2::{Digest, Sha256, Sha384, Sha512};

use super::address::{Address, SslMode};

/// The rustls configuration for this address.
///
/// # Errors
/// A certificate or key file that cannot be read or used; says which and why.
pub(crate) fn client_config(address: &Address) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier(address, provider)?);
    let config = match (&address.ssl_cert, &address.ssl_key) {
        (Some(cert), Some(key)) => {
            let key = read_key(key)?;
            builder.with_client_auth_cert(read_certificates(cert)?, key).map_err(|error| format!("sslcert: {error}"))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("sslcert and sslkey go together; give both or neither".to_owned()),
    };
    Ok(Arc::new(config))
}

fn verifier(address: &Address, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
    // libpq: `require` with a root certificate verifies the chain, for compatibility with old versions.
    let verify_chain = address.ssl_mode >= SslMode::VerifyCa
        || address.ssl_mode == SslMode::Require && address.ssl_root_cert.is_some();
    if !verify_chain {
        return Ok(Arc::new(Verifier { chain: None, check_name: false, provider }));
    }
    let mut roots = RootCertStore::empty();
    if let Some(path) = &address.ssl_root_cert {
        for certificate in read_certificates(path)? {
            roots.add(certificate).map_err(|error| format!("sslrootcert {}: {error}", path.display()))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err("there is no certificate authority to trust; name one with sslrootcert=/path/to/ca.pem".to_owned());
    }
    let chain = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| error.to_string())?;
    Ok(Arc::new(Verifier { chain: Some(chain), check_name: address.ssl_mode == SslMode::VerifyFull, provider }))
}

/// As libpq has it: a key that is ours may be read by us alone, one that is root's by its group too.
fn read_key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let metadata = std::fs::metadata(path).map_err(|error| format!("sslkey {}: {error}", path.display()))?;
    let forbidden = if metadata.uid() == 0 { 0o027 } else { 0o077 };
    if metadata.is_file() && metadata.mode() & forbidden != 0 {
        return Err(format!("sslkey {}: others may read this key. Run chmod 0600 on it", path.display()));
    }
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("sslkey {}: {error}", path.display()))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let failed = |error: rustls::pki_types::pem::Error| format!("{}: {error}", path.display());
    let certificates =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if certificates.is_empty() { Err(format!("{} holds no PEM certificate", path.display())) } else { Ok(certificates) }
}

/// Checks as much as the mode asks for. The handshake's signature is always checked, so the peer holds the key of the
/// certificate it shows, and channel binding means something even where the chain is not verified.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    check_name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.check_name => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// What a failed handshake most likely means, for the operator.
pub(crate) fn explain(error: &std::io::Error) -> String {
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let hint = match cause {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "the certificate is not from an authority we trust; name the right one with sslrootcert"
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => "the certificate is for another host; connect by a name that stands in it, or have it reissued",
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => "the certificate has expired; renew it on the server",
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(_))) => {
            "a server certificate must not be an authority itself; make it with basicConstraints=CA:FALSE"
        }
        _ => "check sslmode, sslrootcert and the server's ssl_cert_file",
    };
    format!("{error}; {hint}")
}

/// The `tls-server-end-point` binding (RFC 5929): the certificate's hash by its signature's own digest, where MD5 and SHA-1
/// are replaced by SHA-256. `None` where the signature has no such digest (Ed25519): then nothing can be bound.
pub(crate) fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    // DER object identifiers: 1.2.840.113549.1.1.* (RSA) and 1.2.840.10045.4.* (ECDSA).
    const RSA: &[u8] = &[0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01];
    const ECDSA: &[u8] = &[0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04];
    let algorithm = signature_algorithm(certificate)?;
    let kind = algorithm.strip_prefix(RSA).or_else(|| algorithm.strip_prefix(ECDSA))?;
    match kind {
        [4 | 5 | 11] | [1] | [3, 2] => Some(Sha256::digest(certificate).to_vec()),
        [12] | [3, 3] => Some(Sha384::digest(certificate).to_vec()),
        [13] | [3, 4] => Some(Sha512::digest(certificate).to_vec()),
        _ => None,
    }
}

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OBJECT IDENTIFIER, … }, … }` (RFC 5280).
fn signature_algorithm(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = der_value(certificate)?;
    let (_, after_tbs) = der_value(certificate)?;
    let (algorithm, _) = der_value(after_tbs)?;
    der_value(algorithm).map(|(oid, _)| oid)
}

/// One DER element's contents, and what follows it.
fn der_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[_tag, first], rest) = bytes.split_first_chunk::<2>()?;
    if first < 0x80 {
        return rest.split_at_checked(usize::from(first));
    }
    let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
    let length = digits.iter().try_fold(0usize, |length, &digit| length.checked_mul(256)?.checked_add(digit.into()))?;
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binding_uses_the_digest_of_the_certificates_own_signature() {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).expect("a key");
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()])
            .and_then(|parameters| parameters.self_signed(&key))
            .expect("a certificate");
        assert_eq!(server_end_point(certificate.der()), Some(Sha384::digest(certificate.der()).to_vec()));
    }

    #[test]
    fn a_mutilated_certificate_binds_nothing_and_does_not_panic() {
        let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate").cert;
        for end in 0..certificate.der().len().min(300) {
            let _ = server_end_point(certificate.der().get(..end).unwrap_or_default());
        }
        assert_eq!(server_end_point(&[0x30, 0x89, 0xFF]), None);
    }
}
