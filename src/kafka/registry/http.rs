//! One request, on a connection of its own: a registry is asked a few times a day.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use secrecy::ExposeSecret as _;

use super::Settings;
use crate::decode::base64;
use crate::http::{Answer, Client, Limits, Reach};

/// A registry that does not answer within this is not available.
const TIME_MAX: Duration = Duration::from_secs(10);
/// More than any answer is.
const ANSWER_BYTES_MAX: usize = 16 << 20;
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// Posts a JSON document, or gets what is there if there is none. `Err`: what kept it from being answered.
pub(super) async fn ask(settings: &Settings, path: &str, body: Option<Vec<u8>>) -> Result<Answer, String> {
    let limits = Limits { time: TIME_MAX, answer_bytes: ANSWER_BYTES_MAX };
    let mut client = Client::new(settings.address.clone(), Reach::Anywhere, settings.ca.as_deref(), limits)?;
    client.ask(|| request(settings, path, body.clone()).map_err(|error| error.to_string())).await
}

fn request(settings: &Settings, path: &str, body: Option<Vec<u8>>) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let address = &settings.address;
    let mut request = Request::builder()
        .method(if body.is_some() { Method::POST } else { Method::GET })
        .uri(format!("{}{path}", address.path))
        .header(HOST, address.authority())
        .header(CONTENT_TYPE, MEDIA_TYPE)
        .header(ACCEPT, format!("{MEDIA_TYPE}, application/json"));
    if let Some((username, password)) = &settings.credentials {
        let mut basic = b"Basic ".to_vec();
        base64::encode(format!("{username}:{}", password.expose_secret()).as_bytes(), &mut basic);
        request = request.header(AUTHORIZATION, basic);
    }
    request.body(Full::new(Bytes::from(body.unwrap_or_default())))
}
