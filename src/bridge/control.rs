//! The admin port's orders, handed to the loop that can carry them out.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::admin::{Control, ControlError};
use crate::ingest::Resnapshot;

/// A loop that cannot answer in this time is asked again later.
const PATIENCE: Duration = Duration::from_secs(8);

/// One end for the admin port, the other for the source's loop.
pub(super) fn channel() -> (Control, mpsc::Receiver<Resnapshot>) {
    let (sender, receiver) = mpsc::channel(4);
    let control: Control = std::sync::Arc::new(move |tables| {
        let sender = sender.clone();
        Box::pin(async move { order(&sender, tables).await })
    });
    (control, receiver)
}

async fn order(sender: &mpsc::Sender<Resnapshot>, tables: Vec<String>) -> Result<Vec<String>, ControlError> {
    let ended = || {
        ControlError::Refused(
            "this source's loop has ended; mend what its status says, and restart walbridge".to_owned(),
        )
    };
    let (answer, answered) = oneshot::channel();
    sender.try_send(Resnapshot { tables, answer }).map_err(|error| match error {
        mpsc::error::TrySendError::Full(_) => ControlError::Busy,
        mpsc::error::TrySendError::Closed(_) => ended(),
    })?;
    match tokio::time::timeout(PATIENCE, answered).await {
        Ok(Ok(answer)) => answer.map_err(ControlError::Refused),
        Ok(Err(_)) => Err(ended()),
        // The order stands; only its answer is late.
        Err(_) => Err(ControlError::Busy),
    }
}
