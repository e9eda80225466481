//! A connection to PostgreSQL: messages in, messages out, and the simple query protocol.
//!
//! One client for everything, replication and SQL alike, so that TLS, authentication, pinned settings and time limits are
//! the same everywhere. Every wait has a limit. Values stay bytes: a row's text is kept as the server sent it.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::address::{Address, Host, Session};
use super::authenticate;
use super::buffer::ReadBuffer;
use super::error::{PostgresError, ServerError};
use super::pace::Pace;
use super::transport::Transport;
use crate::status::Disposition;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// SQL only.
    Query,
    /// Replication commands, and SQL.
    Replication,
    /// SQL that changes rows which are not ours alone: what a commit waits for is the server's own to say.
    Write,
}

/// An open, authenticated connection.
pub struct Connection {
    transport: Transport,
    host: Host,
    inbox: ReadBuffer,
    /// The length of the message last handed out, dropped when the next is asked for.
    handed_out: usize,
    outbox: BytesMut,
    server_version: u32,
    /// `in_hot_standby` and `default_transaction_read_only`, which the server reports.
    standby: bool,
    read_only: bool,
    /// The database's encoding is `SQL_ASCII`, which is none.
    any_bytes: bool,
    /// Longest silence tolerated while an answer is due.
    patience: Duration,
}

/// One row of an answer: each value's text, or `None` for NULL.
pub type TextRow = Vec<Option<Bytes>>;

