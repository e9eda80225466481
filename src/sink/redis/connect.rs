//! Connections, each with one user: `WATCH` and `MULTI` belong to a connection, so none is ever shared.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, Pipeline, RedisConnectionInfo};
use secrecy::{ExposeSecret, SecretString};

use super::place::Place;
use super::reply::Reply;
use super::{Server, error, tls};
use crate::sink::SinkError;

/// Covers the name's look-up, the connection and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Keys or members asked for at once.
pub(super) const PAGE: u32 = 1000;

/// Where the server is, and how to talk to it.
#[derive(Clone)]
pub(super) struct Address {
    place: Place,
    info: ConnectionInfo,
    server: Server,
    /// Host and port or the socket's path; no user, no password.
    shown: Arc<str>,
    landmark: Vec<u8>,
    response_timeout: Duration,
}

impl Address {
    /// From any url that [`Server::url`] may be. `landmark`: a key that is ours for certain.
    ///
    /// # Errors
    /// It is none of these.
    pub(super) fn parse(server: Server, response_timeout: Duration, landmark: &[u8]) -> Result<Self, SinkError> {
        let (place, info) = Place::parse(server.url.expose_secret()).ok_or_else(|| SinkError::Unusable {
            target: "the url".to_owned(),
            // Nothing of the url, for it may hold a password.
            detail: "it is not the address of a Redis server".to_owned(),
            remedy: "Write redis://host:6379/0, rediss://host:6380, redis+unix:///path/to/socket, redis-sentinel://host:26379,host:26379/0#MASTER \
                     or redis-cluster://host:7000,host:7000"
                .to_owned(),
        })?;
        let shown = Arc::from(place.shown(&info));
        Ok(Address { place, info, server, shown, landmark: landmark.to_vec(), response_timeout })
    }

    /// How it is found.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn is_cluster(&self) -> bool {
        matches!(self.place, Place::Cluster(_))
    }

    /// The address in the url, or the first.
    pub(super) fn info(&self) -> &ConnectionInfo {
        &self.info
    }

    /// The key that tells which node of a cluster is ours.
    pub(super) fn landmark(&self) -> &[u8] {
        &self.landmark
    }

    pub(super) fn sentinel_password(&self) -> Option<&SecretString> {
        self.server.sentinel_password.as_ref()
    }

    /// For messages.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// How long one answer may take.
    pub(super) fn response_timeout(&self) -> Duration {
        self.response_timeout
    }

    /// Opens a connection, logs in and chooses the database.
    ///
    /// # Errors
    /// The server cannot be reached, or refuses the credentials.
    pub(super) async fn connect(&self) -> Result<Connection, SinkError> {
        let info = self.find().await?;
        self.connect_to(info).await
    }

    /// The same at a certain address.
    ///
    /// # Errors
    /// As there.
    pub(super) async fn connect_to(&self, info: ConnectionInfo) -> Result<Connection, SinkError> {
        // The library takes every refusal while it logs in for wrong credentials, and "max number of clients reached" is
        // none that should stop the sink. So it connects only, and the login below is ours.
        let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
        let settings = info.redis_settings().clone();
        let client = tls::client(&self.server, &self.shown, info.set_redis_settings(bare))?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(self.response_timeout));
        let opened = client.get_multiplexed_async_connection_with_config(&config).await;
        let inner = opened.map_err(|error| error::broken(&self.shown, &error))?;
        let mut connection = Connection { inner, target: Arc::clone(&self.shown) };
        self.log_in(&settings, &mut connection).await.map_err(|error| self.hint_at_certificate(error))?;
        Ok(connection)
    }

    async fn log_in(&self, settings: &RedisConnectionInfo, connection: &mut Connection) -> Result<(), SinkError> {
        if let Some(password) = settings.password() {
            let mut auth = redis::cmd("AUTH");
            settings.username().map(|user| auth.arg(user));
            auth.arg(password);
            if let Reply::Refused(refusal) = connection.ask_one(auth).await? {
                return Err(error::not_let_in(&self.shown, &refusal));
            }
        }
        if settings.db() != 0 || self.lacks_certificate() {
            // Database 0 is chosen already; this asks whether the server goes on talking to us.
            let mut select = redis::cmd("SELECT");
            select.arg(settings.db());
            connection.ask_one(select).await?.accepted(&self.shown, "SELECT")?;
        }
        Ok(())
    }

    fn lacks_certificate(&self) -> bool {
        self.server.identity.is_none() && matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }

    /// With TLS 1.3 a server that misses our certificate says so after the handshake, and closes; its word may be lost with that.
    fn hint_at_certificate(&self, error: SinkError) -> SinkError {
        match error {
            SinkError::Unavailable { target, detail } if self.lacks_certificate() => {
                let hint = "if it asks for a certificate, give client_certificate and client_key";
                SinkError::Unavailable { target, detail: format!("{detail} ({hint})") }
            }
            error => error,
        }
    }
}

