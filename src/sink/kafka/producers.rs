//! What the sink writes with: a producer of rows and, where those are delivered at least once, one of the checkpoint, which changes in
//! transactions all the same.

use crate::event::Timestamp;
use crate::kafka::KafkaError;
use crate::kafka::format::push_unsigned;
use crate::kafka::headers::OFFSET_HEADER;
use crate::kafka::producer::{Outgoing, Producer};
use crate::kafka::settings::{Delivery, Settings};
use crate::sink::Checkpoint;
use crate::sink::saved::Saved;

/// The key of the checkpoint in the sink's own topic.
pub(super) const CHECKPOINT: &[u8] = b"checkpoint";

/// See the module.
pub(super) struct Producers {
    rows: Producer,
    /// `None`: it is in the rows' transaction.
    checkpoint: Option<Producer>,
    /// Rows have been sent since the last checkpoint.
    begun: bool,
    /// No topic that is known takes less at once.
    batch_bytes_max: u64,
}

impl Producers {
    /// Fences whoever wrote before. `own`: the topic with the checkpoint.
    pub(super) fn connect(settings: &Settings, own: &str, batch_bytes_max: u64) -> Result<Self, KafkaError> {
        let transactional = Producer::new(settings, Some(own), batch_bytes_max)?;
        transactional.init()?;
        let (rows, checkpoint) = match settings.delivery {
            Delivery::ExactlyOnce => (transactional, None),
            Delivery::AtLeastOnce => (Producer::new(settings, None, batch_bytes_max)?, Some(transactional)),
        };
        Ok(Producers { rows, checkpoint, begun: false, batch_bytes_max })
    }

    pub(super) fn batch_bytes_max(&self) -> u64 {
        self.batch_bytes_max
    }

    /// Before the first record for a topic that takes so much at once: where that is less than any other takes, batches are smaller from
    /// now on, for one that is too large for its topic is refused whole.
    ///
    /// # Errors
    /// Also where a transaction is open, which cannot go on with smaller ones: it has to begin again.
    pub(super) fn narrow(&mut self, settings: &Settings, own: &str, batch_bytes_max: u64) -> Result<(), KafkaError> {
        if batch_bytes_max >= self.batch_bytes_max {
            return Ok(());
        }
        self.batch_bytes_max = batch_bytes_max;
        if self.checkpoint.is_some() {
            self.rows.flush()?;
            self.rows = Producer::new(settings, None, batch_bytes_max)?;
        } else if self.begun {
            let detail = "a topic takes less at once than others: the transaction begins again, with smaller batches";
            return Err(KafkaError::Unavailable { brokers: settings.brokers.clone(), detail: detail.to_owned() });
        } else {
            *self = Producers::connect(settings, own, batch_bytes_max)?;
        }
        Ok(())
    }

    /// What rows are sent with.
    pub(super) fn rows(&mut self) -> Result<&Producer, KafkaError> {
        if !self.begun {
            self.rows.begin()?;
            self.begun = true;
        }
        Ok(&self.rows)
    }

    /// Makes the rows and the checkpoint durable.
    pub(super) fn commit(&mut self, own: &str, upto: Checkpoint) -> Result<(), KafkaError> {
        let value = serde_json::to_vec(&Saved::from(upto)).map_err(|error| KafkaError::Misuse(error.to_string()))?;
        let mut offset = Vec::new();
        push_unsigned(upto.offset.0, &mut offset);
        let outgoing = Outgoing {
            topic: own,
            partition: Some(0),
            key: Some(CHECKPOINT),
            value: Some(&value),
            timestamp_ms: Timestamp::now().unix_micros().div_euclid(1000),
        };
        let producer = match &self.checkpoint {
            Some(checkpoint) => {
                self.rows.flush()?;
                checkpoint.begin()?;
                checkpoint
            }
            None => self.rows()?,
        };
        producer.send(&outgoing, [(OFFSET_HEADER, offset.as_slice())])?;
        producer.commit()?;
        self.begun = false;
        Ok(())
    }
}
