//! The lines of docs/exec.md.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::event::{Event, Position};
use crate::project::line::write_event;
use crate::sink::Checkpoint;
use crate::sink::saved::Saved;

/// A line of the program's.
#[derive(Debug)]
pub(super) enum Answer {
    /// It can begin.
    Ready {
        /// It keeps its own checkpoint, which is this.
        keeps: bool,
        checkpoint: Option<Checkpoint>,
    },
    /// It never takes the event at this place.
    Reject { position: Position, reason: String },
    /// It has said which ones it refuses.
    Flushed,
    /// What it was given is durable.
    Ack,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Line {
    Ready,
    Reject { position: Position, reason: String },
    Flushed,
    Ack,
}

/// Reads a line. `Err`: why it is none.
pub(super) fn read(line: &str) -> Result<Answer, String> {
    let value: Value =
        serde_json::from_str(line).map_err(|error| format!("it answers what is no JSON ({error}): {line}"))?;
    // Being absent and being null are two things: a program without a checkpoint of its own, and one that has none yet.
    let own = value.get("checkpoint").cloned();
    let line: Line = serde_json::from_value(value).map_err(|error| format!("it answers {line} ({error})"))?;
    Ok(match line {
        Line::Ready => {
            let saved = match &own {
                None | Some(Value::Null) => None,
                Some(text) => {
                    let saved = Saved::deserialize(text).ok().and_then(|saved| saved.checkpoint());
                    Some(saved.ok_or_else(|| format!("its checkpoint is none that it was given: {text}"))?)
                }
            };
            Answer::Ready { keeps: own.is_some(), checkpoint: saved }
        }
        Line::Reject { position, reason } => Answer::Reject { position, reason },
        Line::Flushed => Answer::Flushed,
        Line::Ack => Answer::Ack,
    })
}

pub(super) fn hello(sink: &str, source: &str) -> Vec<u8> {
    line(&json!({ "type": "hello", "version": 1, "sink": sink, "source": source }))
}

pub(super) fn event(source: &str, event: &Event) -> Vec<u8> {
    let mut line = br#"{"type":"event","event":"#.to_vec();
    write_event(source, event, &mut line);
    line.extend_from_slice(b"}\n");
    line
}

pub(super) fn flush() -> Vec<u8> {
    line(&json!({ "type": "flush" }))
}

pub(super) fn probe() -> Vec<u8> {
    line(&json!({ "type": "probe" }))
}

pub(super) fn commit(upto: Checkpoint) -> Vec<u8> {
    line(&json!({ "type": "commit", "position": upto.position, "checkpoint": Saved::from(upto) }))
}

fn line(value: &Value) -> Vec<u8> {
    let mut line = value.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_what_is_none_says_why() {
        assert!(matches!(read(r#"{"type":"ready"}"#), Ok(Answer::Ready { keeps: false, checkpoint: None })));
        assert!(matches!(
            read(r#"{"type":"ready","checkpoint":null}"#),
            Ok(Answer::Ready { keeps: true, checkpoint: None })
        ));
        let given = r#"{"type":"ready","checkpoint":{"log":"000000000000000000000000000000ab","offset":7}}"#;
        assert!(
            matches!(read(given), Ok(Answer::Ready { keeps: true, checkpoint: Some(Checkpoint { offset, .. }) }) if offset.0 == 7)
        );
        let reject = r#"{"type":"reject","position":{"epoch":1,"commit_lsn":"0/100","ordinal":2},"reason":"no"}"#;
        assert!(
            matches!(read(reject), Ok(Answer::Reject { position, reason }) if position.ordinal == 2 && reason == "no")
        );
        assert!(matches!(
            (read(r#"{"type":"flushed"}"#), read(r#"{"type":"ack"}"#)),
            (Ok(Answer::Flushed), Ok(Answer::Ack))
        ));
        for (wrong, why) in
            [("hello", "no JSON"), (r#"{"type":"nack"}"#, "nack"), (r#"{"type":"ready","checkpoint":{}}"#, "none that")]
        {
            assert!(read(wrong).expect_err("refused").contains(why), "{wrong}");
        }
    }
}
