//! A certificate authority, a server certificate and a client's, made for one cluster.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

/// The authority's certificate, in the cluster's directory.
pub(crate) const CA: &str = "ca.pem";

/// A certificate for the role `walbridge`, signed by the same authority, and its key.
pub(crate) const CLIENT: [&str; 2] = ["client.pem", "client.key"];

/// The server's files.
pub(crate) struct Certificate {
    /// PEM.
    pub(crate) certificate: PathBuf,
    /// PEM.
    pub(crate) key: PathBuf,
}

/// Makes both and writes them. The server's certificate says `CA:FALSE`: rustls refuses one that could itself sign.
pub(crate) fn write(directory: &Path) -> Certificate {
    let mut authority = CertificateParams::new(Vec::new()).expect("no names cannot be wrong");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.distinguished_name.push(DnType::CommonName, "walbridge test authority");
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate().expect("a key");
    let authority_certificate = authority.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::new(authority, authority_key);

    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut server = CertificateParams::new(names).expect("the names are valid");
    server.is_ca = IsCa::ExplicitNoCa;
    server.distinguished_name.push(DnType::CommonName, "localhost");
    let server_key = KeyPair::generate().expect("a key");
    let server_certificate = server.signed_by(&server_key, &issuer).expect("a certificate");

    let files = Certificate { certificate: directory.join("server.pem"), key: directory.join("server.key") };
    fs::write(directory.join(CA), authority_certificate.pem()).expect("the authority is written");
    fs::write(&files.certificate, server_certificate.pem()).expect("the certificate is written");
    fs::write(&files.key, server_key.serialize_pem()).expect("the key is written");
    // PostgreSQL refuses a key that others can read.
    fs::set_permissions(&files.key, fs::Permissions::from_mode(0o600)).expect("the key's mode is set");
    write_client(directory, &issuer);
    files
}

fn write_client(directory: &Path, issuer: &Issuer<'_, KeyPair>) {
    let mut client = CertificateParams::new(Vec::new()).expect("no names cannot be wrong");
    client.is_ca = IsCa::ExplicitNoCa;
    client.distinguished_name.push(DnType::CommonName, super::role::ROLE);
    client.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let key = KeyPair::generate().expect("a key");
    let certificate = client.signed_by(&key, issuer).expect("a certificate");
    let [certificate_path, key_path] = CLIENT.map(|name| directory.join(name));
    fs::write(certificate_path, certificate.pem()).expect("the client's certificate is written");
    fs::write(&key_path, key.serialize_pem()).expect("the client's key is written");
    fs::set_permissions(key_path, fs::Permissions::from_mode(0o600)).expect("the key's mode is set");
}
