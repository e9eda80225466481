//! The source's rows, some at a time: each run in a short transaction, with what its snapshot sees.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::VerifyError;
use crate::capture::CaptureError;
use crate::capture::snapshot::step::{BLOCK, Step};
use crate::capture::snapshot::throttle::Throttle;
use crate::capture::snapshot::{Chunk, Part, Refusal, Room, Survey, Ticket, chunk};
use crate::postgres::connection::Connection;
use crate::status::Disposition;

/// A run of rows is meant to have so many bytes: the sink's documents of it are read at once, while its loop waits.
const BYTES_WANTED: u64 = 512 << 10;
/// A run's transaction may take so long.
const TIME_MAX: Duration = Duration::from_secs(10);
/// A lock is waited for so long in all.
const PATIENCE: Duration = Duration::from_secs(60);

/// The places of a table that are still to be read.
pub(super) struct Chunks {
    survey: Survey,
    step: Step,
    at: u64,
    /// Of so many places one is read; less than 1: of a sample.
    share: f64,
}

impl Chunks {
    /// All of a table; or, of a sample, this share of it, in stretches that lie evenly in it and begin anywhere.
    pub(super) fn of(survey: Survey, share: f64) -> Self {
        let mut step = Step::first(&survey, BYTES_WANTED);
        let mut at = 0;
        if share < 1.0 {
            step.limit(scaled(survey.end, share / 4.0));
            at = whole_blocks(rand::random_range(0..scaled(survey.end, 0.25).max(1)));
        }
        Chunks { survey, step, at, share }
    }

    /// The table.
    pub(super) fn survey(&self) -> &Survey {
        &self.survey
    }

    /// The next places to read.
    pub(super) fn next(&self) -> Option<Range<u64>> {
        (self.at < self.survey.end).then(|| self.step.cut(&(self.at..self.survey.end)))
    }

    /// These have been read.
    pub(super) fn read(&mut self, places: &Range<u64>, bytes: u64, took: Duration) {
        self.step.learn(places, bytes, took);
        self.at = places.end;
        if self.share < 1.0 {
            let length = places.end.saturating_sub(places.start);
            self.at = whole_blocks(self.at.saturating_add(scaled(length, 1.0 / self.share - 1.0)));
            self.step.limit(scaled(self.survey.end, self.share / 4.0));
        }
    }

    /// What is from here on is to be read again.
    pub(super) fn go_back(&mut self, place: u64) {
        self.at = place;
    }

    /// How far it is, 0 to 1.
    pub(super) fn progress(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for the eye")]
        let done = self.at as f64 / self.survey.end.max(1) as f64;
        done.min(1.0)
    }

    /// Reads these places, or fewer, where they hold too much to be read at once.
    pub(super) async fn fetch(
        &mut self,
        connection: &mut Connection,
        publication: &str,
        throttle: &mut Throttle,
    ) -> Result<Option<(Range<u64>, Chunk)>, VerifyError> {
        while let Some(places) = self.next() {
            let time_max = (!self.step.is_least()).then_some(TIME_MAX);
            match fetch(connection, &self.survey, publication, Part::Places(places.clone()), time_max, throttle).await {
                Ok(chunk) => return Ok(Some((places, chunk))),
                Err(Refusal::TooLarge(bytes)) => self.step.shrink(&places, bytes as u64),
                Err(Refusal::TooSlow) => self.step.shrink(&places, 2 * BYTES_WANTED),
                Err(other) => return Err(refused(other)),
            }
        }
        Ok(None)
    }

    /// Reads rows by their keys; `None`: they hold too much to be read at once.
    pub(super) async fn fetch_keys(
        &self,
        connection: &mut Connection,
        publication: &str,
        keys: Vec<Box<[u8]>>,
        throttle: &mut Throttle,
    ) -> Result<Option<Chunk>, VerifyError> {
        match fetch(connection, &self.survey, publication, Part::Keys(keys), None, throttle).await {
            Ok(chunk) => Ok(Some(chunk)),
            Err(Refusal::TooLarge(_)) => Ok(None),
            Err(other) => Err(refused(other)),
        }
    }
}

async fn fetch(
    connection: &mut Connection,
    survey: &Survey,
    publication: &str,
    part: Part,
    time_max: Option<Duration>,
    throttle: &mut Throttle,
) -> Result<Chunk, Refusal> {
    while let Some(at) = throttle.wake_at(Instant::now()) {
        tokio::time::sleep_until(at.into()).await;
    }
    let ticket = Ticket { oid: survey.target.table.oid, number: 0 };
    let since = Instant::now();
    loop {
        let read = chunk::read(connection, &survey.target, publication, ticket, &part, time_max, Room::default()).await;
        match read {
            Ok(chunk) => {
                throttle.spent(chunk.rows.bytes() as u64, Instant::now());
                return Ok(chunk);
            }
            // A lock, mostly.
            Err(Refusal::Failed(error)) if waits(&error) && since.elapsed() < PATIENCE => {}
            Err(other) => return Err(other),
        }
    }
}

/// Whether it may pass with the connection as it is.
fn waits(error: &CaptureError) -> bool {
    error.disposition() == Disposition::Retry && !matches!(error, CaptureError::Unreachable { .. })
}

fn refused(refusal: Refusal) -> VerifyError {
    match refusal {
        Refusal::Changed => VerifyError::Redefined,
        Refusal::Gone => VerifyError::Gone,
        Refusal::Failed(error) => VerifyError::Source(error),
        // Only a run of several rows is either, and that is made smaller.
        Refusal::TooLarge(_) | Refusal::TooSlow => VerifyError::Redefined,
    }
}

/// Rows stand at a block's beginning.
const fn whole_blocks(place: u64) -> u64 {
    place - place % BLOCK
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "places, about"
)]
fn scaled(places: u64, factor: f64) -> u64 {
    (places as f64 * factor) as u64
}
