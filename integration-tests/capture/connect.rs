//! Getting in: TLS, passwords, and servers that are not what they should be.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use walbridge::capture::CaptureError;
use walbridge::capture::types::Types;
use walbridge::event::{Column, Relation, ReplicaIdentity, Scalar, Shape, TableName};
use walbridge::postgres::address::Address;
use walbridge::postgres::connection::{Connection, Purpose};
use walbridge::status::{Code, Disposition};

use crate::support::postgres::PASSWORD;
use crate::support::{Auth, PgOptions, Postgres};

async fn open(url: &str) -> Result<Connection, CaptureError> {
    Connection::open(&Address::parse(url).expect("a valid url"), Purpose::Query).await.map_err(CaptureError::from)
}

async fn refused(url: &str) -> CaptureError {
    match open(url).await {
        Ok(_) => panic!("must be refused"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn scram_is_bound_to_a_verified_tls_channel() {
    let postgres = Postgres::start(PgOptions {
        auth: Auth::Scram,
        tls: true,
        hba: vec!["hostnossl all all all reject".to_owned()],
        ..PgOptions::default()
    });
    let ca = postgres.ca();
    let url = format!(
        "postgres://postgres:{PASSWORD}@localhost:{}/postgres?sslmode=verify-full&channel_binding=require&sslrootcert={}",
        postgres.port,
        ca.display()
    );
    let mut connection = open(&url).await.expect("in");
    assert!(connection.is_tls());
    let rows =
        connection.query("asking", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").await.expect("rows");
    assert_eq!(rows[0][0].as_deref(), Some(&b"t"[..]));
    // `require` without an authority encrypts, and that is all it promises.
    open(&format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/postgres?sslmode=require", postgres.port))
        .await
        .expect("in");
    let error =
        refused(&format!("postgres://postgres:{PASSWORD}@127.0.0.1:{}/postgres?sslmode=disable", postgres.port)).await;
    assert_eq!((error.code(), error.disposition()), (Code::SourceAuth, Disposition::Stop), "{error}");
}

#[tokio::test]
async fn a_certificate_that_does_not_fit_is_refused_with_the_reason() {
    // 127.0.0.2 is this machine too, but the certificate is not for it.
    let postgres = Postgres::start(PgOptions {
        tls: true,
        conf: vec!["listen_addresses = '127.0.0.1,127.0.0.2'".to_owned()],
        hba: vec!["hostssl all all 127.0.0.2/32 trust".to_owned()],
        ..PgOptions::default()
    });
    let other = rcgen::generate_simple_self_signed(["other".to_owned()]).expect("a certificate").cert.pem();
    let directory = tempfile::tempdir().expect("a directory");
    let wrong_ca = directory.path().join("wrong.pem");
    std::fs::write(&wrong_ca, other).expect("written");
    let url = |host: &str, mode: &str, ca: &std::path::Path| {
        format!("postgres://postgres@{host}:{}/postgres?sslmode={mode}&sslrootcert={}", postgres.port, ca.display())
    };
    let error = refused(&url("localhost", "verify-full", &wrong_ca)).await;
    assert_eq!(error.code(), Code::SecurityTls);
    assert!(error.to_string().contains("authority we trust"), "{error}");
    let error = refused(&url("127.0.0.2", "verify-full", &postgres.ca())).await;
    assert_eq!(error.code(), Code::SecurityTls);
    assert!(error.to_string().contains("another host"), "{error}");
    open(&url("127.0.0.2", "verify-ca", &postgres.ca())).await.expect("verify-ca does not mind the name");
    let error = refused(&url("localhost", "verify-ca", &wrong_ca)).await;
    assert_eq!(error.code(), Code::SecurityTls);
    let error = refused(&url("localhost", "verify-full", std::path::Path::new("/nonexistent/ca.pem"))).await;
    assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_asked_for() {
    // A man in the middle who answers `N` to the request for TLS must not get a password.
    let postgres = Postgres::start(PgOptions::default());
    let error = refused(&format!("postgres://postgres@localhost:{}/postgres?sslmode=require", postgres.port)).await;
    assert_eq!((error.code(), error.disposition()), (Code::SecurityTls, Disposition::Stop));
    assert!(error.to_string().contains("does not offer it"), "{error}");
}

#[tokio::test]
async fn passwords_that_are_wrong_or_missing_are_named_as_such_and_never_shown() {
    let postgres = Postgres::start(PgOptions { auth: Auth::Scram, ..PgOptions::default() });
    let error = refused(&format!("postgres://postgres:canary-word@localhost:{}/postgres", postgres.port)).await;
    assert_eq!((error.code(), error.disposition()), (Code::SourceAuth, Disposition::Stop));
    assert!(!format!("{error} {error:?}").contains("canary-word"));
    let error = refused(&format!("postgres://nobody@localhost:{}/postgres?passfile=/nonexistent", postgres.port)).await;
    assert!(error.to_string().contains("PGPASSWORD"), "{error}");
}

#[tokio::test]
async fn a_password_asked_for_in_clear_text_is_not_given_over_an_open_network() {
    let postgres = Postgres::start(PgOptions { auth: Auth::Cleartext, ..PgOptions::default() });
    let error = refused(&postgres.url()).await;
    assert_eq!(error.code(), Code::SourceAuth);
    assert!(error.to_string().contains("clear text"), "{error}");
}

/// A server of our own making: answers the start-up message with these bytes, then reads and answers in turn.
fn fake_server(answers: Vec<Vec<u8>>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || {
        let Ok((mut stream, _)) = listener.accept() else { return };
        for answer in answers {
            let mut request = [0; 4096];
            if stream.read(&mut request).is_err() || stream.write_all(&answer).is_err() {
                return;
            }
        }
        let _ = stream.read(&mut [0; 4096]);
    });
    format!("postgres://u:secret@127.0.0.1:{port}/d?connect_timeout=3")
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &u32::try_from(body.len() + 4).expect("small").to_be_bytes(), body].concat()
}

#[tokio::test]
async fn plain_bytes_injected_behind_the_answer_to_the_tls_request_are_not_read_as_the_server() {
    let login = [vec![b'S'], message(b'R', &0u32.to_be_bytes()), message(b'Z', b"I")].concat();
    let error = refused(&format!("{}&sslmode=require", fake_server(vec![login]))).await;
    assert!(matches!(error.code(), Code::SecurityTls | Code::SourceUnreachable), "{error}");
}

#[tokio::test]
async fn a_server_that_cannot_prove_it_knows_the_password_is_refused() {
    let sasl = message(b'R', &[&10u32.to_be_bytes()[..], b"SCRAM-SHA-256\0\0"].concat());
    let done = message(b'R', &[&12u32.to_be_bytes()[..], b"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="].concat());
    // Without the right nonce the exchange ends at the challenge already.
    let challenge = message(b'R', &[&11u32.to_be_bytes()[..], b"r=x,s=AAAA,i=4096"].concat());
    let url = format!("{}&sslmode=disable", fake_server(vec![sasl, challenge, done]));
    let error = refused(&url).await;
    assert_eq!((error.code(), error.disposition()), (Code::SourceAuth, Disposition::Stop), "{error}");
}

#[tokio::test]
async fn hostile_answers_are_protocol_errors_and_neither_panic_nor_hang() {
    for (name, answer) in [
        ("a huge length", [&b"R"[..], &u32::MAX.to_be_bytes()].concat()),
        ("a length too small", [&b"R"[..], &2u32.to_be_bytes()].concat()),
        ("an unknown message", message(b'~', b"")),
        ("an authentication request cut short", message(b'R', b"\0")),
        ("a row before any query", message(b'D', &[0, 0])),
    ] {
        let error = refused(&format!("{}&sslmode=disable", fake_server(vec![answer]))).await;
        assert_eq!(error.code(), Code::SourceProtocol, "{name}: {error}");
    }
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_after_connect_timeout() {
    let error = refused(&format!("{}&sslmode=disable", fake_server(vec![Vec::new()]))).await;
    assert_eq!((error.code(), error.disposition()), (Code::SourceUnreachable, Disposition::Retry), "{error}");
}

#[tokio::test]
async fn settings_that_change_text_are_pinned_whatever_the_role_has() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql(
        "ALTER ROLE walbridge SET datestyle = 'German'; ALTER ROLE walbridge SET timezone = 'Asia/Tokyo';
         ALTER ROLE walbridge SET intervalstyle = 'iso_8601'; ALTER ROLE walbridge SET bytea_output = 'escape';
         ALTER ROLE walbridge SET extra_float_digits = -5; ALTER ROLE walbridge SET client_encoding = 'LATIN1';",
    );
    let mut connection = open(&postgres.url()).await.expect("in");
    let sql =
        "SELECT timestamptz '2026-01-02 03:04:05+00', interval '1 day 2 hours', '\\x01'::bytea, 0.1::float8 + 0.2, 'é'";
    let row = connection.query("asking", sql).await.expect("rows").remove(0);
    let texts: Vec<String> =
        row.iter().map(|value| String::from_utf8(value.as_ref().expect("a value").to_vec()).expect("UTF-8")).collect();
    assert_eq!(texts, ["2026-01-02 03:04:05+00", "1 day 02:00:00", "\\x01", "0.30000000000000004", "é"]);
}

/// The checker once found an array of enums as `"{sad,NULL}"` in every sink: its type had been asked for over a connection that broke, and
/// counted as looked up from then on.
#[tokio::test]
async fn a_type_that_was_asked_for_in_vain_is_asked_for_again() {
    let postgres = Postgres::start(PgOptions::default());
    postgres.psql("CREATE TYPE mood AS ENUM ('sad', 'ok')");
    let type_oid = postgres.psql("SELECT typarray FROM pg_type WHERE typname = 'mood'").trim().parse().expect("an OID");
    let mut relation = Relation {
        oid: 1,
        name: TableName { schema: "public".to_owned(), table: "typed".to_owned() },
        identity: ReplicaIdentity::Default,
        columns: vec![Column { name: "moods".to_owned(), type_oid, type_modifier: -1, shape: Shape::TEXT }],
        key: vec![0],
    };
    let mut types = Types::default();
    let mut broken = open(&postgres.url()).await.expect("in");
    broken.query("breaking off", "SELECT pg_terminate_backend(pg_backend_pid())").await.expect_err("it is gone");
    types.resolve(&mut broken, &mut relation).await.expect_err("nobody answers");
    types.resolve(&mut open(&postgres.url()).await.expect("in again"), &mut relation).await.expect("an answer");
    let shape = relation.columns.first().map(|column| column.shape);
    assert_eq!(shape, Some(Shape::Array { element: Scalar::Text, delimiter: b',' }));
}
