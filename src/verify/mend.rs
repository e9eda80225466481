//! What was found is told, and put right if that is wanted.

use std::collections::HashMap;

use super::judge::Wrong;
use super::report::told;
use super::walk::{Basis, Walk};
use super::{Finding, VerifyError};
use crate::deliver::{Mend, Subject};
use crate::log::Log;
use crate::project::mutation::Key;

impl<L: Log> Walk<'_, L> {
    /// Tells what was found, and repairs it if that is wanted.
    pub(super) async fn tell(&mut self, basis: &Basis<'_>, wrong: Vec<Wrong>) -> Result<(), VerifyError> {
        if wrong.is_empty() {
            return Ok(());
        }
        let mut fates = if self.given.repair { self.mend(basis, &wrong).await? } else { HashMap::new() };
        for Wrong { key, what, source, sink, at, .. } in wrong {
            let (repaired, message) = match fates.remove(&key) {
                Some(Ok(())) => (true, None),
                Some(Err(why)) => (false, Some(why)),
                None => (false, None),
            };
            let (source, sink) = (source.as_ref().and_then(told), sink.as_ref().and_then(told));
            let (table, key) = (self.table.to_string(), key.to_string());
            self.given.report.change(|report| {
                report.found(Finding { table, key, what, source, sink, at, repaired, message });
            });
        }
        Ok(())
    }

    /// Puts right what is still wrong, while the loop holds still; then looks whether it is. Tells of each key whether it is right now, or why not.
    async fn mend(
        &mut self,
        basis: &Basis<'_>,
        found: &[Wrong],
    ) -> Result<HashMap<Key, Result<(), String>>, VerifyError> {
        let keys: Vec<Key> = found.iter().map(|wrong| wrong.key.clone()).collect();
        let why_not = |why: &str| keys.iter().map(|key| (key.clone(), Err(why.to_owned()))).collect();
        let (sight, hold) = loop {
            let (sight, hold) = self.given.eye.look_and_hold(keys.clone(), self.at, self.given.connection).await?;
            self.advance(sight.checkpoint.offset).await?;
            if self.at <= sight.checkpoint.offset {
                break (sight, hold);
            }
        };
        let Some(wrong) = self.judge(basis, &keys, &sight)? else {
            return Ok(why_not("it is being changed by a large transaction: verify again"));
        };
        let (tell, told) = tokio::sync::oneshot::channel();
        let mutations = wrong.iter().map(Wrong::mutation).collect();
        let refused = match hold.send(Mend { mutations, refused: tell }) {
            Ok(()) => told.await.unwrap_or_else(|_| Err("the sink was interrupted: verify again".to_owned())),
            Err(_) => Err("the sink has gone on meanwhile: verify again".to_owned()),
        };
        let refused = match refused {
            Ok(refused) => refused,
            Err(why) => return Ok(why_not(&why)),
        };
        let sight = self.look(Subject::Documents(keys.clone()), self.at).await?;
        let still = self.judge(basis, &keys, &sight)?;
        let mut fates: HashMap<Key, Result<(), String>> = keys.iter().map(|key| (key.clone(), Ok(()))).collect();
        let told = "it was written, and is wrong again: somebody else writes it".to_owned();
        for Wrong { key, .. } in still.unwrap_or_default() {
            let refusal = refused.iter().find(|refusal| refusal.mutation.key == key);
            let why =
                refusal.map_or_else(|| told.clone(), |refusal| format!("the target refuses it: {}", refusal.reason));
            fates.insert(key, Err(why));
        }
        Ok(fates)
    }
}
