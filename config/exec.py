#!/usr/bin/env python3
# Keeps the rows of tables in an SQLite file, and walbridge's checkpoint with them (docs/exec.md).
import json, sqlite3, sys

db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.executescript("""CREATE TABLE IF NOT EXISTS docs (name TEXT, key TEXT, row TEXT, fresh INT, PRIMARY KEY (name, key));
                    CREATE TABLE IF NOT EXISTS checkpoint (saved TEXT)""")

def say(**line):
    print(json.dumps(line), flush=True)

def apply(event):
    name = f"{event['schema']}.{event['table']}"
    if event.get("copy") == "begun":                                # its rows are told again
        return db.execute("UPDATE docs SET fresh = 0 WHERE name = ?", (name,))
    if event["op"] == "message":                                    # they all have been
        return event["prefix"] == "walbridge.copy" and db.execute("DELETE FROM docs WHERE name = ? AND fresh = 0", (name,))
    if event["op"] == "truncate":
        return db.execute("DELETE FROM docs WHERE name = ?", (name,))
    def key(row): return json.dumps([row[column] for column in event["key"]])
    old, new = key(event["before"] or event["key"]), event["after"]
    older = db.execute("DELETE FROM docs WHERE name = ? AND key = ? RETURNING row", (name, old)).fetchone()
    if new:
        # A change may come before the copy has brought its row, which then brings what is missing.
        had = (json.loads(older[0]) if older else {}) | (event["before"] or {})
        new |= {column: had.get(column) for column in event["unchanged"]}
        db.execute("INSERT OR REPLACE INTO docs VALUES (?, ?, ?, 1)", (name, key(new), json.dumps(new)))

for line in sys.stdin:
    said = json.loads(line)
    if said["type"] in ("hello", "probe"):
        saved = db.execute("SELECT saved FROM checkpoint").fetchone()
        say(type="ready", checkpoint=saved and json.loads(saved[0]))
    elif said["type"] == "event":
        db.in_transaction or db.execute("BEGIN IMMEDIATE")
        apply(said["event"])
    elif said["type"] == "flush":
        say(type="flushed")                                         # nothing is refused
    elif said["type"] == "commit":
        db.in_transaction or db.execute("BEGIN IMMEDIATE")
        db.execute("DELETE FROM checkpoint")
        db.execute("INSERT INTO checkpoint VALUES (?)", (json.dumps(said["checkpoint"]),))
        db.execute("COMMIT")
        say(type="ack")
