//! The admin port against a client that is slow, large, many, or not supposed to be there.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use walbridge::admin::{
    Admin, ControlError, ControlFuture, CopyControls, LetterControls, Pages, RebuildControls, RebuildRequest,
    ReplayControls, SearchError, SearchRegistry, SearchRequest,
};
use walbridge::dead_letter::{Outcome, Request};
use walbridge::event::{Lsn, Offset, Place, Span};
use walbridge::status::{Board, Code, State};

struct Port {
    address: std::net::SocketAddr,
    board: Board,
    stop: CancellationToken,
    served: JoinHandle<()>,
    client: Client,
}

impl Port {
    async fn open(token: Option<&str>) -> Port {
        let board = Board::default();
        board.source("shop", |status| {
            status.state = State::Streaming;
            status.slot = "walbridge_shop".to_owned();
            status.durable_lsn = Lsn::new(0x10);
            status.server_lsn = Lsn::new(0x30);
        });
        board.sink("cache", |status| {
            status.state = State::Streaming;
            status.kind = "redis";
            status.source = "shop".to_owned();
            status.checkpoint = Some(Offset(7));
        });
        let mut search = SearchRegistry::default();
        search.add("profiles", |request: SearchRequest| async move {
            if request.query == "broken" {
                return Err(SearchError::BadRequest("cannot read that".to_owned()));
            }
            Ok(RawValue::from_string(format!("{{\"hits\":[\"{}\"]}}", request.query)).expect("JSON"))
        });
        let port = Admin::bind("127.0.0.1:0".parse().expect("valid")).await.expect("a free port");
        let (address, stop) = (port.address(), CancellationToken::new());
        let mut controls = CopyControls::default();
        let control = |tables: Vec<String>| -> ControlFuture<Vec<String>> {
            Box::pin(async move {
                match tables.as_slice() {
                    [] => Ok(vec!["public.all".to_owned()]),
                    _ => Err(ControlError::Refused("not now".to_owned())),
                }
            })
        };
        controls.add("shop", Arc::new(control));
        let mut letters = LetterControls::default();
        let control = |request: Request| -> ControlFuture<Outcome> {
            Box::pin(async move { Ok(Outcome { discarded: request.ids, ..Outcome::default() }) })
        };
        letters.add("cache", Arc::new(control));
        let mut replays = ReplayControls::default();
        let control = |from: Place| -> ControlFuture<Span> {
            Box::pin(async move {
                match from {
                    Place::Start => Ok(Span { from: Offset(3), until: Offset(9) }),
                    other => Err(ControlError::Refused(format!("nothing is at {other}"))),
                }
            })
        };
        replays.add("cache", Arc::new(control));
        let mut rebuilds = RebuildControls::default();
        let control = |request: RebuildRequest| -> ControlFuture<Option<Span>> {
            Box::pin(async move {
                match request {
                    RebuildRequest::Begin { keep_old: true, copy: false } => {
                        Ok(Some(Span { from: Offset(0), until: Offset(9) }))
                    }
                    RebuildRequest::Begin { .. } => Err(ControlError::Refused("not so".to_owned())),
                    RebuildRequest::Cancel {} => Ok(None),
                }
            })
        };
        rebuilds.add("cache", Arc::new(control));
        let pages = Pages { board: board.clone(), search, controls, replays, rebuilds, letters, ..Pages::default() };
        let served = tokio::spawn(port.serve(token.map(Into::into), pages, stop.clone()));
        let client = Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a client");
        Port { address, board, stop, served, client }
    }

    async fn get(&self, path: &str) -> (StatusCode, String) {
        self.send(Method::GET, path, &[]).await
    }

    async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> (StatusCode, String) {
        let mut request = self.client.post(format!("http://{}{path}", self.address)).body(body.to_owned());
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("text"))
    }

    async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String) {
        let mut request = self.client.request(method, format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.expect("an answer");
        (answer.status(), answer.text().await.expect("text"))
    }

    /// Sends bytes as they are, and reads until the other side closes.
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.expect("connected");
        // The other side may close before it has read all of it.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[tokio::test]
async fn status_has_the_fields_that_programs_rely_on() {
    let port = Port::open(None).await;
    let (status, body) = port.get("/api/status").await;
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((status, &body["state"]), (StatusCode::OK, &Value::from("streaming")));
    let source = &body["sources"]["shop"];
    for field in ["state", "code", "message", "slot", "received_lsn", "durable_lsn", "confirmed_flush_lsn", "lag_bytes"]
    {
        assert!(source.get(field).is_some(), "{field} is not in {source}");
    }
    assert_eq!((&source["durable_lsn"], &source["lag_bytes"]), (&Value::from("0/10"), &Value::from(32)));
    let sink = &body["sinks"]["cache"];
    for field in ["state", "code", "message", "checkpoint", "lag_bytes", "lag_events", "lag_seconds"] {
        assert!(sink.get(field).is_some(), "{field} is not in {sink}");
    }
    assert_eq!(sink["checkpoint"], 7);
}

/// Scenario 156.
#[tokio::test]
async fn readiness_follows_the_board_and_liveness_does_not() {
    let port = Port::open(None).await;
    assert_eq!(port.get("/readyz").await, (StatusCode::OK, "ready\n".to_owned()));
    port.board.sink("cache", |status| {
        status.state = State::Paused;
        status.code = Some(Code::SinkUnavailable);
        status.message = Some("connection refused".to_owned());
    });
    let (status, body) = port.get("/readyz").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, "sink cache is paused sink.unavailable: connection refused\n");
    assert_eq!(port.get("/healthz").await.0, StatusCode::OK);
    let (_, metrics) = port.get("/metrics").await;
    assert!(metrics.contains("walbridge_ready 0\n"), "{metrics}");
    assert!(metrics.contains("walbridge_source_durable_lsn_bytes{source=\"shop\"} 16\n"), "{metrics}");
}

