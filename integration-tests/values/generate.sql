-- Random values by a seed: `setseed` makes all of it repeat. `g` numbers the rows, so that edges come up in every run.
CREATE SCHEMA gen;
CREATE FUNCTION gen.i(low bigint, high bigint) RETURNS bigint LANGUAGE sql VOLATILE AS
    $$ SELECT (low + floor(random() * (high::numeric - low + 1)::float8)::numeric)::bigint $$;
CREATE FUNCTION gen.hex(digits int) RETURNS text LANGUAGE sql VOLATILE AS
    $$ SELECT coalesce(string_agg(substr('0123456789abcdef', 1 + floor(random() * 16)::int, 1), ''), '') FROM generate_series(1, digits) $$;
CREATE FUNCTION gen.digits(n bigint) RETURNS text LANGUAGE sql VOLATILE AS
    $$ SELECT coalesce(string_agg(floor(random() * 10)::int::text, ''), '') FROM generate_series(1, n) $$;
CREATE FUNCTION gen.i8() RETURNS bigint LANGUAGE sql VOLATILE AS $$ SELECT ('x' || gen.hex(16))::bit(64)::bigint $$;
CREATE FUNCTION gen.pick(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE AS
    $$ SELECT choices[1 + floor(random() * array_length(choices, 1))::int] $$;
CREATE FUNCTION gen.nasty(g int) RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT coalesce(string_agg((ARRAY['a', '"', '\', ',', '{', '}', ' ', E'\n', E'\t', E'\x01', 'é', '🦀', 'NULL', ';', '(', '''', ':', '=>', '[', E'\x7f'])
        [1 + floor(random() * 20)::int], ''), '') FROM generate_series(1, g % 9) $$;
-- All bits of the mantissa; powers of two and ten, which lie between their neighbours in ways of their own; small integers.
CREATE FUNCTION gen.f8(g int) RETURNS float8 LANGUAGE sql VOLATILE AS $$ SELECT CASE g % 8
    WHEN 0 THEN gen.pick('NaN', 'Infinity', '-Infinity', '-0', '0', '5e-324', '1.7976931348623157e308', '2.2250738585072014e-308', '1e23', '9007199254740993')::float8
    WHEN 1 THEN gen.i(1, 9007199254740991)::float8 * 2::float8 ^ gen.i(-1000, 970)
    WHEN 2 THEN -gen.i(1, 9007199254740991)::float8 * 2::float8 ^ gen.i(-1074, -1000)
    WHEN 3 THEN 2::float8 ^ gen.i(-1074, 1023)
    WHEN 4 THEN ('1e' || gen.i(-320, 308))::float8
    WHEN 5 THEN (gen.digits(gen.i(1, 17)) || 'e' || gen.i(0, 40))::float8
    WHEN 6 THEN gen.i(-2000000, 2000000)::float8 / 10 ^ gen.i(0, 9)
    ELSE gen.i(4503599627370496, 9007199254740991)::float8 * 2::float8 ^ gen.i(0, 60) END $$;
CREATE FUNCTION gen.f4(g int) RETURNS float4 LANGUAGE sql VOLATILE AS $$ SELECT CASE g % 8
    WHEN 0 THEN gen.pick('NaN', 'Infinity', '-Infinity', '-0', '0', '1e-45', '3.4028235e38', '1.1754944e-38', '16777217')::float4
    WHEN 1 THEN (gen.i(1, 16777215)::float8 * 2::float8 ^ gen.i(-120, 103))::float4
    WHEN 2 THEN (-gen.i(1, 16777215)::float8 * 2::float8 ^ gen.i(-149, -120))::float4
    WHEN 3 THEN (2::float8 ^ gen.i(-149, 127))::float4
    WHEN 4 THEN ('1e' || gen.i(-44, 38))::float4
    WHEN 5 THEN (gen.digits(gen.i(1, 9)) || 'e' || gen.i(0, 20))::float4
    WHEN 6 THEN (gen.i(-2000000, 2000000)::float8 / 10 ^ gen.i(0, 9))::float4
    ELSE (gen.i(8388608, 16777215)::float8 * 2::float8 ^ gen.i(0, 30))::float4 END $$;
CREATE FUNCTION gen.numeric(g int) RETURNS numeric LANGUAGE sql VOLATILE AS $$ SELECT CASE g % 5
    WHEN 0 THEN gen.pick('NaN', 'Infinity', '-Infinity', '0', '0.000', '-0.5', '1e100', '1e-100', '10000', '0.0001', '99999999')::numeric
    WHEN 1 THEN (gen.pick('', '-') || '0' || gen.digits(gen.i(0, 60)) || '.' || gen.digits(gen.i(1, 60)))::numeric
    WHEN 2 THEN gen.i8()::numeric
    WHEN 3 THEN ('1e' || gen.i(-60, 60))::numeric
    ELSE round(gen.i8()::numeric / 1000000, gen.i(0, 12)::int) END $$;
CREATE FUNCTION gen.micros(low bigint, high bigint) RETURNS interval LANGUAGE sql VOLATILE AS
    $$ SELECT (gen.i(low, high)::text || ' microseconds')::interval $$;
CREATE FUNCTION gen.ts(g int) RETURNS timestamp LANGUAGE sql VOLATILE AS $$ SELECT CASE g % 5
    WHEN 0 THEN gen.pick('infinity', '-infinity', '4714-11-24 00:00:00 BC', '294276-12-31 23:59:59.999999', '0001-12-31 23:59:59.5 BC', '0001-01-01', '2000-01-01', '9999-12-31 23:59:59', '10000-01-01', '1999-12-31 23:59:59.999999', '2024-02-29')::timestamp
    WHEN 1 THEN '2000-01-01'::timestamp + gen.micros(-200000000000000000, 9200000000000000000)
    WHEN 2 THEN '2000-01-01'::timestamp + (gen.i(-2000000, 2000000)::text || ' days')::interval
    ELSE '2000-01-01'::timestamp + gen.micros(-100000000000000000, 2000000000000000) END $$;
CREATE FUNCTION gen.date(g int) RETURNS date LANGUAGE sql VOLATILE AS $$ SELECT CASE g % 4
    WHEN 0 THEN gen.pick('infinity', '-infinity', '4714-11-24 BC', '5874897-12-31', '0001-12-31 BC', '0001-01-01', '2000-02-29', '1900-03-01')::date
    WHEN 1 THEN '2000-01-01'::date + gen.i(-2451545, 2145031948)::int
    ELSE '2000-01-01'::date + gen.i(-800000, 800000)::int END $$;
CREATE FUNCTION gen.time(g int) RETURNS time LANGUAGE sql VOLATILE AS $$ SELECT CASE g % 3
    WHEN 0 THEN gen.pick('00:00', '24:00', '23:59:59.999999', '12:00:00.1', '00:00:00.000001')::time
    WHEN 1 THEN '00:00'::time + (gen.i(0, 86399)::text || ' seconds')::interval
    ELSE '00:00'::time + gen.micros(0, 86399999999) END $$;
CREATE FUNCTION gen.interval(g int) RETURNS interval LANGUAGE sql VOLATILE AS $$ SELECT CASE g % 4
    WHEN 0 THEN gen.pick('0', '1 month', '-1 month', '1 day -00:00:01', '-1 day 00:00:01', '1 year', '-1 year 1 month', '-178000000 years', '2147483647 days',
        '2562047788:00:54.775807', '1 mon -1 day', '-1 mon 1 day', '24:00:00', '1.5 seconds')::interval
    WHEN 1 THEN gen.micros(-9223372036854775807, 9223372036854775806)
    ELSE make_interval(months => gen.i(-40, 40)::int, days => gen.i(-40, 40)::int) + gen.micros(-90000000000, 90000000000) END $$;
CREATE FUNCTION gen.inet(g int) RETURNS inet LANGUAGE sql VOLATILE AS $$ SELECT (CASE
    WHEN g % 2 = 0 THEN format('%s.%s.%s.%s/%s', gen.i(0, 255), gen.i(0, 255), gen.i(0, 255), gen.i(0, 255), gen.pick('32', '8', '0', '17'))
    WHEN g % 7 = 1 THEN gen.pick('::', '::1', '::2', '::ffff:10.0.0.1', '::10.0.0.1', '::1:0', '1::', 'fe80::1/64', '::ffff:0:0/96', '0:0:1::', '::/0')
    ELSE (SELECT string_agg(gen.pick('0', '0', '0', 'ffff', gen.hex(1), gen.hex(4)), ':') FROM generate_series(1, 8)) || gen.pick('', '/64', '/128', '/0') END)::inet $$;
CREATE FUNCTION gen.bits(n bigint) RETURNS varbit LANGUAGE sql VOLATILE AS
    $$ SELECT coalesce(string_agg(gen.pick('0', '1'), ''), '')::varbit FROM generate_series(1, n) $$;
CREATE FUNCTION gen.point(g int) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT format('(%s,%s)', gen.f8(g), gen.f8(g / 8)) $$;
CREATE FUNCTION gen.json(g int) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT CASE g % 7
    WHEN 0 THEN gen.pick('null', '1e400', '" "', '[]', '{}', '12345678901234567890.10', '-0', '"\ud83e\udd80"', 'true')
    ELSE jsonb_build_object(gen.nasty(g), ARRAY[gen.nasty(g), NULL], 'n', gen.numeric(g * 5 + 1), 'o', '{"a": [{"b": []}]}'::jsonb)::text END $$;

-- Types of users.
CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE EXTENSION ltree; CREATE EXTENSION cube; CREATE EXTENSION seg; CREATE EXTENSION isn; CREATE EXTENSION intarray;
CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"', 'NULL', 'a,b', 'é 🦀', '{}');
CREATE DOMAIN price AS numeric(10, 2);
CREATE DOMAIN cheap AS price CHECK (value < 100);
CREATE DOMAIN email AS text;
CREATE DOMAIN handle AS citext;
CREATE DOMAIN counts AS int[];
CREATE DOMAIN account AS uuid;
CREATE DOMAIN feeling AS mood;
CREATE TYPE pair AS (a int, b text);
CREATE TYPE nested AS (p pair, m mood, ts timestamptz, list text[]);
CREATE DOMAIN couple AS pair;
CREATE TYPE floats AS RANGE (subtype = float8, multirange_type_name = floatses);
-- A base type of an extension, as vectors and geometries are: its binary form is its own business. And one that has none.
CREATE TYPE opaque;
CREATE FUNCTION opaque_in(cstring) RETURNS opaque AS 'textin' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION opaque_out(opaque) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION opaque_send(opaque) RETURNS bytea AS 'byteasend' LANGUAGE internal IMMUTABLE STRICT;
CREATE TYPE opaque (INPUT = opaque_in, OUTPUT = opaque_out, SEND = opaque_send, LIKE = text);
CREATE TYPE mute;
CREATE FUNCTION mute_in(cstring) RETURNS mute AS 'textin' LANGUAGE internal IMMUTABLE STRICT;
CREATE FUNCTION mute_out(mute) RETURNS cstring AS 'textout' LANGUAGE internal IMMUTABLE STRICT;
CREATE TYPE mute (INPUT = mute_in, OUTPUT = mute_out, LIKE = text);