/// [`Connection::be_patient`] aside. Long queries send rows, or are the chunks of a snapshot, which are small.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// What a session's meaning and life depend on, pinned on every connection, whatever the role's, the database's or the server's defaults
/// are. First what decides how values are written as text, so that snapshot and stream agree, and how statements are read.
/// `search_path` keeps a hostile schema from shadowing the catalog's functions. A lock that is held for long is not waited for:
/// the session would go on waiting behind the back of a client that has given it up. What walbridge commits itself, a publication at most,
/// must not wait for a synchronous standby that walbridge may be.
const PINNED_SETTINGS: [(&str, &str); 20] = [
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, YMD"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    ("lc_monetary", "C"),
    ("quote_all_identifiers", "off"),
    ("standard_conforming_strings", "on"),
    ("search_path", "pg_catalog"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_deferrable", "off"),
    (COMMIT_SETTING, "local"),
    ("statement_timeout", "0"),
    ("lock_timeout", "10000"),
    ("idle_in_transaction_session_timeout", "60000"),
    ("idle_session_timeout", "0"),
    ("row_security", "off"),
    ("enable_tidscan", "on"),
    ("client_min_messages", "warning"),
];

/// What a commit waits for.
const COMMIT_SETTING: &str = "synchronous_commit";

/// From this version on a transaction's time can be limited; older servers refuse a setting that they do not know.
const LIMITS_TRANSACTIONS: u32 = 170_000;

impl Connection {
    /// Connects to the first host that answers and is what `target_session_attrs` asks for.
    ///
    /// # Errors
    /// The last host's error; a wrong password or certificate ends the search at once.
    pub async fn open(address: &Address, purpose: Purpose) -> Result<Self, PostgresError> {
        if address.session == Session::PreferStandby {
            match Self::open_as(address, Session::Standby, purpose).await {
                Err(error) if error.disposition() == Disposition::Retry => {}
                settled => return settled,
            }
        }
        Self::open_as(address, address.session, purpose).await
    }

    async fn open_as(address: &Address, session: Session, purpose: Purpose) -> Result<Self, PostgresError> {
        let mut last = PostgresError::Unreachable { address: address.to_string(), detail: "no host given".to_owned() };
        let mut hosts: Vec<&Host> = address.hosts.iter().collect();
        if address.shuffle {
            hosts.sort_by_cached_key(|_| rand::random::<u32>());
        }
        for host in hosts {
            match tokio::time::timeout(address.connect_timeout, Self::open_host(host, address, purpose)).await {
                Ok(Ok(connection)) if session.accepts(connection.standby, connection.read_only) => {
                    return Ok(connection);
                }
                Ok(Ok(connection)) => {
                    last = connection.does_not_fit(session);
                    connection.close().await;
                }
                // Starting up, shutting down, or full: another host may be better off.
                Ok(Err(error)) if error.disposition() == Disposition::Retry => last = error,
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    let seconds = address.connect_timeout.as_secs();
                    let detail = format!("no connection within {seconds} s (connect_timeout)");
                    last = PostgresError::Unreachable { address: host.to_string(), detail };
                }
            }
        }
        Err(last)
    }

    fn does_not_fit(&self, session: Session) -> PostgresError {
        let what = if self.standby { "a standby" } else { "a primary" };
        let read_only =
            if self.read_only && !self.standby { " whose transactions are read only by default" } else { "" };
        PostgresError::Unfit {
            standby: self.standby,
            detail: format!(
                "{} is {what}{read_only}, and target_session_attrs={session} asks for something else",
                self.host
            ),
        }
    }

    async fn open_host(host: &Host, address: &Address, purpose: Purpose) -> Result<Self, PostgresError> {
        let transport = Transport::connect(host, address).await?;
        let mut connection = Connection {
            transport,
            host: host.clone(),
            inbox: ReadBuffer::new(),
            handed_out: 0,
            outbox: BytesMut::new(),
            server_version: 0,
            standby: false,
            read_only: false,
            any_bytes: false,
            patience: ANSWER_TIMEOUT,
        };
        let mut parameters = vec![
            ("user", address.user.as_str()),
            ("database", address.database.as_str()),
            ("application_name", address.application_name.as_str()),
        ];
        if purpose == Purpose::Replication {
            parameters.push(("replication", "database"));
        }
        let pinned = PINNED_SETTINGS.iter().filter(|(name, _)| purpose != Purpose::Write || *name != COMMIT_SETTING);
        parameters.extend(pinned);
        connection.compose(|outbox| frontend::startup_message(parameters, outbox))?;
        connection.send().await?;
        authenticate::run(&mut connection, address, host).await?;
        connection.await_ready().await?;
        if connection.server_version >= LIMITS_TRANSACTIONS {
            connection.query("pinning a setting", "SET transaction_timeout = 0").await?;
        }
        if connection.any_bytes {
            // Asked for UTF-8, the server refuses to send whatever is not (`pg_server_to_any`), in the stream too.
            connection.query("choosing the encoding", "SET client_encoding = 'SQL_ASCII'").await?;
        }
        Ok(connection)
    }

    /// `server_version_num`: 150018 for 15.18.
    #[must_use]
    pub fn server_version(&self) -> u32 {
        self.server_version
    }

    /// Answers may be so long in coming from here on: for statements that do much and say nothing meanwhile.
    pub fn be_patient(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The host that was taken.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whether the server is a standby, by its own word.
    #[must_use]
    pub fn is_standby(&self) -> bool {
        self.standby
    }

    /// Whether it is a Unix socket, which must not be left to fill up.
    #[must_use]
    pub fn is_unix(&self) -> bool {
        self.transport.is_unix()
    }

    /// Whether the way is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.transport.is_tls()
    }

    pub(crate) fn channel_binding(&self) -> Option<Vec<u8>> {
        self.transport.channel_binding()
    }

    /// Runs one statement and collects its rows.
    ///
    /// # Errors
    /// The server's answer, with what was being done; or the connection broke, after which it is of no use.
    pub async fn query(&mut self, doing: &'static str, sql: &str) -> Result<Vec<TextRow>, PostgresError> {
        let mut rows = Vec::new();
        self.query_each(doing, sql, |row| {
            rows.push(row.values().map(|value| value.map(Bytes::copy_from_slice)).collect());
        })
        .await?;
        Ok(rows)
    }

    /// Runs one statement, or several separated by semicolons, and shows each row as it comes.
    ///
    /// # Errors
    /// As [`Connection::query`].
    pub async fn query_each(
        &mut self,
        doing: &'static str,
        sql: &str,
        mut each: impl FnMut(DataRow<'_>),
    ) -> Result<(), PostgresError> {
        self.start_query(sql).await?;
        let mut failure = None;
        loop {
            match self.next_message().await? {
                (b'D', body) => each(DataRow::new(body)?),
                (b'E', body) => failure = Some(ServerError::parse(body)),
                (b'Z', _) => break,
                // Row description, command complete, empty query, portal suspended.
                (b'T' | b'C' | b'I' | b's', _) => {}
                (tag, _) => return Err(unexpected(tag)),
            }
        }
        failure.map_or(Ok(()), |source| Err(PostgresError::Server { doing, source }))
    }

    /// Sends a statement and leaves its answer to be read.
    pub(crate) async fn start_query(&mut self, sql: &str) -> Result<(), PostgresError> {
        self.compose(|outbox| frontend::query(sql, outbox))?;
        self.send().await
    }

    /// The next message, waiting for it no longer than an answer may take. Notices and parameter changes are dealt with here.
    pub(crate) async fn next_message(&mut self) -> Result<(u8, &[u8]), PostgresError> {
        loop {
            match self.take_message()? {
                Some((tag, total)) if !self.absorb(tag, total) => return Ok((tag, self.inbox.body(total))),
                Some(_) => {}
                None => _ = self.fill_in_time().await?,
            }
        }
    }

    /// Reads more of an answer, first letting the socket fill while much is coming. For a thread that has nothing else to do.
    pub(crate) async fn gulp(&mut self, pace: &mut Pace) -> Result<(), PostgresError> {
        pace.nap(Instant::now());
        let count = self.fill_in_time().await?;
        pace.read(count, Instant::now());
        Ok(())
    }

    async fn fill_in_time(&mut self) -> Result<usize, PostgresError> {
        match tokio::time::timeout(self.patience, self.fill()).await {
            Ok(filled) => filled,
            Err(_) => Err(self.broken(format!("no answer for {} s", self.patience.as_secs()))),
        }
    }

    /// The next whole message that has been read already, if any. It lies in the buffer until the next call.
    #[inline]
    pub(crate) fn buffered_message(&mut self) -> Result<Option<(u8, &[u8])>, PostgresError> {
        while let Some((tag, total)) = self.take_message()? {
            if !self.absorb(tag, total) {
                return Ok(Some((tag, self.inbox.body(total))));
            }
        }
        Ok(None)
    }

    #[inline]
    fn take_message(&mut self) -> Result<Option<(u8, usize)>, PostgresError> {
        self.inbox.consume(std::mem::take(&mut self.handed_out));
        let message = self.inbox.message()?;
        self.handed_out = message.map_or(0, |(_, total)| total);
        Ok(message)
    }

    /// Messages that may come at any time (manual: "Asynchronous Operations").
    #[inline]
    fn absorb(&mut self, tag: u8, total: usize) -> bool {
        match tag {
            b'N' => {
                let notice = ServerError::parse(self.inbox.body(total));
                tracing::info!(server = %self.host, notice = %notice.message, "notice from the server");
                true
            }
            b'S' => {
                let mut fields = self.inbox.body(total).split(|&byte| byte == 0);
                match (fields.next(), fields.next()) {
                    (Some(b"server_version"), value) => self.server_version = value.map_or(0, parse_version),
                    (Some(b"server_encoding"), value) => self.any_bytes = value == Some(b"SQL_ASCII"),
                    (Some(b"in_hot_standby"), value) => self.standby = value == Some(b"on"),
                    (Some(b"default_transaction_read_only"), value) => self.read_only = value == Some(b"on"),
                    _ => {}
                }
                true
            }
            b'A' => true,
            _ => false,
        }
    }

    /// Reads once from the socket: at least one byte, and as many as are there and fit. Cancel-safe.
    pub(crate) async fn fill(&mut self) -> Result<usize, PostgresError> {
        match self.transport.read(self.inbox.space()).await {
            Ok(0) => Err(self.broken("the server closed the connection".to_owned())),
            Ok(count) => {
                self.inbox.filled(count);
                Ok(count)
            }
            Err(error) => Err(self.broken(error.to_string())),
        }
    }

    /// Adds a message to what is to be sent.
    pub(crate) fn compose(
        &mut self,
        write: impl FnOnce(&mut BytesMut) -> std::io::Result<()>,
    ) -> Result<(), PostgresError> {
        write(&mut self.outbox)
            .map_err(|error| PostgresError::Protocol(format!("a message cannot be written: {error}")))
    }

    /// Sends what was composed. Not cancel-safe; it waits only for room in the socket's buffer.
    pub(crate) async fn send(&mut self) -> Result<(), PostgresError> {
        let sent = async {
            self.transport.write_all_buf(&mut self.outbox).await?;
            self.transport.flush().await
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, sent).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.broken(error.to_string())),
            Err(_) => Err(self.broken("the server takes no more bytes".to_owned())),
        }
    }

    /// Says goodbye, so that the server does not log a broken connection.
    pub async fn close(mut self) {
        frontend::terminate(&mut self.outbox);
        let _ = tokio::time::timeout(Duration::from_secs(1), self.send()).await;
    }

    async fn await_ready(&mut self) -> Result<(), PostgresError> {
        loop {
            match self.next_message().await? {
                (b'Z', _) => return Ok(()),
                (b'K', _) => {}
                (b'E', body) => {
                    let source = ServerError::parse(body);
                    return Err(PostgresError::Server { doing: "connecting", source });
                }
                (tag, _) => return Err(unexpected(tag)),
            }
        }
    }

    pub(crate) fn broken(&self, detail: String) -> PostgresError {
        PostgresError::Unreachable { address: self.host.to_string(), detail }
    }
}

