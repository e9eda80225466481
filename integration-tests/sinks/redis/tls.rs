//! Certificates, on both sides.

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;
use walbridge::sink::redis::{Options, RedisSink, Server, ValueKind};
use walbridge::sink::{Sink, SinkError};

use super::super::rows::{NULL, put, text};
use super::{apply, get, options};
use crate::support::postgres::certificate;
use crate::support::{Redis, ports};

/// A server that speaks TLS on a port of its own, with the authority's certificate and a client's beside.
struct Secured {
    server: Redis,
    port: u16,
    files: TempDir,
}

impl Secured {
    /// `asks`: for a client's certificate.
    fn start(asks: bool) -> Secured {
        let files = tempfile::tempdir().expect("a directory");
        let own = certificate::write(files.path());
        let port = ports::free();
        let path = |path: PathBuf| path.to_str().expect("UTF-8").to_owned();
        let arguments = [
            ["--tls-port".to_owned(), port.to_string()],
            ["--tls-cert-file".to_owned(), path(own.certificate)],
            ["--tls-key-file".to_owned(), path(own.key)],
            ["--tls-ca-cert-file".to_owned(), path(files.path().join(certificate::CA))],
            ["--tls-auth-clients".to_owned(), if asks { "yes" } else { "no" }.to_owned()],
        ];
        let pairs = arguments.iter().flatten().map(String::as_str);
        let server = Redis::start(&pairs.chain(["--bind", "127.0.0.1", "127.0.0.2"]).collect::<Vec<_>>());
        Secured { server, port, files }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.files.path().join(name)
    }

    fn sink(&self, host: &str, ca: Option<PathBuf>, identity: Option<(PathBuf, PathBuf)>) -> RedisSink {
        let server = Server { ca, identity, ..Server::at(format!("rediss://{host}:{}", self.port)) };
        RedisSink::new(Options { server, ..options("redis://replaced", ValueKind::Json) }).expect("an address")
    }
}

#[tokio::test]
async fn tls_is_spoken_with_a_server_of_an_authority_that_we_are_told_of() {
    let secured = Secured::start(false);
    let mut sink = secured.sink("localhost", Some(secured.file(certificate::CA)), None);
    sink.resume().await.expect("a server");
    apply(&mut sink, 1, &[put(1, "t:1", [text("1"), NULL, NULL])]).await.expect("applied");
    assert!(get(&secured.server, "t:1").await.is_some());
}

/// Scenario 164. The message says which of the two sides is to be mended, and how.
#[tokio::test]
async fn a_certificate_that_is_not_trusted_or_for_another_host_is_refused_with_the_remedy() {
    let secured = Secured::start(false);
    let authority = || Some(secured.file(certificate::CA));
    let (other, broken) = (secured.file("other.pem"), secured.file("broken.pem"));
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    fs::write(&other, made.cert.pem()).expect("written");
    fs::write(&broken, "no certificate").expect("written");
    for (host, ca, remedy) in [
        ("localhost", None, "name the right one with `ca`"),
        ("localhost", Some(other), "name the right one with `ca`"),
        ("127.0.0.2", authority(), "connect by a name that stands in it"),
    ] {
        let refused = secured.sink(host, ca, None).resume().await;
        let Err(error @ SinkError::Tls { .. }) = refused else { panic!("{host}: {refused:?}") };
        assert_eq!(error.code().as_str(), "security.tls");
        assert!(error.to_string().contains(remedy), "{error}");
    }
    for (ca, remedy) in [(broken, "in PEM"), (secured.file("missing.pem"), "Mend the path")] {
        let refused = secured.sink("localhost", Some(ca), None).resume().await;
        let Err(error @ SinkError::Unusable { .. }) = refused else { panic!("{refused:?}") };
        assert!(error.to_string().contains(remedy), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_asks_for_our_certificate_is_shown_it() {
    let secured = Secured::start(true);
    let authority = || Some(secured.file(certificate::CA));
    let [own, key] = certificate::CLIENT.map(|name| secured.file(name));
    let mut sink = secured.sink("localhost", authority(), Some((own, key)));
    sink.resume().await.expect("a server");
    let refused = secured.sink("localhost", authority(), None).resume().await;
    // With TLS 1.3 the server says so after the handshake, and closes: which of the two comes first is chance.
    let Err(error @ (SinkError::Tls { .. } | SinkError::Unavailable { .. })) = refused else { panic!("{refused:?}") };
    assert!(error.to_string().contains("client_certificate"), "{error}");
}
