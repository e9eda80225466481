//! A query that ends when its time is over. Tantivy's collectors cannot be stopped, but documents can cease to match.
//!
//! What is not interrupted is the look into the terms of one segment that a range or a fuzzy word begins with; that is over quickly
//! beside what follows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tantivy::query::{EnableScoring, Explanation, Query, Scorer, Weight};
use tantivy::{DocId, DocSet, Score, SegmentReader, TERMINATED, TantivyError, Term};

/// The clock is read once for so many documents.
const DOCUMENTS_PER_LOOK: u32 = 1024;

/// Until when, and whether that was too early.
#[derive(Clone, Debug)]
pub(super) struct TimeLimit {
    until: Instant,
    is_over: Arc<AtomicBool>,
}

impl TimeLimit {
    pub(super) fn new(until: Instant) -> Self {
        TimeLimit { until, is_over: Arc::default() }
    }

    /// Whether something was cut short.
    pub(super) fn has_cut(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The query within the limit.
    pub(super) fn of(&self, query: Box<dyn Query>) -> Limited {
        Limited { query, limit: self.clone() }
    }

    fn look(&self) -> bool {
        let is_over = Instant::now() >= self.until;
        if is_over {
            self.is_over.store(true, Ordering::Relaxed);
        }
        is_over
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Limited {
    query: Box<dyn Query>,
    limit: TimeLimit,
}

impl Clone for Limited {
    fn clone(&self) -> Self {
        Limited { query: self.query.box_clone(), limit: self.limit.clone() }
    }
}

impl Query for Limited {
    fn weight(&self, scoring: EnableScoring<'_>) -> Result<Box<dyn Weight>, TantivyError> {
        Ok(Box::new(LimitedWeight { weight: self.query.weight(scoring)?, limit: self.limit.clone() }))
    }

    fn query_terms<'a>(&'a self, visitor: &mut dyn FnMut(&'a Term, bool)) {
        self.query.query_terms(visitor);
    }
}

struct LimitedWeight {
    weight: Box<dyn Weight>,
    limit: TimeLimit,
}

impl Weight for LimitedWeight {
    fn scorer(&self, reader: &SegmentReader, boost: Score) -> Result<Box<dyn Scorer>, TantivyError> {
        let has_ended = self.limit.look();
        let scorer = self.weight.scorer(reader, boost)?;
        Ok(Box::new(LimitedScorer { scorer, limit: self.limit.clone(), looked: 0, has_ended }))
    }

    fn explain(&self, reader: &SegmentReader, doc: DocId) -> Result<Explanation, TantivyError> {
        self.weight.explain(reader, doc)
    }
}

struct LimitedScorer {
    scorer: Box<dyn Scorer>,
    limit: TimeLimit,
    /// Documents since the clock was read.
    looked: u32,
    has_ended: bool,
}

impl DocSet for LimitedScorer {
    fn advance(&mut self) -> DocId {
        self.looked = self.looked.saturating_add(1);
        if self.looked >= DOCUMENTS_PER_LOOK {
            self.looked = 0;
            self.has_ended |= self.limit.look();
        }
        if self.has_ended { TERMINATED } else { self.scorer.advance() }
    }

    fn doc(&self) -> DocId {
        if self.has_ended { TERMINATED } else { self.scorer.doc() }
    }

    fn size_hint(&self) -> u32 {
        self.scorer.size_hint()
    }
}

impl Scorer for LimitedScorer {
    fn score(&mut self) -> Score {
        self.scorer.score()
    }
}
