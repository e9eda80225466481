//! Events by HTTP: each as a JSON object, in order, several in a request.
//!
//! - **At least once.** A request counts when it is answered with a status of success; the checkpoint is written after that, in a file of ours (`place`). What was
//!   answered and not yet noted when the process ends is sent again. Every event has its [`Position`], which rises, and every request an `Idempotency-Key` made of
//!   the Positions in it.
//! - **Who may be asked.** Addresses that are not public are refused unless they are allowed, by the very address that is connected to; redirects are not followed.
//! - **Who asks.** A request is signed with a secret that both sides have (`signature`).
//! - **What an answer means**, `answer` says: taken, refused for the event's sake, not now, or never here.

mod answer;
mod body;
mod signature;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request};
use secrecy::{ExposeSecret as _, SecretString};

use self::answer::Verdict;
use self::body::{Body, Queued};
use super::blocking::Blocking;
use super::place::Place;
use super::{Checkpoint, KeyPage, Rejection, Sink, SinkError, Staged};
use crate::event::{Position, TableName};
use crate::http::{Address, Client, Limits, Reach};
use crate::project::mutation::{Effect, Mutation};

/// Whom to tell, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The sink's name.
    pub name: String,
    /// The source's, as the events have it.
    pub source: String,
    /// Where requests go, its path included.
    pub address: Address,
    /// Which addresses that may be.
    pub reach: Reach,
    /// What requests are signed with; `None`: they are not.
    pub secret: Option<SecretString>,
    /// A bearer token that says who we are.
    pub token: Option<SecretString>,
    /// The authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// How long an answer is waited for.
    pub timeout: Duration,
    /// So many events go into a request at most.
    pub events_max: usize,
    /// The file of the checkpoint.
    pub checkpoint: PathBuf,
}

/// Events are held up to this size, and beyond it sent ahead of the commit.
const HELD_BYTES_MAX: usize = 8 << 20;
/// A request is no longer, unless one event is.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Of an answer no more is read than its message for a person.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// See the module.
pub struct WebhookSink {
    options: Options,
    client: Client,
    token: Option<HeaderValue>,
    place: Blocking<Place>,
    held: Vec<Queued>,
    held_bytes: usize,
    /// The next flush tells of it.
    refused: Vec<Rejection>,
    belief: Option<Checkpoint>,
    /// What has been taken since the checkpoint that it stands behind: it is not sent again as long as this process lives.
    taken: Option<(Option<Checkpoint>, Position)>,
    /// The target asked to be left alone until then.
    not_before: Option<Instant>,
}

impl WebhookSink {
    /// Connects to nothing yet.
    ///
    /// # Errors
    /// The authorities cannot be read, or the token cannot be sent.
    pub fn new(options: Options) -> Result<Self, SinkError> {
        let unusable = |detail: String| SinkError::Unusable {
            target: options.address.to_string(),
            detail,
            remedy: "Mend it in the configuration, then restart walbridge".to_owned(),
        };
        let limits = Limits { time: options.timeout, answer_bytes: ANSWER_BYTES_MAX };
        let client = Client::new(options.address.clone(), options.reach, options.ca.as_deref(), limits);
        let token = options.token.as_ref().map(|token| {
            let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
                .map_err(|_| "the token cannot be sent in a header".to_owned())?;
            value.set_sensitive(true);
            Ok(value)
        });
        let (client, token) = (client.map_err(unusable)?, token.transpose().map_err(unusable)?);
        let place = Blocking::new(options.checkpoint.display().to_string(), Place::new(options.checkpoint.clone()));
        Ok(WebhookSink {
            options,
            client,
            token,
            place,
            held: Vec::new(),
            held_bytes: 0,
            refused: Vec::new(),
            belief: None,
            taken: None,
            not_before: None,
        })
    }

    /// Whether the address may be connected to, and answers. Sends no request.
    ///
    /// # Errors
    /// It may not, or does not.
    pub async fn look(&self) -> Result<(), SinkError> {
        let opened = self.client.connect().await;
        opened.map_err(|detail| SinkError::Unavailable { target: self.options.address.to_string(), detail })
    }

