//! The verification of what was built, tried until it can be done.

use std::time::Instant;

use super::{Pending, Verification, Verify};
use crate::retry::Backoff;

/// The verification of what was built.
pub(super) struct Check<'v> {
    verify: &'v Verify,
    pending: Option<Pending<Verification>>,
    found: Option<u64>,
    /// Why it is to be tried again, and when.
    failed: Option<(String, Instant)>,
    backoff: Backoff,
}

impl<'v> Check<'v> {
    pub(super) fn new(verify: &'v Verify) -> Self {
        Check { verify, pending: None, found: None, failed: None, backoff: Backoff::default() }
    }

    /// Unless it is under way, or has failed just now.
    pub(super) fn begin(&mut self) {
        let waits = self.failed.as_ref().is_some_and(|(_, until)| Instant::now() < *until);
        if self.pending.is_none() && !waits {
            self.pending = Some((self.verify)());
        }
    }

    /// Waits for its end, if it is under way.
    pub(super) async fn goes_on(&mut self) {
        let Some(pending) = &mut self.pending else { return std::future::pending().await };
        let verification = pending.await;
        self.pending = None;
        match verification {
            Verification::Done { differences } => (self.found, self.failed) = (Some(differences), None),
            Verification::Failed(why) => self.failed = Some((why, Instant::now() + self.backoff.next_delay())),
        }
    }

    /// How many keys differ, once that is known.
    pub(super) fn found(&self) -> Option<u64> {
        self.found
    }

    pub(super) fn message(&self) -> Option<String> {
        match (&self.pending, &self.failed) {
            (_, Some((why, _))) => Some(format!("it cannot be compared with the source yet: {why}")),
            (Some(_), None) => Some("it is compared with the source".to_owned()),
            (None, None) => None,
        }
    }
}

/// For people.
pub(super) fn differs(keys: u64) -> String {
    format!(
        "{keys} keys of what was built are not as in the source, and what readers have stays. That is a bug; please report it. Cancel the rebuild, and begin anew"
    )
}
