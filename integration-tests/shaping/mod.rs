//! What sinks make of rows: expressions beside PostgreSQL's own opinion, and shaped sinks end to end.

mod generate;
mod oracle;
mod pipeline;
mod refusals;
