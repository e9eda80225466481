//! Speaking to the admin port of a running walbridge.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::output::Failure;
use crate::admin::{SinkView, StatusView};
use crate::config::Admin;

/// The other side is on this machine, or nearly.
const TIME_MAX: Duration = Duration::from_secs(10);

/// More than any status is.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Asks for a page, or gives an order, where there is one to give.
pub(super) async fn ask<T: DeserializeOwned>(admin: &Admin, path: &str, order: Option<&Value>) -> Result<T, Failure> {
    let address = reachable(admin.listen);
    let refuse = |why: String| Failure::Unreachable(format!("the admin port http://{address} {why}"));
    let client = reqwest::Client::builder()
        .timeout(TIME_MAX)
        .no_proxy()
        // An answer from elsewhere is not the answer; and the token is for nobody else.
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| Failure::Internal(error.to_string()))?;
    let url = format!("http://{address}{path}");
    let mut request = match order {
        None => client.get(url),
        Some(order) => client.post(url).header("content-type", "application/json").body(order.to_string()),
    };
    if let Some(token) = &admin.token {
        request = request.bearer_auth(token.expose_secret());
    }
    let mut answer = request.send().await.map_err(|error| {
        let why = if error.is_connect() {
            "does not answer: is `walbridge run` running with this configuration?"
        } else {
            "does not answer in time"
        };
        refuse(why.to_owned())
    })?;
    let status = answer.status();
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|_| refuse("broke off its answer".to_owned()))? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER_BYTES_MAX {
            return Err(refuse("does not stop answering: it is not walbridge's".to_owned()));
        }
    }
    if !status.is_success() {
        let said = serde_json::from_slice::<Value>(&body).ok();
        return Err(match said.as_ref().and_then(|said| said.get("error")?.as_str()) {
            Some(why) if order.is_some() => Failure::Unreachable(why.to_owned()),
            _ => refuse(format!("answers {status}: {}", String::from_utf8_lossy(&body).trim())),
        });
    }
    serde_json::from_slice(&body).map_err(|_| refuse("answers something else: another program has it".to_owned()))
}

/// Between two looks, and how long walbridge may be away meanwhile.
const PAUSE: Duration = Duration::from_millis(250);
const AWAY: Duration = Duration::from_secs(30);

/// Looks at a sink until that is `through`.
pub(super) async fn wait_for_sink(
    admin: &Admin,
    sink: &str,
    mut through: impl FnMut(&SinkView) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let mut heard = Instant::now();
    loop {
        match ask::<StatusView>(admin, "/api/status", None).await {
            Ok(mut status) => {
                heard = Instant::now();
                let Some(view) = status.sinks.remove(sink) else {
                    return Err(Failure::Unreachable(format!("walbridge no longer has a sink `{sink}`")));
                };
                if through(&view)? {
                    return Ok(());
                }
            }
            // It may have been restarted: what was ordered goes on with it.
            Err(failure) if heard.elapsed() > AWAY => return Err(failure),
            Err(_) => {}
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Who listens everywhere can be asked here.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
