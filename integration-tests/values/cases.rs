//! Every type, with an SQL expression over `g` that makes random values and edges of it (`generate.sql`).

/// A type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// Its name in SQL.
    pub(crate) name: &'static str,
    /// A value: an expression over `g`, in text where a cast makes the value.
    pub(crate) value: &'static str,
}

const fn case(name: &'static str, value: &'static str) -> Case {
    Case { name, value }
}

/// Types whose binary form is known; arrays of them are too.
pub(crate) const BINARY: &[Case] = &[
    case("bool", "random() < 0.5"),
    case("int2", "gen.i(-32768, 32767)"),
    case("int4", "gen.i(-2147483648, 2147483647)"),
    case("int8", "CASE g % 3 WHEN 0 THEN gen.i(-9007199254740994, 9007199254740994) ELSE gen.i8() END"),
    case("oid", "gen.i(0, 4294967295)"),
    case("xid", "gen.i(0, 4294967295)::text"),
    case("cid", "gen.i(0, 4294967295)::text"),
    case("xid8", "(gen.i8()::numeric + 9223372036854775808)::text"),
    case("tid", "format('(%s,%s)', gen.i(0, 4294967295), gen.i(0, 65535))"),
    case("float4", "gen.f4(g)"),
    case("float8", "gen.f8(g)"),
    case("numeric", "gen.numeric(g)"),
    case("numeric(12,4)", "gen.i(-999999999999, 999999999999)::numeric / 10000"),
    case("money", "(gen.i8() >> gen.i(0, 60)::int)::numeric / 100"),
    case("text", "gen.nasty(g)"),
    case("varchar(20)", "left(gen.nasty(g), 20)"),
    case("char(5)", "left(gen.nasty(g), 5)"),
    case("name", "gen.nasty(g)"),
    case("refcursor", "gen.nasty(g)"),
    case("bytea", "decode(gen.hex(2 * gen.i(0, 30)::int), 'hex')"),
    case("json", "gen.pick(' ', '') || gen.json(g) || gen.pick(E'\\n', '')"),
    case("jsonb", "CASE WHEN g % 7 = 0 THEN '1e40' ELSE gen.json(g) END"),
    case("jsonpath", "gen.pick('$.a[*] ? (@ > 1)', 'strict $.\"b c\"', '$[*].x.type()')"),
    case(
        "xml",
        "gen.pick('<a>b</a>', '', 'text &amp; <b/>', '<?xml version=\"1.0\" encoding=\"UTF-8\"?><é/>', \
         '<?xml version=\"1.1\" standalone=\"yes\"?>\n<c/>')",
    ),
    case("uuid", "gen.hex(32)"),
    case("date", "gen.date(g)"),
    case("time", "gen.time(g)"),
    case(
        "timetz",
        "gen.time(g)::text || gen.pick('+', '-') || gen.i(0, 15) || gen.pick('', ':' || gen.i(10, 59), ':30:' || gen.i(10, 59))",
    ),
    case("timestamp", "gen.ts(g)"),
    case("timestamptz", "gen.ts(g)::timestamptz"),
    case("interval", "gen.interval(g)"),
    case("inet", "gen.inet(g)"),
    case("cidr", "network(gen.inet(g))"),
    case("macaddr", "gen.hex(12)"),
    case("macaddr8", "gen.hex(16)"),
    case("bit(7)", "gen.bits(7)"),
    case("varbit", "gen.bits(gen.i(0, 40))"),
    case("point", "gen.point(g)"),
    case("lseg", "format('[%s,%s]', gen.point(g), gen.point(g + 1))"),
    case("box", "format('%s,%s', gen.point(g), gen.point(g + 1))"),
    case(
        "path",
        "CASE g % 2 WHEN 0 THEN format('[%s,%s]', gen.point(g), gen.point(g)) ELSE format('(%s,%s,(1,2))', gen.point(g), gen.point(g)) END",
    ),
    case("polygon", "format('(%s,%s)', gen.point(g), gen.point(g + 3))"),
    case("circle", "format('<(%s,%s),%s>', gen.f8(6), gen.f8(5), abs(gen.f8(6)))"),
    case("line", "format('{%s,%s,%s}', gen.i(1, 9), gen.f8(6), gen.f8(5))"),
    case(
        "tsvector",
        "setweight(to_tsvector('english', 'the quick brown foxes jump'), gen.pick('A', 'B', 'C', 'D')::\"char\") \
         || array_to_tsvector(ARRAY['x' || gen.nasty(g)]) || to_tsvector('simple', repeat('a b ', g % 9))",
    ),
    case("pg_lsn", "gen.hex(gen.i(1, 8)::int) || '/' || gen.hex(gen.i(1, 8)::int)"),
    case("txid_snapshot", "gen.pick('10:20:10,14,15', '5:5:', '1:9223372036854775807:')"),
    case("pg_snapshot", "gen.pick('10:20:10,14,15', '5:5:')"),
    case("int2vector", "gen.pick('1 2 3', '', '-32768')"),
    case("oidvector", "gen.pick('1 4294967295', '')"),
    case(
        "int4range",
        "int4range(gen.pick(NULL, gen.i(-9999, 0)::text)::int, gen.i(0, 9999)::int, gen.pick('[]', '()', '(]', '[)'))",
    ),
    case("int8range", "int8range(gen.i(-9007199254740993, 0), gen.pick(NULL, gen.i(0, 9007199254740993)::text)::int8)"),
    case("numrange", "numrange(-abs(gen.numeric(4)), abs(gen.numeric(4)), gen.pick('[]', '()', '(]', '[)'))"),
    case("tsrange", "tsrange('-infinity', gen.ts(g), gen.pick('[]', '()'))"),
    case("tstzrange", "tstzrange(gen.ts(g)::timestamptz, 'infinity', gen.pick('[]', '()'))"),
    case("daterange", "daterange('2000-01-01'::date - gen.i(0, 900000)::int, gen.pick(NULL, '2026-11-24')::date)"),
    case(
        "int4multirange",
        "int4multirange(int4range(gen.i(-9, 0)::int, gen.i(0, 9)::int), int4range(gen.i(90, 99)::int, NULL))",
    ),
    case("int8multirange", "gen.pick('{}', '{[1,2),[5,)}', '{(,)}')"),
    case("nummultirange", "nummultirange(numrange(-abs(gen.numeric(4)), abs(gen.numeric(4))))"),
    case("tsmultirange", "tsmultirange(tsrange('-infinity', gen.ts(g)))"),
    case(
        "tstzmultirange",
        "tstzmultirange(tstzrange(gen.ts(g)::timestamptz, 'infinity'), tstzrange(NULL, '-infinity', '(]'))",
    ),
    case(
        "datemultirange",
        "datemultirange(daterange(least('2000-01-01', gen.date(0)), NULL), daterange(NULL, '1000-01-01'))",
    ),
];

