//! Who may look.
//!
//! Without a token the port is on loopback, and anything on this machine may ask; but a web page open in a browser here is not
//! "this machine". It cannot read an answer (no CORS), and it cannot pretend to be same-origin by pointing a name of its own at 127.0.0.1 (DNS
//! rebinding), because a `Host` that is a name other than `localhost` is refused. With a token, whoever has it may ask.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use secrecy::{ExposeSecret as _, SecretString};

use super::api::error;

/// No page takes longer; a search over a huge index might.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Below these, something can be changed.
const ORDERS: [&str; 2] = ["/api/sources/", "/api/sinks/"];

/// What is asked of every request.
pub(super) struct Guard {
    token: Option<SecretString>,
}

/// What a request may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Everything.
    Full,
    /// Whether it is alive and ready, without reasons, and the empty status page: what probes and a browser that has yet to ask for
    /// the token need.
    Open,
}

impl Guard {
    pub(super) fn new(token: Option<SecretString>) -> Self {
        Guard { token }
    }

    /// What this request may see, or why nothing.
    fn judge(&self, method: &Method, path: &str, headers: &HeaderMap) -> Result<Access, Refusal> {
        match *method {
            Method::GET | Method::HEAD => {}
            Method::POST if ORDERS.iter().any(|orders| path.starts_with(orders)) => is_no_page_elsewhere(headers)?,
            _ => return Err(Refusal::Method),
        }
        let Some(token) = &self.token else {
            return if is_local_host(headers) { Ok(Access::Full) } else { Err(Refusal::Host) };
        };
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if shown.is_some_and(|shown| same(shown, token.expose_secret().as_bytes())) {
            return Ok(Access::Full);
        }
        let open = ["/", "/page.css", "/page.js", "/healthz", "/readyz"];
        if open.contains(&path) { Ok(Access::Open) } else { Err(Refusal::Token) }
    }
}

/// A request that changes something is sent by a program of the operator's, or by this port's own page. A browser sends JSON to
/// another origin only after asking, which nobody answers, and says where the page is from.
fn is_no_page_elsewhere(headers: &HeaderMap) -> Result<(), Refusal> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().map(str::trim) != Some("application/json") {
        return Err(Refusal::ContentType);
    }
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match headers.get(ORIGIN).map(|value| value.to_str().unwrap_or_default()) {
        None => Ok(()),
        Some(origin) if origin.strip_prefix("http://").or(origin.strip_prefix("https://")) == Some(host) => Ok(()),
        Some(_) => Err(Refusal::Origin),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    ContentType,
    Origin,
    Method,
    Host,
    Token,
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Refusal::Method => error(
                StatusCode::METHOD_NOT_ALLOWED,
                "GET looks; orders are POSTed to /api/sources/NAME/… and /api/sinks/NAME/…",
            ),
            Refusal::ContentType => error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json"),
            Refusal::Origin => error(StatusCode::FORBIDDEN, "a page from elsewhere changes nothing here"),
            Refusal::Host => error(
                StatusCode::FORBIDDEN,
                "the Host header names another machine; ask by IP address or localhost, or set a token in [admin]",
            ),
            Refusal::Token => {
                let mut response = error(StatusCode::UNAUTHORIZED, "send Authorization: Bearer and [admin] token");
                response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                response
            }
        }
    }
}

/// The middleware.
pub(super) async fn check(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let judged = guard.judge(request.method(), request.uri().path(), request.headers());
    let mut response = match judged {
        Err(refusal) => refusal.into_response(),
        Ok(access) => {
            request.extensions_mut().insert(access);
            match tokio::time::timeout(ANSWER_TIME_MAX, next.run(request)).await {
                Ok(response) => response,
                Err(_) => error(StatusCode::SERVICE_UNAVAILABLE, "the answer took too long; ask for less"),
            }
        }
    };
    for (name, value) in SAFETY_HEADERS {
        response.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Nothing from elsewhere is loaded by our page, and ours is in nobody's.
const SAFETY_HEADERS: [(&str, &str); 4] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    ("cross-origin-resource-policy", "same-origin"),
    ("referrer-policy", "no-referrer"),
    ("x-content-type-options", "nosniff"),
];

/// Whether the request was made for an IP address or `localhost`: something that no one can point elsewhere.
fn is_local_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let name = host.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(host, |(name, _)| name);
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok() || host.parse::<SocketAddr>().is_ok()
}

