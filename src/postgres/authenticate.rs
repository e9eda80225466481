//! The start of a connection: proving who we are, and, with SCRAM, that the server knows the password too.

use postgres_protocol::authentication::md5_hash;
use postgres_protocol::authentication::sasl::{
    ChannelBinding as Binding, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256,
};
use postgres_protocol::message::frontend;
use secrecy::{ExposeSecret, SecretString};

use super::address::{Address, ChannelBinding, Host, SslMode};
use super::connection::{Connection, unexpected};
use super::error::{PostgresError, ServerError};
use super::password;

/// Answers what the server asks until it says `AuthenticationOk`.
pub(crate) async fn run(connection: &mut Connection, address: &Address, host: &Host) -> Result<(), PostgresError> {
    let login = Login { address, host };
    let mut proven = false;
    loop {
        let (kind, data) = authentication_request(connection).await?;
        match kind {
            0 => return login.accept(proven),
            3 => {
                login.allow_clear_text(connection)?;
                let password = login.password()?;
                let word = password.expose_secret().as_bytes();
                connection.compose(|outbox| frontend::password_message(word, outbox))?;
                connection.send().await?;
            }
            5 => {
                login.allow_md5(connection)?;
                let salt = data.first_chunk::<4>().copied().ok_or_else(|| unexpected(b'R'))?;
                let password = login.password()?;
                let hash = md5_hash(address.user.as_bytes(), password.expose_secret().as_bytes(), salt);
                connection.compose(|outbox| frontend::password_message(hash.as_bytes(), outbox))?;
                connection.send().await?;
            }
            10 => {
                login.scram(connection, &data).await?;
                proven = true;
            }
            other => {
                return Err(login.refuse(format!(
                    "the server asks for authentication method {other}, which walbridge does not have; \
                     use scram-sha-256 or a client certificate for this role in pg_hba.conf"
                )));
            }
        }
    }
}

async fn authentication_request(connection: &mut Connection) -> Result<(u32, Vec<u8>), PostgresError> {
    match connection.next_message().await? {
        (b'R', body) => {
            let (kind, data) = body.split_first_chunk::<4>().ok_or_else(|| unexpected(b'R'))?;
            Ok((u32::from_be_bytes(*kind), data.to_vec()))
        }
        (b'E', body) => Err(PostgresError::Server { doing: "logging in", source: ServerError::parse(body) }),
        // NegotiateProtocolVersion: we ask for 3.0, which every server has.
        (tag, _) => Err(unexpected(tag)),
    }
}

struct Login<'a> {
    address: &'a Address,
    host: &'a Host,
}

impl Login<'_> {
    fn password(&self) -> Result<SecretString, PostgresError> {
        password::look_up(self.address, self.host).ok_or_else(|| {
            self.refuse(format!(
                "the server wants a password for role \"{}\" and none was found; set PGPASSWORD, write `${{NAME}}` in the \
                 url, or add a line to ~/.pgpass",
                self.address.user
            ))
        })
    }

    /// `channel_binding=require` means nothing less than a bound SCRAM exchange, so `trust` will not do either.
    fn accept(&self, proven: bool) -> Result<(), PostgresError> {
        if self.address.channel_binding == ChannelBinding::Require && !proven {
            return Err(self.refuse("channel_binding=require, but the server let us in without it".to_owned()));
        }
        Ok(())
    }

    fn allow_clear_text(&self, connection: &Connection) -> Result<(), PostgresError> {
        let verified = connection.is_tls() && self.address.ssl_mode >= SslMode::VerifyCa;
        if verified || connection.is_unix() {
            return Ok(());
        }
        Err(self.refuse(
            "the server asks for the password in clear text; use scram-sha-256 in pg_hba.conf, or sslmode=verify-full"
                .to_owned(),
        ))
    }

    fn allow_md5(&self, connection: &Connection) -> Result<(), PostgresError> {
        if connection.is_tls() || self.host.is_local() {
            return Ok(());
        }
        Err(self.refuse(
            "the server asks for an md5 password over an open network; use scram-sha-256 in pg_hba.conf, or TLS"
                .to_owned(),
        ))
    }

    /// SCRAM-SHA-256 (RFC 5802, RFC 7677), bound to the TLS channel where there is one. `finish` checks the server's own
    /// signature: a server that does not know the password is refused.
    async fn scram(&self, connection: &mut Connection, mechanisms: &[u8]) -> Result<(), PostgresError> {
        let offered: Vec<&[u8]> = mechanisms.split(|&byte| byte == 0).collect();
        let (mechanism, binding) = self.choose_mechanism(connection, &offered)?;
        let password = self.password()?;
        let mut scram = ScramSha256::new(password.expose_secret().as_bytes(), binding);
        connection.compose(|outbox| frontend::sasl_initial_response(mechanism, scram.message(), outbox))?;
        connection.send().await?;

        let (kind, challenge) = authentication_request(connection).await?;
        if kind != 11 {
            return Err(unexpected(b'R'));
        }
        scram
            .update(&challenge)
            .map_err(|error| self.refuse(format!("the server's SCRAM challenge is wrong: {error}")))?;
        connection.compose(|outbox| frontend::sasl_response(scram.message(), outbox))?;
        connection.send().await?;

        let (kind, verdict) = authentication_request(connection).await?;
        if kind != 12 {
            return Err(unexpected(b'R'));
        }
        scram.finish(&verdict).map_err(|_| {
            self.refuse("the server could not prove that it knows the password; this may not be your server".to_owned())
        })
    }

    fn choose_mechanism(
        &self,
        connection: &Connection,
        offered: &[&[u8]],
    ) -> Result<(&'static str, Binding), PostgresError> {
        let wanted = self.address.channel_binding;
        let binding = connection.channel_binding().filter(|_| wanted != ChannelBinding::Disable);
        let can_bind = offered.contains(&SCRAM_SHA_256_PLUS.as_bytes());
        match binding {
            Some(hash) if can_bind => Ok((SCRAM_SHA_256_PLUS, Binding::tls_server_end_point(hash))),
            _ if wanted == ChannelBinding::Require => {
                Err(self.refuse("channel_binding=require, but the server or the connection cannot do it".to_owned()))
            }
            _ if !offered.contains(&SCRAM_SHA_256.as_bytes()) => {
                Err(self.refuse("the server offers no SASL mechanism that walbridge has (SCRAM-SHA-256)".to_owned()))
            }
            // "We could have, but you do not offer it": a man in the middle who strips the offer is found out.
            Some(_) => Ok((SCRAM_SHA_256, Binding::unrequested())),
            None => Ok((SCRAM_SHA_256, Binding::unsupported())),
        }
    }

    fn refuse(&self, detail: String) -> PostgresError {
        PostgresError::Auth { address: self.host.to_string(), detail }
    }
}
