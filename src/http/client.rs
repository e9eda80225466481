//! One request after the other to one server, on a connection that is kept.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use tokio_rustls::TlsConnector;

use super::connection::{Answer, Sender, exchange, open};
use super::{Address, Reach, connector};

/// See the module.
pub(crate) struct Client {
    address: Address,
    reach: Reach,
    tls: Option<TlsConnector>,
    time_max: Duration,
    answer_bytes_max: usize,
    sender: Option<Sender>,
}

/// How long a request may take, connecting included, and how long an answer may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) answer_bytes: usize,
}

impl Client {
    /// Connects to nothing yet. `ca`: the authorities to trust; `None`: the system's.
    pub(crate) fn new(address: Address, reach: Reach, ca: Option<&Path>, limits: Limits) -> Result<Self, String> {
        let tls = address.tls.then(|| connector(ca)).transpose()?;
        let Limits { time: time_max, answer_bytes: answer_bytes_max } = limits;
        Ok(Client { address, reach, tls, time_max, answer_bytes_max, sender: None })
    }

    /// Where it leads.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Connects, and no more.
    pub(crate) async fn connect(&self) -> Result<(), String> {
        let opened = tokio::time::timeout(self.time_max, open(&self.address, self.reach, self.tls.as_ref())).await;
        opened.map_err(|_| format!("no connection within {:?}", self.time_max))?.map(drop)
    }

    /// Sends a request, made anew for each attempt, and gives whatever is answered. `Err`: why nothing was.
    pub(crate) async fn ask(
        &mut self,
        make: impl Fn() -> Result<Request<Full<Bytes>>, String>,
    ) -> Result<Answer, String> {
        let time_max = self.time_max;
        let answer = match tokio::time::timeout(time_max, self.attempt(make)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {time_max:?}")),
        };
        // Whatever comes on that connection yet is the answer to another question.
        answer.inspect_err(|_| self.sender = None)
    }

    async fn attempt(&mut self, make: impl Fn() -> Result<Request<Full<Bytes>>, String>) -> Result<Answer, String> {
        // A connection that was kept may have been closed by the other side meanwhile.
        for kept in [true, false] {
            let mut sender = match self.sender.take().filter(|sender| kept && !sender.is_closed()) {
                Some(sender) => sender,
                None => open(&self.address, self.reach, self.tls.as_ref()).await?,
            };
            match exchange(&mut sender, make()?, self.answer_bytes_max).await {
                Ok(answer) => {
                    self.sender = Some(sender);
                    return Ok(answer);
                }
                Err(failed) if failed.unsent && kept => {}
                Err(failed) => return Err(failed.detail),
            }
        }
        Err("the connection was closed".to_owned())
    }
}
