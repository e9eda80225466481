//! The ingest pipeline that documents go through. It is the user's: one that is not there is waited for by nobody.

use super::client::Client;
use super::place;
use crate::sink::SinkError;

/// That there is one of this name.
pub(super) async fn check(client: &mut Client, name: &str) -> Result<(), SinkError> {
    let answer = client.get(&format!("/_ingest/pipeline/{}?filter_path=*.description", place::encode(name))).await?;
    if answer.status == 404 {
        return Err(SinkError::Unusable {
            target: client.shown(),
            detail: format!("it has no ingest pipeline `{name}`"),
            remedy: "Make it there, or leave `pipeline` away; then restart walbridge".to_owned(),
        });
    }
    client.accept(&format!("looking for the pipeline {name}"), answer).map(drop)
}
