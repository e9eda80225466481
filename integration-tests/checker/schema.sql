-- The checker's tables; what each is for stands in `workload.rs`.
CREATE TABLE acct (id int PRIMARY KEY, bal bigint NOT NULL);
INSERT INTO acct SELECT i, 1000 FROM generate_series(0, 39) i;
CREATE TABLE xfer (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, src int NOT NULL, dst int NOT NULL, amount int NOT NULL);

-- `ver` counts the changes of a key.
CREATE TABLE reg (k int PRIMARY KEY, ver int NOT NULL, writer int, pad text);
INSERT INTO reg SELECT i, 0, NULL, 'p' || i FROM generate_series(0, 59) i;

-- Each value extends the one before: a lost or swapped change shows in a single value.
CREATE TABLE lst (k int PRIMARY KEY, items int[] NOT NULL);
INSERT INTO lst SELECT i, '{}' FROM generate_series(0, 59) i;

CREATE TABLE ledger (writer int, seq bigint, note text, PRIMARY KEY (writer, seq));
INSERT INTO ledger SELECT 99, i, 'before ' || i FROM generate_series(1, 1500) i;

CREATE TABLE churn (k int PRIMARY KEY, v int);

-- Keys move and are swapped. `uid` stays with its row.
CREATE TABLE mover (id int PRIMARY KEY, uid int NOT NULL UNIQUE, body text NOT NULL);
ALTER TABLE mover ALTER COLUMN body SET STORAGE EXTERNAL;
INSERT INTO mover SELECT i * 3, i, repeat(md5(i::text), 100) FROM generate_series(0, 40) i;

-- Values out of line that most changes leave alone.
CREATE TABLE big (id int PRIMARY KEY, n int NOT NULL, body text, more text);
ALTER TABLE big ALTER COLUMN body SET STORAGE EXTERNAL, ALTER COLUMN more SET STORAGE EXTERNAL;
INSERT INTO big SELECT i, 0, repeat(md5(i::text), 200), repeat(md5(i::text), 80) FROM generate_series(0, 59) i;
CREATE TABLE bigfull (LIKE big INCLUDING ALL);
ALTER TABLE bigfull REPLICA IDENTITY FULL;
INSERT INTO bigfull SELECT * FROM big;

CREATE TABLE parts (region int, id int, v int, PRIMARY KEY (region, id)) PARTITION BY LIST (region);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES IN (0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES IN (2);
INSERT INTO parts SELECT i % 3, i, 0 FROM generate_series(0, 59) i;

CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy ''quoted''');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE TYPE pair AS (a int, b text);
CREATE TABLE typed (
    id int PRIMARY KEY, t_text text, t_bool boolean, t_numeric numeric, t_small smallint, t_bigint bigint, t_real real,
    t_double double precision, t_varchar varchar(20), t_char char(5), t_bytea bytea, t_date date, t_time time,
    t_timetz timetz, t_timestamp timestamp, t_timestamptz timestamptz, t_interval interval, t_uuid uuid, t_json json,
    t_jsonb jsonb, t_inet inet, t_cidr cidr, t_macaddr macaddr, t_bit bit(8), t_varbit varbit, t_point point,
    t_range int4range, t_tsrange tstzrange, t_multi int4multirange, t_ints int[], t_texts text[], t_tsvector tsvector,
    t_lsn pg_lsn, t_mood mood, t_moods mood[], t_positive positive, t_pair pair, t_oid oid, t_name name, t_money money
);
CREATE FUNCTION typed_row(k int, seq bigint) RETURNS typed LANGUAGE sql AS $$
    SELECT k, E'it''s\n"' || seq || E'" \\ \u00e9', seq % 2 = 0, (seq || '.50')::numeric, (seq % 30000)::smallint,
        seq * 90071992547, (seq % 100 + 0.5)::real, seq / 4.0::double precision, left(md5(seq::text), 20)::varchar(20), 'c'::char(5),
        decode(md5(seq::text), 'hex'), date '1999-12-31' + (seq % 9999)::int, time '10:00:00.5', timetz '10:00:00+05:30',
        timestamp '2026-01-01 00:00:00.000001' + seq * interval '1 second', timestamptz '2026-06-01 12:00:00.25+02',
        interval '1 year 2 days 03:04:05.678', md5(seq::text)::uuid, json '{"a": [1, 2.50, null], "b": "x"}',
        jsonb '{"k": {"n": 1e2}}', inet '10.1.2.3/8', cidr '10.0.0.0/8', macaddr '08:00:2b:01:02:03', B'10101010', B'101',
        point(1.5, -2), int4range(1, 5), tstzrange('2026-01-01+00', NULL), int4multirange(int4range(1, 2), int4range(4, 9)),
        ARRAY[1, NULL, seq % 100]::int[], ARRAY['a,b', '"q"', NULL, '{}'], to_tsvector('simple', 'a fat cat'), pg_lsn '16/B374D848',
        'happy ''quoted'''::mood, ARRAY['sad', NULL]::mood[], 7::positive, ROW(1, 'x y')::pair, 16384::oid, 'a name'::name,
        12.34::money
$$;
INSERT INTO typed SELECT (typed_row(i, i)).* FROM generate_series(0, 39) i;
INSERT INTO typed (id) VALUES (1000);

CREATE TABLE "Odd näme" ("Kéy ""q""" int PRIMARY KEY, "va l" text);
INSERT INTO "Odd näme" SELECT i, 'v' FROM generate_series(0, 59) i;

CREATE TABLE marker (nonce text PRIMARY KEY);