/// Takes as long for a near miss as for a far one.
fn same(shown: &[u8], token: &[u8]) -> bool {
    let differences = shown.iter().zip(token).fold(0, |differences, (one, other)| differences | (one ^ other));
    std::hint::black_box(differences) == 0 && shown.len() == token.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).expect("a header"))
        };
        list.iter().map(pair).collect()
    }

    #[test]
    fn a_name_that_someone_could_point_here_is_refused() {
        let guard = Guard::new(None);
        for (host, allowed) in [
            ("127.0.0.1:7431", true),
            ("localhost:7431", true),
            ("LOCALHOST", true),
            ("[::1]:7431", true),
            ("[::1]", true),
            ("10.0.0.1", true),
            ("evil.example:7431", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example:7431", false),
            ("127.0.0.1@evil.example", false),
            ("", false),
        ] {
            let judged = guard.judge(&Method::GET, "/api/status", &headers(&[("host", host)]));
            assert_eq!(judged, if allowed { Ok(Access::Full) } else { Err(Refusal::Host) }, "{host}");
        }
        assert_eq!(guard.judge(&Method::GET, "/", &headers(&[])), Err(Refusal::Host));
    }

    #[test]
    fn only_asking_is_allowed() {
        let guard = Guard::new(None);
        let host = headers(&[("host", "localhost")]);
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::PATCH] {
            assert_eq!(guard.judge(&method, "/api/status", &host), Err(Refusal::Method), "{method}");
        }
        assert_eq!(guard.judge(&Method::HEAD, "/api/status", &host), Ok(Access::Full));
    }

    #[test]
    fn an_order_comes_from_a_program_or_from_our_own_page() {
        let order = |pairs: &[(&'static str, &str)]| {
            let paths = ["/api/sources/shop/resnapshot", "/api/sinks/cache/dead-letters", "/api/sinks/cache/replay"];
            let judged = |guard: Guard| {
                let [one, others @ ..] = paths.map(|path| guard.judge(&Method::POST, path, &headers(pairs)));
                assert!(others.iter().all(|other| *other == one));
                one
            };
            (judged(Guard::new(None)), judged(Guard::new(Some("0123456789abcdef".into()))))
        };
        let json = ("content-type", "application/json; charset=utf-8");
        let (open, token) = order(&[("host", "localhost:7431"), json]);
        assert_eq!((open, token), (Ok(Access::Full), Err(Refusal::Token)));
        let page = [("host", "localhost:7431"), json, ("origin", "http://localhost:7431")];
        assert_eq!(order(&page).0, Ok(Access::Full));
        for origin in ["http://evil.example", "null", "http://localhost:7432", ""] {
            let page = [("host", "localhost:7431"), json, ("origin", origin)];
            assert_eq!(order(&page), (Err(Refusal::Origin), Err(Refusal::Origin)), "{origin}");
        }
        for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
            assert_eq!(order(&[("host", "localhost"), ("content-type", kind)]).0, Err(Refusal::ContentType), "{kind}");
        }
        assert_eq!(order(&[("host", "evil.example"), json]).0, Err(Refusal::Host), "a name pointed at this machine");
    }

    #[test]
    fn with_a_token_nothing_but_the_probes_answers_without_it() {
        let guard = Guard::new(Some("0123456789abcdef".into()));
        let ask = |path: &str, shown: &str| guard.judge(&Method::GET, path, &headers(&[("authorization", shown)]));
        assert_eq!(ask("/api/status", "Bearer 0123456789abcdef"), Ok(Access::Full));
        for shown in ["", "Bearer ", "Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef"] {
            assert_eq!(ask("/api/status", shown), Err(Refusal::Token), "{shown}");
            assert_eq!(ask("/metrics", shown), Err(Refusal::Token), "{shown}");
            assert_eq!(ask("/search/x", shown), Err(Refusal::Token), "{shown}");
            assert_eq!(ask("/readyz", shown), Ok(Access::Open), "{shown}");
        }
    }
}
