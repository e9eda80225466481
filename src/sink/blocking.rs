//! State that only blocking calls touch: files, and an index that indexes on our thread's time.
//!
//! Each call runs on tokio's blocking pool, with the state locked for as long as it takes. A caller that gives up in the
//! middle leaves the call running and the state where it is, so the next call waits for it instead of finding a lock file
//! held by its own past.

use std::sync::{Arc, Mutex, PoisonError};

use super::SinkError;

/// See the module.
pub(super) struct Blocking<T> {
    /// The target, for messages.
    target: String,
    state: Arc<Mutex<T>>,
}

impl<T: Send + 'static> Blocking<T> {
    pub(super) fn new(target: String, state: T) -> Self {
        Blocking { target, state: Arc::new(Mutex::new(state)) }
    }

    /// Runs the call. If it panics the target counts as unavailable; the state may then be half changed, which
    /// [`super::Sink::resume`] must be able to mend.
    pub(super) async fn run<R: Send + 'static>(
        &self,
        call: impl FnOnce(&mut T) -> Result<R, SinkError> + Send + 'static,
    ) -> Result<R, SinkError> {
        let state = Arc::clone(&self.state);
        let call = move || call(&mut state.lock().unwrap_or_else(PoisonError::into_inner));
        tokio::task::spawn_blocking(call)
            .await
            .map_err(|error| SinkError::Unavailable { target: self.target.clone(), detail: error.to_string() })?
    }
}