/// Types of users whose binary form is known; arrays of them are too.
pub(crate) const BINARY_OF_USERS: &[Case] = &[
    case("mood", "gen.pick('sad', 'it''s \"ok\"', 'NULL', 'a,b', 'é 🦀', '{}')"),
    case("price", "gen.i(-9999999999, 9999999999)::numeric / 100"),
    case("cheap", "gen.i(-9999, 9999)::numeric / 100"),
    case("email", "gen.nasty(g)"),
    case("citext", "gen.nasty(g)"),
    case("handle", "gen.nasty(g)"),
    case("feeling", "gen.pick('sad', 'a,b')"),
];

/// Types that make a stream come as text; arrays of them do too.
pub(crate) const TEXT_ONLY: &[Case] = &[
    case("\"char\"", "gen.pick('a', '', ' ', '\\', '\"')"),
    case("tsquery", "gen.pick('a & b', '!a | ( b <-> c:*A )', '''it''''s''')"),
    case("regclass", "gen.pick('pg_class', 'pg_proc')"),
    case("regtype", "gen.pick('integer', 'mood', 'text[]')"),
    case("account", "gen.hex(32)"),
    case("pair", "(gen.i(0, 9)::int, gen.nasty(g))::pair"),
    case(
        "nested",
        "((gen.i(0, 9)::int, gen.nasty(g))::pair, 'sad'::mood, gen.ts(g)::timestamptz, ARRAY[gen.nasty(g), NULL])::nested",
    ),
    case("couple", "(NULL, gen.nasty(g))::pair"),
    case("floats", "floats(-abs(gen.f8(6)), abs(gen.f8(5)))"),
    case("floatses", "gen.pick('{}', '{[0.1,1e+20)}')"),
    case("hstore", "hstore(ARRAY[gen.nasty(g + 1), 'k'], ARRAY[gen.nasty(g), NULL])"),
    case("ltree", "gen.pick('Top.Science.Astronomy', 'a', '')"),
    case("lquery", "gen.pick('*.foo.*{1,2}', 'a|b')"),
    case("cube", "gen.pick('(1,2),(3,4)', '(0)', '(1.5)')"),
    case("seg", "gen.pick('1 .. 2', '~1.50', '<3')"),
    case("isbn13", "gen.pick('978-0-393-04002-9')"),
    case("query_int", "gen.pick('1&2', '!1|(2&3)')"),
    case("opaque", "gen.nasty(g)"),
    case("opaque[]", "ARRAY[gen.nasty(g), NULL]::opaque[]"),
    case("mute", "gen.nasty(g)"),
    case("aclitem", "'postgres=r/postgres'"),
];

impl Case {
    /// An expression of the type.
    pub(crate) fn expression(&self) -> String {
        format!("({})::{}", self.value, self.name)
    }

    /// The type's array without a modifier's brackets in the way: `numeric(12,4)[]`.
    pub(crate) fn array_name(&self) -> String {
        format!("{}[]", self.name)
    }

    /// Arrays of the type: empty, with NULLs, of two and three dimensions, with bounds of their own.
    pub(crate) fn array_expression(&self) -> String {
        let (value, array) = (self.expression(), self.array_name());
        format!(
            "(CASE g % 6 WHEN 0 THEN '{{}}'::{array} WHEN 1 THEN ARRAY[{value}, NULL, {value}]::{array} \
             WHEN 2 THEN ARRAY[ARRAY[{value}, {value}], ARRAY[NULL, {value}]]::{array} \
             WHEN 3 THEN ('[0:2]=' || ARRAY[{value}, NULL, {value}]::{array}::text)::{array} \
             WHEN 4 THEN ('[-5:-4][7:7]=' || ARRAY[ARRAY[{value}], ARRAY[{value}]]::{array}::text)::{array} \
             ELSE ARRAY[ARRAY[ARRAY[{value}], ARRAY[{value}]], ARRAY[ARRAY[{value}], ARRAY[{value}]]]::{array} END)"
        )
    }

    /// Whether arrays of it can be made of several dimensions by `ARRAY[…]`: the vectors are arrays themselves.
    pub(crate) fn nests(&self) -> bool {
        !self.name.ends_with("vector") || self.name == "tsvector"
    }
}