#[tokio::test]
async fn search_answers_refuses_and_names_what_there_is() {
    let port = Port::open(None).await;
    assert_eq!(port.get("/search/profiles?q=a%20b").await, (StatusCode::OK, "{\"hits\":[\"a b\"]}".to_owned()));
    assert_eq!(port.get("/search/profiles?q=broken").await.0, StatusCode::BAD_REQUEST);
    assert_eq!(port.get("/search/profiles").await.0, StatusCode::BAD_REQUEST);
    let (status, body) = port.get("/search/nobody?q=a").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(body.contains("profiles"), "{body}");
}

/// Scenario 168: method, Host, token, no CORS.
#[tokio::test]
async fn only_who_may_look_can_and_nobody_can_change_anything() {
    let port = Port::open(None).await;
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        assert_eq!(port.send(method.clone(), "/api/status", &[]).await.0, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
    assert_eq!(port.send(Method::GET, "/api/status", &[("Host", "rebound.example")]).await.0, StatusCode::FORBIDDEN);
    let answer = port
        .client
        .get(format!("http://{}/api/status", port.address))
        .header("Origin", "http://a.example")
        .send()
        .await;
    let headers = answer.expect("an answer").headers().clone();
    assert!(headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{headers:?}");
    assert!(headers["content-security-policy"].to_str().expect("text").contains("default-src 'none'"));

    let guarded = Port::open(Some("0123456789abcdef")).await;
    assert_eq!(guarded.get("/api/status").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(guarded.get("/metrics").await.0, StatusCode::UNAUTHORIZED);
    assert_eq!(guarded.get("/healthz").await.0, StatusCode::OK);
    let shown = [("Authorization", "Bearer 0123456789abcdef"), ("Host", "walbridge.internal")];
    assert_eq!(guarded.send(Method::GET, "/api/status", &shown).await.0, StatusCode::OK);
    guarded.board.source("shop", |status| {
        status.state = State::Halted;
        status.message = Some("details for operators".to_owned());
    });
    let (status, body) = guarded.get("/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        "no reasons without the token"
    );
}

/// Scenario 168: the orders there are, and who cannot give them.
#[tokio::test]
async fn an_order_needs_a_program_that_knows_what_it_does() {
    let port = Port::open(None).await;
    let (path, json) = ("/api/sources/shop/resnapshot", ("Content-Type", "application/json"));
    let (status, body) = port.post(path, &[json], "{}").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, "{\"source\":\"shop\",\"tables\":[\"public.all\"]}"));
    for (headers, body, wanted) in [
        (&[json][..], "{\"tables\": [\"public.t\"]}", StatusCode::CONFLICT),
        (&[json], "{\"table\": []}", StatusCode::BAD_REQUEST),
        (&[json], "", StatusCode::BAD_REQUEST),
        // What a form on a page elsewhere can send.
        (&[("Content-Type", "text/plain")], "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (&[], "{}", StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (&[json, ("Origin", "http://evil.example")], "{}", StatusCode::FORBIDDEN),
        (&[json, ("Host", "rebound.example")], "{}", StatusCode::FORBIDDEN),
    ] {
        assert_eq!(port.post(path, headers, body).await.0, wanted, "{headers:?} {body}");
    }
    assert_eq!(port.post("/api/sources/nobody/resnapshot", &[json], "{}").await.0, StatusCode::NOT_FOUND);
    assert_eq!(port.get(path).await.0, StatusCode::METHOD_NOT_ALLOWED, "GET changes nothing");
    let letters = "/api/sinks/cache/dead-letters";
    let (status, body) = port.post(letters, &[json], "{\"action\":\"discard\",\"ids\":[7]}").await;
    assert!(status == StatusCode::OK && body.contains("\"discarded\":[7]"), "{status} {body}");
    for body in ["{}", "{\"action\":\"burn\",\"all\":true}", "{\"action\":\"retry\",\"everything\":true}"] {
        assert_eq!(port.post(letters, &[json], body).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(port.post("/api/sinks/nobody/dead-letters", &[json], "{}").await.0, StatusCode::NOT_FOUND);
    assert_eq!(port.post(letters, &[("Content-Type", "text/plain")], "{}").await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let replay = "/api/sinks/cache/replay";
    let (status, body) = port.post(replay, &[json], "{\"from\":\"start\"}").await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, r#"{"sink":"cache","from":3,"until":9}"#));
    let (status, body) = port.post(replay, &[json], "{\"from\":\"7\"}").await;
    assert!(status == StatusCode::CONFLICT && body.contains("nothing is at"), "{status} {body}");
    for body in ["{}", "{\"from\":\"soon\"}", "{\"from\":\"start\",\"until\":\"7\"}"] {
        assert_eq!(port.post(replay, &[json], body).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    assert_eq!(port.post("/api/sinks/nobody/replay", &[json], "{}").await.0, StatusCode::NOT_FOUND);
    let rebuild = "/api/sinks/cache/rebuild";
    let begun = r#"{"sink":"cache","events":{"from":0,"until":9}}"#;
    for (body, status, answer) in [
        ("{\"action\":\"begin\",\"keep_old\":true}", StatusCode::OK, begun),
        ("{\"action\":\"cancel\"}", StatusCode::OK, r#"{"sink":"cache","events":null}"#),
        ("{\"action\":\"begin\"}", StatusCode::CONFLICT, r#"{"error":"not so"}"#),
    ] {
        assert_eq!(port.post(rebuild, &[json], body).await, (status, answer.to_owned()), "{body}");
    }
    for body in ["{}", "{\"action\":\"begin\",\"from\":1}", "{\"action\":\"cancel\",\"copy\":true}"] {
        assert_eq!(port.post(rebuild, &[json], body).await.0, StatusCode::BAD_REQUEST, "{body}");
    }
    let guarded = Port::open(Some("0123456789abcdef")).await;
    assert_eq!(guarded.post(path, &[json], "{}").await.0, StatusCode::UNAUTHORIZED);
    let shown = ("Authorization", "Bearer 0123456789abcdef");
    assert_eq!(guarded.post(path, &[json, shown], "{}").await.0, StatusCode::OK);
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere() {
    let port = Port::open(None).await;
    for path in ["/", "/page.js", "/page.css"] {
        let (status, body) = port.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}");
        assert!(!body.contains("http://") && !body.contains("https://") && !body.contains("innerHTML"), "{path}");
        assert!(body.lines().count() < 200, "{path}");
    }
}

/// Scenario 169.
#[tokio::test]
async fn huge_heads_are_refused_and_bodies_are_not_read() {
    let port = Port::open(None).await;
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "a".repeat(200_000));
    let answer = port.raw(long.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer:.80}");
    let body =
        "POST /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 99999999999\r\n\r\nx";
    let answer = port.raw(body.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer:.80}");
    assert_eq!(port.get("/healthz").await.0, StatusCode::OK);
}

/// Scenario 169. A client that never ends its head gets ten seconds; 200 of them hold up nobody for longer than that, and nothing
/// but this port ever.
#[tokio::test]
async fn clients_that_never_finish_are_shown_out() {
    let port = Port::open(None).await;
    let mut lorises = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(port.address).await.expect("connected");
        stream.write_all(b"GET / HTTP/1.1\r\nHost: local").await.expect("sent");
        lorises.push(stream);
    }
    // Behind all of them in the queue.
    assert_eq!(port.get("/healthz").await.0, StatusCode::OK);
    let mut first = lorises.swap_remove(0);
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), first.read_to_end(&mut rest)).await.expect("shown out").ok();
}

#[tokio::test]
async fn the_end_does_not_wait_for_open_connections() {
    let port = Port::open(None).await;
    let _idle = TcpStream::connect(port.address).await.expect("connected");
    assert_eq!(port.get("/healthz").await.0, StatusCode::OK);
    port.stop.cancel();
    tokio::time::timeout(Duration::from_secs(10), port.served).await.expect("ends").expect("no panic");
    assert!(TcpStream::connect(port.address).await.is_err(), "closed");
}

/// Scenario 152.
#[tokio::test]
async fn a_port_in_use_is_said_to_be() {
    let port = Port::open(None).await;
    let error = Admin::bind(port.address).await.expect_err("in use");
    assert_eq!(error.code(), Code::ConfigInvalid);
    assert!(error.to_string().contains("[admin] listen"), "{error}");
}
