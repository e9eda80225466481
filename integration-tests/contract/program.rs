//! The program of docs/exec.md, as a target: read from outside, and emptied.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use walbridge::sink::exec::{ExecSink, Options};

use super::history::values_of;
use super::world::{Documents, World};

/// `reads`: so many bytes reach the program before its input ends.
pub(super) fn sink(world: &World, database: &Path, reads: Option<u64>) -> ExecSink {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/config/exec.py");
    let database_name = database.to_string_lossy();
    let command = match reads {
        None => ["python3", program, &database_name].map(str::to_owned).to_vec(),
        // Byte by byte, so that none waits for others.
        Some(bytes) => {
            let script = format!("dd bs=1 count={bytes} status=none | python3 \"$0\" \"$1\"");
            ["sh", "-c", &script, program, &database_name].map(str::to_owned).to_vec()
        }
    };
    let source = world.relations()[0].name.schema.clone();
    let checkpoint = database.with_extension("checkpoint");
    ExecSink::new(Options {
        name: "contract".to_owned(),
        source,
        command,
        checkpoint,
        timeout: Duration::from_secs(20),
    })
}

fn python(program: &str, database: &Path) -> String {
    let output = Command::new("python3").args(["-c", program]).arg(database).output().expect("python3");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

pub(super) fn documents(database: &Path) -> Documents {
    if !database.exists() {
        return Documents::new();
    }
    let program = "import json, sqlite3, sys\n\
        for name, key, row in sqlite3.connect(sys.argv[1]).execute('SELECT name, key, row FROM docs'):\n    \
            print(json.dumps([f'{name}:{json.loads(key)[0]}', json.loads(row)]))";
    let text = python(program, database);
    let document = |line: &str| {
        let Value::Array(pair) = serde_json::from_str(line).expect("JSON") else { panic!("{line}") };
        (pair[0].as_str().expect("a key").to_owned(), values_of(&pair[1]))
    };
    text.lines().map(document).collect()
}

pub(super) fn empty(database: &Path) {
    let program = "import sqlite3, sys\n\
        sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None).executescript('DELETE FROM docs; DELETE FROM checkpoint')";
    python(program, database);
}
