//! Connections, each with one user: `WATCH` and `MULTI` belong to a connection, so none is ever shared.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, ConnectionInfo, IntoConnectionInfo, Pipeline, RedisConnectionInfo};
use secrecy::{ExposeSecret, SecretString};

use super::error;
use super::reply::Reply;
use crate::sink::SinkError;

/// Covers the name's look-up, the connection and TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the server is, and how to talk to it.
pub(super) struct Address {
    info: ConnectionInfo,
    /// Host and port or the socket's path; no user, no password.
    shown: Arc<str>,
    response_timeout: Duration,
}

impl Address {
    /// From `redis://`, `rediss://` or `redis+unix://`.
    ///
    /// # Errors
    /// It is none of these.
    pub(super) fn parse(url: &SecretString, response_timeout: Duration) -> Result<Self, SinkError> {
        let info = url.expose_secret().into_connection_info().map_err(|error| SinkError::Unusable {
            target: "the url".to_owned(),
            // The category, because the full text may quote the url.
            detail: format!("it is not the address of a Redis server: {}", error.category()),
            remedy: "Write redis://host:6379/0, rediss://host:6380 or redis+unix:///path/to/socket".to_owned(),
        })?;
        let shown = Arc::from(info.addr().to_string());
        Ok(Address { info, shown, response_timeout })
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
        // The library takes every refusal while it logs in for wrong credentials, and "max number of clients reached" is
        // none that should stop the sink. So it connects only, and the login below is ours.
        let bare = RedisConnectionInfo::default().set_skip_set_lib_name();
        let client = Client::open(self.info.clone().set_redis_settings(bare));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(self.response_timeout));
        let opened = match client {
            Ok(client) => client.get_multiplexed_async_connection_with_config(&config).await,
            Err(error) => Err(error),
        };
        let inner = opened.map_err(|error| error::broken(&self.shown, &error))?;
        let mut connection = Connection { inner, target: Arc::clone(&self.shown) };
        self.log_in(&mut connection).await?;
        Ok(connection)
    }

    async fn log_in(&self, connection: &mut Connection) -> Result<(), SinkError> {
        let settings = self.info.redis_settings();
        if let Some(password) = settings.password() {
            let mut auth = redis::cmd("AUTH");
            settings.username().map(|user| auth.arg(user));
            auth.arg(password);
            if let Reply::Refused(refusal) = connection.ask_one(auth).await? {
                // Only the code: some servers quote the command in the text.
                let (target, detail) = (self.shown.to_string(), format!("it answers AUTH with {}", refusal.code()));
                let refused = ["WRONGPASS", "NOAUTH", "NOPERM"].contains(&refusal.code());
                return Err(if refused {
                    SinkError::Auth { target, detail }
                } else {
                    SinkError::Unavailable { target, detail }
                });
            }
        }
        if settings.db() != 0 {
            let mut select = redis::cmd("SELECT");
            select.arg(settings.db());
            connection.ask_one(select).await?.accepted(&self.shown, "SELECT")?;
        }
        Ok(())
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
            let address = Address::parse(&SecretString::from(url), Duration::from_secs(1)).expect("an address");
            assert_eq!(address.shown(), shown);
        }
    }

    #[test]
    fn a_wrong_url_is_refused_without_quoting_it() {
        for url in ["http://:hunter2@cache", "hunter2", "redis://:hunter2@", "redis://:hunter2@cache/x"] {
            match Address::parse(&SecretString::from(url), Duration::from_secs(1)) {
                Err(error) => assert!(!error.to_string().contains("hunter2"), "{error}"),
                Ok(_) => panic!("{url} is no address"),
            }
        }
    }
}