/// A message that has no place here.
pub(crate) fn unexpected(tag: u8) -> PostgresError {
    PostgresError::Protocol(format!("a message of type `{}` came where it has no place", tag.escape_ascii()))
}

/// `15.18 (Debian …)` → 150018; `18beta1` → 180000.
fn parse_version(text: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(text);
    let mut numbers = text.split(|character: char| !character.is_ascii_digit()).map(str::parse::<u32>);
    let mut number = || numbers.next().and_then(Result::ok).unwrap_or(0);
    number().saturating_mul(10_000).saturating_add(number())
}

impl ServerError {
    /// Reads the fields of an `ErrorResponse` or `NoticeResponse`: a letter and a text each, ended by zeros.
    pub(crate) fn parse(body: &[u8]) -> Self {
        let mut error = ServerError::default();
        for field in body.split(|&byte| byte == 0) {
            let Some((letter, text)) = field.split_first() else { continue };
            let text = String::from_utf8_lossy(text).into_owned();
            match letter {
                b'C' => error.sqlstate = text,
                b'M' => error.message = text,
                b'D' => error.detail = text,
                b'H' if error.detail.is_empty() => error.detail = text,
                b'H' => error.detail = format!("{} ({text})", error.detail),
                _ => {}
            }
        }
        error
    }
}

