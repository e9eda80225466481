//! Waiting for a condition with a deadline, in place of sleeping for luck.

use std::fmt::Debug;
use std::panic::Location;
use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const PAUSE: Duration = Duration::from_millis(20);

/// Polls until `probe` gives `Ok`, and returns what it gave. After the deadline it fails with the last `Err`, so let
/// that say what was seen: `Err(format!("{count} of 10 rows"))`.
#[track_caller]
pub(crate) fn eventually<T, E: Debug, P>(deadline: Duration, mut probe: impl FnMut() -> P) -> impl Future<Output = T>
where
    P: Future<Output = Result<T, E>>,
{
    let caller = Location::caller();
    async move {
        let started = Instant::now();
        loop {
            match probe().await {
                Ok(value) => return value,
                Err(seen) => {
                    let waited = started.elapsed();
                    assert!(waited < deadline, "{caller}: not so after {waited:.1?}; last seen: {seen:?}");
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The same for tests without a runtime.
#[track_caller]
pub(crate) fn eventually_sync<T, E: Debug>(deadline: Duration, mut probe: impl FnMut() -> Result<T, E>) -> T {
    let started = Instant::now();
    loop {
        match probe() {
            Ok(value) => return value,
            Err(seen) => {
                let waited = started.elapsed();
                assert!(waited < deadline, "not so after {waited:.1?}; last seen: {seen:?}");
            }
        }
        thread::sleep(PAUSE);
    }
}