/// An open connection. After any error it is dropped, because nobody knows what is still on its way.
pub(super) struct Connection {
    inner: MultiplexedConnection,
    target: Arc<str>,
}

impl Connection {
    /// Sends commands together and returns all their replies, refusals among them.
    ///
    /// # Errors
    /// The connection broke, or the answer took too long.
    pub(super) async fn ask(&mut self, commands: &Pipeline) -> Result<Vec<Reply>, SinkError> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let replies = self.inner.send_packed_commands(commands, 0, commands.len()).await;
        let replies = replies.map_err(|error| error::broken(&self.target, &error))?;
        if replies.len() != commands.len() {
            return Err(error::strange(&self.target, "pipeline"));
        }
        Ok(replies.into_iter().map(Reply::from).collect())
    }

    /// Sends one command and returns its reply, which may be a refusal.
    ///
    /// # Errors
    /// The connection broke, or the answer took too long.
    pub(super) async fn ask_one(&mut self, command: Cmd) -> Result<Reply, SinkError> {
        let reply = self.inner.send_packed_command(&command).await;
        reply.map(Reply::from).map_err(|error| error::broken(&self.target, &error))
    }

    /// Some of the keys that a pattern matches, and where the next are; `None`: these are the last. Redis promises to show each that is there
    /// from the first page, which is at 0, to the last, and may show one twice.
    ///
    /// # Errors
    /// As of any command; or it is refused.
    pub(super) async fn scan(&mut self, from: u64, glob: &[u8]) -> Result<(Option<u64>, Vec<Vec<u8>>), SinkError> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(from).arg("MATCH").arg(glob).arg("COUNT").arg(PAGE);
        let page = self.ask_one(scan).await?.accepted(&self.target, "SCAN")?.scanned();
        let (next, found) = page.ok_or_else(|| error::strange(&self.target, "SCAN"))?;
        Ok((Some(next).filter(|&next| next != 0), found))
    }

    /// Sets how long the next answers may take.
    pub(super) fn set_response_timeout(&mut self, timeout: Duration) {
        self.inner.set_response_timeout(timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_secrets() {
        for (url, shown) in [
            ("redis://cache:6379", "cache:6379"),
            ("rediss://user:hunter2@cache/3", "cache:6379"),
            ("redis+unix:///run/redis.sock?pass=hunter2", "/run/redis.sock"),
        ] {
            let address = Address::parse(Server::at(url), Duration::from_secs(1), b"").expect("an address");
            assert_eq!(address.shown(), shown);
        }
    }

    #[test]
    fn a_wrong_url_is_refused_without_quoting_it() {
        for url in ["http://:hunter2@cache", "hunter2", "redis://:hunter2@", "redis://:hunter2@cache/x"] {
            match Address::parse(Server::at(url), Duration::from_secs(1), b"") {
                Err(error) => assert!(!error.to_string().contains("hunter2"), "{error}"),
                Ok(_) => panic!("{url} is no address"),
            }
        }
    }
}
