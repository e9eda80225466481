"""Prints the events of Parquet files as lines of JSON, each value as the text that DuckDB makes of it."""

import json
import sys

import duckdb

database = duckdb.connect()


def columns(path, group):
    """The columns of a group, with their types; none where the file has no such group."""
    names = [name for name, *_ in database.execute("DESCRIBE SELECT * FROM read_parquet(?)", [path]).fetchall()]
    if group not in names:
        return []
    return [row[:2] for row in database.execute(f"DESCRIBE SELECT {group}.* FROM read_parquet(?)", [path]).fetchall()]


def quoted(name):
    return '"' + name.replace('"', '""') + '"'


def text(group, name, kind):
    place = f"{group}.{quoted(name)}"
    return f"'\\x' || lower(hex({place}))" if kind == "BLOB" else f"CAST({place} AS VARCHAR)"


for path in sys.argv[1:]:
    groups = {group: columns(path, group) for group in ("key", "before", "after")}
    wanted = ["source", "op", "position.epoch", "position.commit_lsn", "position.ordinal", "xid", "CAST(commit_time AS VARCHAR)",
              "origin", "schema", '"table"', "unchanged", "before_is_whole", "copy", "prefix", "hex(content)", "as_text"]
    names = ["source", "op", "epoch", "commit_lsn", "ordinal", "xid", "commit_time",
             "origin", "schema", "table", "unchanged", "before_is_whole", "copy", "prefix", "content", "as_text"]
    for group, of in groups.items():
        if of:
            wanted.append(f"{group} IS NOT NULL")
            wanted.extend(text(group, name, kind) for name, kind in of)
    for row in database.execute(f"SELECT {', '.join(wanted)} FROM read_parquet(?)", [path]).fetchall():
        event, rest = dict(zip(names, row)), list(row[len(names):])
        for group, of in groups.items():
            event[group] = None
            if of:
                is_there = rest.pop(0)
                values = {name: rest.pop(0) for name, _ in of}
                event[group] = values if is_there else None
        event["types"] = {name: kind for name, kind in groups["after"]}
        print(json.dumps(event))
