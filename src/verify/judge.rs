//! Which keys are not as they should be.

use std::collections::{HashMap, HashSet};

use super::VerifyError;
use super::report::What;
use super::unseen::Should;
use super::walk::{Basis, Walk};
use crate::deliver::{Found, Sight};
use crate::event::Offset;
use crate::log::Log;
use crate::project::mutation::{Document, Effect, Key, Mutation};
use crate::sink::Image;

/// A key that is not as it should be.
pub(super) struct Wrong {
    pub(super) key: Key,
    pub(super) what: What,
    document: Option<Document>,
    pub(super) source: Option<Image>,
    pub(super) sink: Option<Image>,
    pub(super) at: Offset,
}

impl Wrong {
    /// What puts it right.
    pub(super) fn mutation(&self) -> Mutation {
        let effect = match &self.document {
            Some(document) => Effect::Put { document: document.clone(), moved_from: None },
            None => Effect::Delete,
        };
        Mutation { key: self.key.clone(), position: Default::default(), effect }
    }
}

impl<L: Log> Walk<'_, L> {
    /// What these keys should have as of where the log has been read to; `None` if this basis does not tell.
    fn should(&mut self, basis: &Basis<'_>, keys: HashSet<Key>) -> Option<HashMap<Key, Should>> {
        match basis {
            Basis::Rows(rows, visibility) => {
                if !self.unseen.forget_seen(visibility) {
                    return None;
                }
                let should = self.unseen.over(rows, &keys);
                if !self.given.sampled {
                    should.iter().for_each(|(key, should)| self.roster.set(key, *should != Should::BeGone));
                }
                Some(should)
            }
            Basis::Keys => {
                let gone = keys.into_iter().filter(|key| self.roster.is_gone(key));
                Some(gone.map(|key| (key, Should::BeGone)).collect())
            }
        }
    }

    /// Which keys are not as they should be.
    pub(super) fn judge(
        &mut self,
        basis: &Basis<'_>,
        keys: &[Key],
        sight: &Sight,
    ) -> Result<Option<Vec<Wrong>>, VerifyError> {
        let Found::Documents(images) = &sight.found else { return Err(VerifyError::Ended) };
        if images.len() != keys.len() {
            return Err(VerifyError::Unreadable);
        }
        let Some(mut should) = self.should(basis, keys.iter().cloned().collect()) else { return Ok(None) };
        let (mut all, mut expired) = (Vec::new(), 0);
        for (key, image) in keys.iter().zip(images) {
            let at = sight.checkpoint.offset;
            let wrong = |what, document, source, sink| Wrong { key: key.clone(), what, document, source, sink, at };
            match (should.remove(key), image) {
                (Some(Should::Have(_)), None) if self.given.verifier.expires => expired += 1,
                (Some(Should::Have(document)), None) => {
                    let source = (self.given.verifier.imager)(&document);
                    all.push(wrong(What::Missing, Some(document), source, None));
                }
                (Some(Should::Have(document)), Some(image)) => {
                    let source = (self.given.verifier.imager)(&document);
                    if source.as_ref() != Some(image) {
                        all.push(wrong(What::Different, Some(document), source, Some(image.clone())));
                    }
                }
                // Of a whole table they are found in the end.
                (Some(Should::BeGone), Some(image)) if self.given.sampled || matches!(basis, Basis::Keys) => {
                    all.push(wrong(What::Extra, None, None, Some(image.clone())));
                }
                (Some(Should::BeAsked(document)), _) => self.changed.again(&document.relation, &document.row),
                (Some(Should::BeGone) | None, _) => {}
            }
        }
        self.given.report.table(&self.table, |table| table.expired += expired);
        Ok(Some(all))
    }
}