    /// Sends what is held, in order, what stands behind a refused event too: the loop may know of that one already, and then commits.
    async fn send(&mut self) -> Result<(), SinkError> {
        self.held_bytes = 0;
        let mut waiting = body::cut(std::mem::take(&mut self.held), self.options.events_max, BODY_BYTES_MAX);
        while let Some(mut events) = waiting.pop() {
            match self.post(&Body::of(&events)).await? {
                Verdict::Taken => {
                    let last = events.iter().rev().find(|event| !event.mutation.is_late());
                    self.taken = last.map(|last| (self.belief, last.mutation.position)).or(self.taken);
                }
                // For one event's sake: which one is found by halves, the first half first.
                Verdict::Refused(_) if events.len() > 1 => {
                    let rest = events.split_off(events.len() / 2);
                    waiting.extend([rest, events]);
                }
                Verdict::Refused(reason) => {
                    let rejection = |event: Queued| Rejection { mutation: event.mutation, reason: reason.clone() };
                    self.refused.extend(events.pop().map(rejection));
                }
            }
        }
        Ok(())
    }

    async fn post(&mut self, body: &Body) -> Result<Verdict, SinkError> {
        self.wait_is_over()?;
        let (options, token) = (&self.options, &self.token);
        let answered = self.client.ask(|| request(options, token.as_ref(), body)).await;
        let target = || options.address.to_string();
        let answer = answered.map_err(|detail| SinkError::Unavailable { target: target(), detail })?;
        answer::judge(target(), &answer).map_err(|refused| {
            self.not_before = refused.wait.and_then(|wait| Instant::now().checked_add(wait));
            refused.error
        })
    }

    fn wait_is_over(&self) -> Result<(), SinkError> {
        let left = self.not_before.and_then(|until| until.checked_duration_since(Instant::now()));
        let Some(left) = left.filter(|left| !left.is_zero()) else { return Ok(()) };
        let detail = format!("it asked to be left alone for {} s more (Retry-After)", left.as_secs().saturating_add(1));
        Err(SinkError::Throttled { target: self.options.address.to_string(), detail })
    }
}

fn request(options: &Options, token: Option<&HeaderValue>, body: &Body) -> Result<Request<Full<Bytes>>, String> {
    let address = &options.address;
    let path = if address.path.is_empty() { "/" } else { &address.path };
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(path)
        .header(HOST, address.authority())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("walbridge/", env!("CARGO_PKG_VERSION")))
        .header("Idempotency-Key", &body.key);
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    if let Some(secret) = &options.secret {
        request = request.header(signature::HEADER, signature::sign(secret, std::time::SystemTime::now(), &body.bytes));
    }
    request.body(Full::new(body.bytes.clone())).map_err(|error| error.to_string())
}

impl Sink for WebhookSink {
    async fn resume(&mut self) -> Result<Option<Checkpoint>, SinkError> {
        (self.held, self.held_bytes, self.refused) = (Vec::new(), 0, Vec::new());
        self.belief = self.place.run(Place::resume).await?;
        // Of another checkpoint than the one it stands behind it says nothing.
        self.taken.take_if(|(behind, _)| *behind != self.belief);
        self.wait_is_over()?;
        Ok(self.belief)
    }

    async fn stage(&mut self, mutations: &[Mutation]) -> Result<Staged, SinkError> {
        let mut staged = Staged::default();
        let known = self.belief.and_then(|belief| belief.position).max(self.taken.map(|(_, taken)| taken));
        for mutation in mutations {
            let Effect::Append(event) = &mutation.effect else {
                let reason = "a webhook is told events, not documents".to_owned();
                staged.rejected.push(Rejection { mutation: mutation.clone(), reason });
                continue;
            };
            if known.is_some_and(|known| mutation.position <= known) {
                // The receiver has it.
                continue;
            }
            let queued = Queued::of(&self.options.source, event, mutation.clone());
            self.held_bytes = self.held_bytes.saturating_add(queued.json.len());
            self.held.push(queued);
            if self.held_bytes > HELD_BYTES_MAX {
                self.send().await?;
            }
        }
        Ok(staged)
    }

    /// Who is told events ends right by what it has been told.
    async fn keys(&mut self, _table: &TableName, _from: Option<u64>) -> Result<KeyPage, SinkError> {
        Ok(KeyPage::default())
    }

    async fn flush(&mut self) -> Result<Vec<Rejection>, SinkError> {
        self.place.run(|place| place.check()).await?;
        self.send().await?;
        Ok(std::mem::take(&mut self.refused))
    }

    async fn commit(&mut self, upto: Checkpoint) -> Result<(), SinkError> {
        let refused = self.flush().await?;
        SinkError::unless_all_taken(&self.options.address.to_string(), &refused)?;
        self.place.run(move |place| place.commit(upto)).await?;
        (self.belief, self.taken) = (Some(upto), None);
        Ok(())
    }

    async fn probe(&mut self) -> Result<(), SinkError> {
        self.place.run(|place| place.check()).await
    }
}
