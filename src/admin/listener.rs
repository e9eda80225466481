//! Accepting connections, within limits: how many at once, how long a request head may take, how large it may be.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Operators, probes and a metrics collector are a handful. More wait in the system's own queue.
const CONNECTIONS_MAX: usize = 128;

/// From the first byte of a request, or from the last answer, to the end of the request's head: what a client that sends one byte a
/// second, or none, gets.
const HEAD_TIME_MAX: Duration = Duration::from_secs(10);

/// For a head; a longer one is refused with 431.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// For a whole connection, so that one whose client never reads ends as well. A client connects again by itself.
const CONNECTION_TIME_MAX: Duration = Duration::from_secs(300);

/// For what is under way when the end comes.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(2);

/// Without a file descriptor to accept with, the next try waits for others to close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers until told to stop.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let seats = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connections = TaskTracker::new();
    let accepting = async {
        loop {
            // Closed never: the semaphore is ours.
            let Ok(seat) = Arc::clone(&seats).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((stream, _)) => drop(connections.spawn(converse(stream, router.clone(), stop.clone(), seat))),
                Err(error) => {
                    tracing::debug!(%error, "admin port: cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = accepting => {}
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(FAREWELL_TIME_MAX, connections.wait()).await.is_err() {
        tracing::debug!(open = connections.len(), "admin port: connections left open");
    }
}

/// One connection; its seat is free again when it ends.
async fn converse(stream: TcpStream, router: Router, stop: CancellationToken, _seat: OwnedSemaphorePermit) {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // What a client does wrong is its own affair.
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = tokio::time::sleep(CONNECTION_TIME_MAX) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(FAREWELL_TIME_MAX, connection).await;
}