/// A `DataRow` message, read where it lies.
#[derive(Clone, Copy, Debug)]
pub struct DataRow<'a>(&'a [u8]);

impl<'a> DataRow<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Result<Self, PostgresError> {
        let row = DataRow(body);
        let claimed = body.first_chunk::<2>().map(|count| usize::from(u16::from_be_bytes(*count)));
        if claimed == Some(row.values().count()) {
            Ok(row)
        } else {
            Err(PostgresError::Protocol("a row does not hold as many values as it claims".to_owned()))
        }
    }

    /// The values' text in column order, `None` for NULL.
    pub fn values(self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let mut rest = self.0.get(2..).unwrap_or_default();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                rest = after;
                return Some(None);
            };
            let (value, after) = after.split_at_checked(length)?;
            rest = after;
            Some(Some(value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_numbers() {
        for (text, number) in
            [("15.18 (Debian 15.18-0+deb12u1)", 150_018), ("18beta1", 180_000), ("17.0", 170_000), ("", 0)]
        {
            assert_eq!(parse_version(text.as_bytes()), number, "{text}");
        }
    }

    #[test]
    fn an_error_response_keeps_code_message_and_what_helps() {
        let error = ServerError::parse(b"SERROR\0C42501\0Mno\0Ddetail\0Hhint\0\0");
        assert_eq!(error.to_string(), "no (SQLSTATE 42501); detail (hint)");
        assert_eq!(ServerError::parse(b""), ServerError::default());
    }

    #[test]
    fn a_row_that_lies_about_its_values_is_refused() {
        let row = [&[0, 2][..], &1u32.to_be_bytes(), b"x", &(-1i32).to_be_bytes()].concat();
        assert_eq!(DataRow::new(&row).expect("sound").values().collect::<Vec<_>>(), [Some(&b"x"[..]), None]);
        for end in 0..row.len() {
            assert!(DataRow::new(&row[..end]).is_err(), "cut at {end}");
        }
    }
}
