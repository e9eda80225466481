//! The HTTP port for operators: how it is doing, and search.
//!
//! It only looks: nothing here changes anything, and a slow or hostile client costs nobody else anything. Loopback unless the
//! configuration says otherwise, and then only with a token (`guard`). The number of connections, the time for a request and its size are
//! limited (`listener`).

mod api;
mod guard;
mod listener;
mod metrics;
mod page;
mod search;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use secrecy::SecretString;
use tokio_util::sync::CancellationToken;

pub use self::api::{SinkView, SnapshotView, SourceView, StatusView, TableView};
pub use self::search::{SearchError, SearchFuture, SearchRegistry, SearchRequest};

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
    pub async fn serve(
        self,
        token: Option<SecretString>,
        board: Board,
        search: SearchRegistry,
        stop: CancellationToken,
    ) {
        let guard = Guard::new(token);
        listener::serve(self.listener, router(guard, board, search), stop).await;
    }
}

/// Opens the port and answers; [`Admin::bind`] and [`Admin::serve`] in one.
///
/// # Errors
/// As [`Admin::bind`].
pub async fn serve(
    listen: SocketAddr,
    token: Option<SecretString>,
    board: Board,
    search: SearchRegistry,
    stop: CancellationToken,
) -> Result<(), AdminError> {
    Admin::bind(listen).await?.serve(token, board, search, stop).await;
    Ok(())
}

/// What every page can ask.
#[derive(Clone)]
struct Shared {
    board: Board,
    search: SearchRegistry,
}

fn router(guard: Guard, board: Board, search: SearchRegistry) -> Router {
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
        .fallback(api::not_found)
        .layer(axum::middleware::from_fn_with_state(guard, guard::check))
        .with_state(Shared { board, search })
}
