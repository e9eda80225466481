//! What a target says of itself against what we left there.

use super::{Checkpoint, SinkError};

/// Compares what the target says with what we last wrote or read there.
///
/// # Errors
/// `Regressed` if the target lost something, `Fenced` if somebody else moved it on.
pub(super) fn verify(target: &str, found: Option<Checkpoint>, belief: Option<Checkpoint>) -> Result<(), SinkError> {
    if found == belief {
        return Ok(());
    }
    let show = |checkpoint: Option<Checkpoint>| match checkpoint {
        Some(checkpoint) => format!("offset {} of log {}", checkpoint.offset, checkpoint.log),
        None => "no checkpoint".to_owned(),
    };
    let detail = format!("it has {}, and we left it at {}", show(found), show(belief));
    let target = target.to_owned();
    let moved_on = match (found, belief) {
        (None, _) => false,
        (Some(_), None) => true,
        (Some(found), Some(belief)) => found.log != belief.log || found.offset > belief.offset,
    };
    Err(if moved_on { SinkError::Fenced { target, detail } } else { SinkError::Regressed { target, detail } })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Offset;
    use crate::log::LogId;

    fn at(offset: u64) -> Checkpoint {
        Checkpoint::new(LogId(0xAB), Offset(offset))
    }

    #[test]
    fn lost_progress_is_a_regression_and_foreign_progress_a_fence() {
        let ours = Some(at(5));
        assert!(verify("t", ours, ours).is_ok());
        assert!(matches!(verify("t", None, ours), Err(SinkError::Regressed { .. })));
        assert!(matches!(verify("t", Some(at(4)), ours), Err(SinkError::Regressed { .. })));
        assert!(matches!(verify("t", Some(at(6)), ours), Err(SinkError::Fenced { .. })));
        assert!(matches!(verify("t", ours, None), Err(SinkError::Fenced { .. })));
        let foreign = Some(Checkpoint { log: LogId(1), ..at(4) });
        assert!(matches!(verify("t", foreign, ours), Err(SinkError::Fenced { .. })));
    }
}
