//! Which server is taken, and how we prove who we are: several hosts, client certificates, the password file, the environment.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use walbridge::capture::CaptureError;
use walbridge::postgres::address::Address;
use walbridge::postgres::connection::{Connection, Purpose};
use walbridge::status::{Code, Disposition};

use crate::support::postgres::role::{ROLE, ROLE_PASSWORD};
use crate::support::{Auth, PgOptions, Postgres, Walbridge, ports};

async fn open(url: &str) -> Result<Connection, CaptureError> {
    Connection::open(&Address::parse(url).expect("a valid url"), Purpose::Query).await.map_err(CaptureError::from)
}

#[tokio::test]
async fn the_first_host_that_fits_is_taken_and_those_that_do_not_are_passed_over() {
    let writable = Postgres::start(PgOptions::default());
    let read_only =
        Postgres::start(PgOptions { conf: vec!["default_transaction_read_only = on".into()], ..PgOptions::default() });
    let nobody = ports::free();
    let hosts = format!("127.0.0.1:{nobody},127.0.0.1:{},127.0.0.1:{}", read_only.port, writable.port);
    for (attributes, port) in [
        ("any", read_only.port),
        ("read-write", writable.port),
        ("read-only", read_only.port),
        ("primary", read_only.port),
    ] {
        let url = format!("postgres://{ROLE}@{hosts}/postgres?target_session_attrs={attributes}");
        let connection = open(&url).await.unwrap_or_else(|error| panic!("{attributes}: {error}"));
        assert_eq!(connection.host().to_string(), format!("127.0.0.1:{port}"), "{attributes}");
    }
    // During a failover there may be no primary for a while, so it is tried again.
    let error = open(&format!("postgres://{ROLE}@{hosts}/postgres?target_session_attrs=standby"))
        .await
        .err()
        .expect("no standby");
    assert_eq!((error.code(), error.disposition()), (Code::SourceUnreachable, Disposition::Retry));
    assert!(error.to_string().contains("target_session_attrs=standby"), "{error}");
}

/// Scenario 164, with `clientcert=verify-full`: the server knows us by a certificate and nothing else.
#[tokio::test]
async fn a_client_certificate_lets_the_role_in_and_a_key_that_others_may_read_is_refused() {
    let postgres = Postgres::start(PgOptions {
        tls: true,
        hba: vec!["hostssl all all 127.0.0.1/32 cert clientcert=verify-full".into(), "host all all all reject".into()],
        ..PgOptions::default()
    });
    let [certificate, key] = postgres.client_certificate();
    let url = |user: &str, with: &str| {
        let ca = postgres.ca().display().to_string();
        format!("postgres://{user}@localhost:{}/postgres?sslmode=verify-full&sslrootcert={ca}{with}", postgres.port)
    };
    let both = format!("&sslcert={}&sslkey={}", certificate.display(), key.display());
    let mut connection = open(&url(ROLE, &both)).await.expect("in");
    let rows = connection.query("asking", "SELECT current_user").await.expect("rows");
    assert_eq!(rows[0][0].as_deref(), Some(ROLE.as_bytes()));
    for (user, with) in [("postgres", both.as_str()), (ROLE, "")] {
        let error = open(&url(user, with)).await.err().expect("refused");
        assert_eq!((error.code(), error.disposition()), (Code::SourceAuth, Disposition::Stop), "{user}: {error}");
    }
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("its mode is set");
    let error = open(&url(ROLE, &both)).await.err().expect("refused");
    assert_eq!(error.code(), Code::SecurityTls);
    assert!(error.to_string().contains("chmod 0600"), "{error}");
}

fn config(directory: &Path) -> String {
    let directory = directory.display();
    format!("[sources.shop]\nurl = \"postgres://\"\ntables = \"public.*\"\n[log]\npath = \"{directory}/log\"\n")
}

/// libpq's own environment: where other programs on the machine find the server, this one does too. A password file that others
/// may read is not used.
#[test]
fn the_environment_and_the_password_file_say_where_and_who() {
    let postgres = Postgres::start(PgOptions { auth: Auth::Scram, ..PgOptions::default() });
    postgres.psql("CREATE TABLE t (id int PRIMARY KEY); CREATE PUBLICATION walbridge_shop FOR TABLE t; GRANT SELECT ON t TO walbridge");
    let directory = tempfile::tempdir().expect("a directory");
    let passwords = directory.path().join("pgpass");
    std::fs::write(&passwords, format!("# ours\n127.0.0.1:{}:*:{ROLE}:{ROLE_PASSWORD}\n", postgres.port))
        .expect("written");
    let port = postgres.port.to_string();
    let file = passwords.display().to_string();
    let environment = [
        ("PGHOST", "127.0.0.1"),
        ("PGPORT", port.as_str()),
        ("PGUSER", ROLE),
        ("PGDATABASE", "postgres"),
        ("PGAPPNAME", "bridge-7"),
        ("PGPASSFILE", file.as_str()),
        ("PGPASSWORD", ""),
    ];
    let walbridge = Walbridge::configured_with(&config(directory.path()), &environment);
    for (mode, code, said) in [(0o644, 2, "chmod 0600"), (0o600, 0, "all is well")] {
        std::fs::set_permissions(&passwords, std::fs::Permissions::from_mode(mode)).expect("its mode is set");
        let check = walbridge.run(&["check"]);
        let text = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
        assert_eq!(check.status.code(), Some(code), "{text}");
        assert!(text.contains(said) && !text.contains(ROLE_PASSWORD), "{text}");
    }
}
