//! Whoever takes a webhook's events: keeps what it is sent, and answers as a test wants.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use super::ports;

/// What a test is told of a request.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An answer: a status, and a header besides.
pub(crate) type Answer = (u16, Option<(&'static str, String)>);

type Refuses = Box<dyn Fn(&Value) -> bool + Send>;

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    events: Vec<Value>,
    /// Given one after the other; then all is taken.
    answers: VecDeque<Answer>,
    /// Every request is answered so.
    always: Option<u16>,
    /// Events that are never taken.
    refuses: Option<Refuses>,
}

/// A server of its own on loopback.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    state: Arc<Mutex<State>>,
    _server: AbortOnDropHandle<()>,
}

impl Receiver {
    /// Serves on the runtime of whoever starts it.
    pub(crate) fn start() -> Receiver {
        let (listener, port) = ports::listen();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let answer = move |headers: HeaderMap, body: Bytes| {
            let answer = lock(&shared).take(Request { headers, body });
            std::future::ready(answer)
        };
        let server = async move {
            axum::serve(listener, Router::new().fallback(answer).layer(DefaultBodyLimit::disable()))
                .await
                .expect("it serves")
        };
        Receiver { port, state, _server: AbortOnDropHandle::new(tokio::spawn(server)) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    /// Every request, also of those that were not taken.
    pub(crate) fn requests(&self) -> Vec<Request> {
        lock(&self.state).requests.clone()
    }

    /// The events that were taken, in the order in which they came; one that came twice is there twice.
    pub(crate) fn events(&self) -> Vec<Value> {
        lock(&self.state).events.clone()
    }

    /// The next requests are answered so.
    pub(crate) fn answer(&self, answers: impl IntoIterator<Item = Answer>) {
        lock(&self.state).answers.extend(answers);
    }

    /// All requests are answered so from here on; with `None` as before.
    pub(crate) fn answer_always(&self, status: Option<u16>) {
        lock(&self.state).always = status;
    }

    /// Requests that hold such an event are refused.
    pub(crate) fn refuse(&self, refuses: impl Fn(&Value) -> bool + Send + 'static) {
        lock(&self.state).refuses = Some(Box::new(refuses));
    }

    /// As new.
    pub(crate) fn forget(&self) {
        *lock(&self.state) = State::default();
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl State {
    fn take(&mut self, request: Request) -> (StatusCode, HeaderMap, &'static str) {
        let events: Vec<Value> = serde_json::from_slice(&request.body).expect("a list of events");
        self.requests.push(request);
        let mut headers = HeaderMap::new();
        if let Some((status, header)) = self.always.map(|status| (status, None)).or_else(|| self.answers.pop_front()) {
            if let Some((name, value)) = header {
                headers.insert(name, value.parse().expect("a header"));
            }
            return (StatusCode::from_u16(status).expect("a status"), headers, "as the test wants it");
        }
        if self.refuses.as_ref().is_some_and(|refuses| events.iter().any(refuses)) {
            return (StatusCode::UNPROCESSABLE_ENTITY, headers, "not this one");
        }
        self.events.extend(events);
        (StatusCode::OK, headers, "")
    }
}
