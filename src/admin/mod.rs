//! The HTTP port for operators: how it is doing, and search.
//!
//! It looks, and passes on orders (`control`); a slow or hostile client costs nobody else anything. Loopback unless the
//! configuration says otherwise, and then only with a token (`guard`). The number of connections, the time for a request and its size are
//! limited (`listener`).

mod api;
mod control;
mod guard;
mod listener;
mod metrics;
mod page;
mod rebuild;
mod search;
mod verify;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{get, post};
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

pub use self::api::{ReplayView, SinkView, SnapshotView, SourceView, StatusView, TableView, WarningView};
pub use self::control::{Control, ControlError, ControlFuture, Controls, CopyControls, LetterControls, ReplayControls};
pub use self::rebuild::{RebuildControls, RebuildRequest, RebuildView};
pub use self::search::{SearchError, SearchFuture, SearchRegistry, SearchRequest};
pub use self::verify::{VerifiedView, VerifyControl, VerifyControls};

use self::guard::Guard;
use crate::status::{Board, Code, ExitCode};

/// What keeps the port from opening, or ends it.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address cannot be had.
    #[error(
        "the admin port {listen} cannot be opened: {source}. Another program, perhaps another walbridge, has it; stop that or \
         choose another with [admin] listen"
    )]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
}

impl AdminError {
    /// The public code: choosing another port is a matter of configuration.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            AdminError::Bind { .. } => Code::ConfigInvalid,
        }
    }

    /// How the process ends.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self {
            AdminError::Bind { .. } => ExitCode::Configuration,
        }
    }
}

/// The opened port, not answering yet: opened before anything else starts, so that a port in use stops the start and
/// leaves nothing half begun.
#[derive(Debug)]
pub struct Admin {
    listener: tokio::net::TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Opens it.
    ///
    /// # Errors
    /// The port is in use, or the address is not this machine's.
    pub async fn bind(listen: SocketAddr) -> Result<Self, AdminError> {
        let refuse = |source| AdminError::Bind { listen, source };
        let listener = tokio::net::TcpListener::bind(listen).await.map_err(refuse)?;
        let address = listener.local_addr().map_err(refuse)?;
        Ok(Admin { listener, address })
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until told to stop; requests under way then have two seconds more.
    pub async fn serve(self, token: Option<SecretString>, pages: Pages, stop: CancellationToken) {
        listener::serve(self.listener, router(Guard::new(token), pages), stop).await;
    }
}

/// What every page can ask.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    /// How all is doing.
    pub board: Board,
    /// Who can be searched.
    pub search: SearchRegistry,
    /// Who can be told to copy again.
    pub controls: CopyControls,
    /// Who can be told to apply again.
    pub replays: ReplayControls,
    /// Who can be told to build its target anew.
    pub rebuilds: RebuildControls,
    /// Who can be told what to do with dead letters.
    pub letters: LetterControls,
    /// Who can be verified.
    pub verifications: VerifyControls,
}

/// An order is a list of tables, or of dead letters, at the longest.
const BODY_BYTES_MAX: usize = 1 << 20;

fn router(guard: Guard, pages: Pages) -> Router {
    let guard = Arc::new(guard);
    Router::new()
        .route("/", get(page::html))
        .route("/page.css", get(page::css))
        .route("/page.js", get(page::script))
        .route("/healthz", get(api::healthz))
        .route("/readyz", get(api::readyz))
        .route("/metrics", get(metrics::metrics))
        .route("/api/status", get(api::status))
        .route("/search/{sink}", get(search::search))
        .route("/api/sources/{name}/resnapshot", post(control::resnapshot))
        .route("/api/sinks/{name}/replay", post(control::replay))
        .route("/api/sinks/{name}/rebuild", post(rebuild::rebuild))
        .route("/api/sinks/{name}/dead-letters", post(control::dead_letters))
        .route("/api/sinks/{name}/verify", post(verify::begin).get(verify::report))
        .fallback(api::not_found)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(guard, guard::check))
        .with_state(pages)
}
