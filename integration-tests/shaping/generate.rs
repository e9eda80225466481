//! Random expressions of every type, and random rows with the edges of each type among them.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// The type of an expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Int2,
    Int4,
    Int8,
    Numeric,
    Float4,
    Float8,
    Text,
    Date,
    Timestamp,
    TimestampTz,
    Jsonb,
    Uuid,
}

use Kind::{Boolean, Date, Float4, Float8, Int2, Int4, Int8, Jsonb, Numeric, Text, Timestamp, TimestampTz, Uuid};

pub(super) const KINDS: [Kind; 13] =
    [Boolean, Int2, Int4, Int8, Numeric, Float4, Float8, Text, Date, Timestamp, TimestampTz, Jsonb, Uuid];

/// Columns: name, type, and values as SQL literals; NULL is among them always.
pub(super) const COLUMNS: [(&str, &str, &[&str]); 19] = [
    ("b", "boolean", &["true", "false"]),
    ("i2", "smallint", &["0", "1", "-7", "32767", "-32768"]),
    ("i", "integer", &["0", "1", "-1", "42", "2147483647", "-2147483648"]),
    ("k", "integer", &["0", "2", "3", "-5", "100", "7"]),
    ("j", "bigint", &["0", "1", "-3", "9223372036854775807", "-9223372036854775808", "9007199254740993"]),
    (
        "n",
        "numeric",
        &["0", "1.50", "-0.001", "12345678901234567890.123", "'NaN'", "'Infinity'", "'-Infinity'", "1e-20", "9999.5"],
    ),
    ("p", "numeric(10,2)", &["0", "1", "-2.5", "99999999.99", "0.01", "3.33"]),
    ("f4", "real", &["0", "0.1", "-1.5", "3.4e38", "1e-45", "'NaN'", "'Infinity'", "16777217"]),
    (
        "f",
        "double precision",
        &["0", "'-0'", "0.1", "-2.5", "1e300", "5e-324", "'NaN'", "'Infinity'", "'-Infinity'", "1e15", "123456.789"],
    ),
    (
        "t",
        "text",
        &[
            "''",
            "'abc'",
            "'Äöß İ Ǆ'",
            "'a%b_c'",
            "'  x y '",
            "'12'",
            "'-3.5'",
            "E'a\\\\b'",
            "'true'",
            "'🦀é'",
            "'2024-02-29'",
        ],
    ),
    ("u", "varchar(20)", &["''", "'b'", "'abcabc'", "'x,y,,z'", "'%'", "'ABC'", "'7'"]),
    (
        "d",
        "date",
        &[
            "'2024-02-29'",
            "'1999-12-31'",
            "'0044-03-15 BC'",
            "'infinity'",
            "'-infinity'",
            "'2000-01-01'",
            "'2026-11-24'",
            "'5874897-12-31'",
        ],
    ),
    (
        "ts",
        "timestamp",
        &[
            "'2024-02-29 23:59:59.999999'",
            "'1969-12-31 23:00:00.5'",
            "'0001-01-01 00:00:00 BC'",
            "'infinity'",
            "'2026-11-24 10:00:00.123'",
            "'2000-01-01'",
        ],
    ),
    (
        "tz",
        "timestamptz",
        &[
            "'2024-12-30 12:00:00+00'",
            "'-infinity'",
            "'2021-01-03 23:30:00+01'",
            "'4713-01-01 00:00:00+00 BC'",
            "'2026-11-24 10:00:00.5+00'",
        ],
    ),
    (
        "js",
        "jsonb",
        &[
            "'{\"a\": 1.50, \"b\": \"x\\\"y\", \"c\": [1, null, {\"a\": true}], \"\": {}}'",
            "'[10, \"z\", null]'",
            "'\"lone\"'",
            "'5'",
            "'null'",
            "'{}'",
            "'[]'",
        ],
    ),
    ("id", "uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"]),
    ("ba", "bytea", &["'\\x'", "'\\x00ff10'"]),
    ("mood", "mood", &["'sad'", "'very happy'"]),
    ("c", "char(5)", &["'ab'", "'abcde'", "''"]),
];

/// The chance in a test, and what is made of it.
pub(super) struct Generator {
    chance: StdRng,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Generator { chance: StdRng::seed_from_u64(seed) }
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.choose(&mut self.chance).expect("something to choose from")
    }

    fn roll(&mut self, sides: u32) -> u32 {
        self.chance.random_range(0..sides)
    }

    /// A row as SQL: a value for each column, NULL now and then.
    pub(super) fn row(&mut self) -> String {
        let values = COLUMNS.map(|(_, kind, values)| {
            let value = if self.roll(8) == 0 { "NULL" } else { self.one(values) };
            format!("({value})::{kind}")
        });
        values.join(", ")
    }

    /// An expression of any type.
    pub(super) fn expression(&mut self) -> String {
        let kind = *KINDS.choose(&mut self.chance).expect("a kind");
        self.of(kind, 3)
    }

    /// Now and then without the parentheses that would make it safe.
    fn join(&mut self, left: String, operator: &str, right: String) -> String {
        match self.roll(6) {
            0 => format!("{left} {operator} {right}"),
            1 => format!("({left}) {operator} {right}"),
            _ => format!("(({left}) {operator} ({right}))"),
        }
    }

    fn of(&mut self, kind: Kind, depth: u32) -> String {
        if depth == 0 || self.roll(9) == 0 {
            return self.leaf(kind);
        }
        let deep = depth - 1;
        if self.roll(5) == 0 {
            return self.choice(kind, deep);
        }
        match kind {
            Boolean => self.boolean(deep),
            Int2 => self.number(Int2, &["+", "-", "*", "/", "%"], deep),
            Int4 => self.int4(deep),
            Int8 => self.number(Int8, &["+", "-", "*", "/", "%"], deep),
            Numeric => self.numeric(deep),
            Float4 => self.number(Float4, &["+", "-", "*", "/"], deep),
            Float8 => self.number(Float8, &["+", "-", "*", "/"], deep),
            Text => self.text(deep),
            Date => self.date(deep),
            Timestamp | TimestampTz => self.moment(kind, deep),
            Jsonb => {
                format!("({} -> {})", self.of(Jsonb, deep), self.one(&["'a'", "'c'", "0", "-1", "'b'", "2", "i2"]))
            }
            Uuid => format!("({})::text::uuid", self.of(Uuid, deep)),
        }
    }

    fn leaf(&mut self, kind: Kind) -> String {
        let from: &[&str] = match kind {
            Boolean => &["b", "true", "NULL::boolean", "b"],
            Int2 => &["i2", "i2", "3::smallint", "(-1)::int2"],
            Int4 => &["i", "k", "k", "0", "7", "-1", "2147483647", "CAST('12' AS integer)"],
            Int8 => &["j", "j", "5000000000", "2::bigint"],
            Numeric => &["n", "p", "p", "1.5", "0.0", "100.00", "1e3", ".25", "'2.50'::numeric"],
            Float4 => &["f4", "0.5::real", "'1e10'::float4"],
            Float8 => &["f", "f", "2.5::double precision", "'NaN'::float8", "1e10::float8"],
            Text => &["t", "u", "t", "'abc'::text", "'x'::text", "u", "''::text", "mood::text", "c::text"],
            Date => &["d", "d", "date '2024-03-01'", "'2000-02-29'::date"],
            Timestamp => &["ts", "timestamp '2024-03-01 12:34:56.789'", "ts"],
            TimestampTz => &["tz", "timestamptz '2024-03-01 12:34:56.789+02'", "tz"],
            Jsonb => &["js"],
            Uuid => &["id", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid", "id"],
        };
        self.one(from).to_owned()
    }

    /// What can be had of any type.
    fn choice(&mut self, kind: Kind, deep: u32) -> String {
        let (a, b) = (self.of(kind, deep), self.of(kind, deep));
        match self.roll(4) {
            0 => format!("CASE WHEN {} THEN {a} ELSE {b} END", self.of(Boolean, deep)),
            1 => format!("CASE {} WHEN {} THEN {a} WHEN 7 THEN {b} END", self.of(Int4, deep), self.of(Int4, deep)),
            2 if kind != Jsonb => format!("nullif({a}, {b})"),
            _ => format!("coalesce({a}, {b})"),
        }
    }

    fn number(&mut self, kind: Kind, operators: &[&str], deep: u32) -> String {
        if self.roll(4) == 0 {
            let from = *[Int2, Int4, Int8, Numeric, Float4, Float8].choose(&mut self.chance).expect("a number");
            let name = match kind {
                Int2 => "smallint",
                Int4 => "int",
                Int8 => "bigint",
                Numeric => "numeric",
                Float4 => "real",
                _ => "double precision",
            };
            return format!("({})::{name}", self.of(from, deep));
        }
        if self.roll(6) == 0 {
            let function = self.one(&["abs", "-", "greatest", "least", "text"]);
            let (a, b) = (self.of(kind, deep), self.of(kind, deep));
            return match function {
                "-" => format!("(- ({a}))"),
                "abs" => format!("abs({a})"),
                "text" => format!("({a})::text::{}", if kind == Int2 { "int2" } else { "numeric::float8" }),
                other => format!("{other}({a}, {b})"),
            };
        }
        let (left, right) = (self.of(kind, deep), self.of(kind, deep));
        let operator = self.one(operators);
        self.join(left, operator, right)
    }

    fn int4(&mut self, deep: u32) -> String {
        match self.roll(5) {
            0 => {
                let function = self.one(&["length", "char_length", "octet_length"]);
                format!("{function}({})", self.of(Text, deep))
            }
            1 => format!("strpos({}, {})", self.of(Text, deep), self.leaf(Text)),
            2 => format!("({} - {})", self.leaf(Date), self.leaf(Date)),
            3 => format!("({})::int", self.of(Boolean, deep)),
            _ => self.number(Int4, &["+", "-", "*", "/", "%"], deep),
        }
    }

    fn numeric(&mut self, deep: u32) -> String {
        match self.roll(5) {
            0 => {
                let unit =
                    self.one(&["year", "isoyear", "quarter", "month", "week", "day", "doy", "dow", "isodow", "epoch"]);
                let kind = *[Date, Timestamp, TimestampTz].choose(&mut self.chance).expect("a kind");
                format!("extract({unit} FROM {})", self.of(kind, deep))
            }
            1 => {
                let unit = self.one(&["hour", "minute", "second", "milliseconds", "microseconds"]);
                format!("extract({unit} FROM {})", self.of(Timestamp, deep))
            }
            2 => format!("({})::numeric(12,{})", self.of(Numeric, deep), self.one(&["0", "2", "5"])),
            _ => {
                let kind = *[Numeric, Int4, Int8].choose(&mut self.chance).expect("a kind");
                let (left, right) = (self.of(Numeric, deep), self.of(kind, deep));
                let operator = self.one(&["+", "-", "*", "/", "%"]);
                self.join(left, operator, right)
            }
        }
    }

    fn text(&mut self, deep: u32) -> String {
        let count = self.one(&["0", "1", "2", "-1", "5", "k", "-2"]).to_owned();
        let (a, b) = (self.of(Text, deep), self.leaf(Text));
        match self.roll(16) {
            0 => format!("{}({a})", self.one(&["lower", "upper", "btrim", "ltrim", "rtrim", "md5"])),
            1 => format!("{}({a}, {count})", self.one(&["left", "right"])),
            2 => format!("substring({a} FROM {count})"),
            3 => format!("substr({a}, {count}, {})", self.one(&["0", "2", "-1", "i"])),
            4 => format!("replace({a}, {b}, 'é')"),
            5 => format!("split_part({a}, {}, {count})", self.one(&["','", "'b'", "''", "'bc'"])),
            6 => format!("concat({a}, {}, {}, NULL)", self.of(Int4, deep), self.of(Boolean, deep)),
            7 => format!("concat_ws({}, {a}, {b}, {})", self.one(&["'-'", "', '", "u"]), self.of(Float8, deep)),
            8 => {
                let kind = *KINDS.choose(&mut self.chance).expect("a kind");
                format!("({})::text", self.of(kind, deep))
            }
            9 => format!("({} ->> {})", self.of(Jsonb, deep), self.one(&["'a'", "'b'", "0", "1", "-1", "''"])),
            10 => format!(
                "trim({} {} FROM {a})",
                self.one(&["BOTH", "LEADING", "TRAILING"]),
                self.one(&["'a'", "' '", "'xy '"])
            ),
            11 => format!("greatest({a} COLLATE \"C\", {b})"),
            12 => format!("{}({a} COLLATE \"C\")", self.one(&["lower", "upper"])),
            13 => format!("encode({}, 'hex')", self.one(&["ba", "ba"])),
            14 => {
                let other = *[Int4, Numeric, Boolean, Date].choose(&mut self.chance).expect("a kind");
                let right = self.of(other, deep);
                self.join(a, "||", right)
            }
            _ => self.join(a, "||", b),
        }
    }

    fn date(&mut self, deep: u32) -> String {
        match self.roll(4) {
            0 => format!("({})::date", self.of(Timestamp, deep)),
            1 => format!("({})::date", self.of(TimestampTz, deep)),
            2 => format!("({} - {})", self.of(Date, deep), self.one(&["1", "k", "i2"])),
            _ => format!("({} + {})", self.of(Date, deep), self.one(&["1", "k", "400", "i2"])),
        }
    }

    fn moment(&mut self, kind: Kind, deep: u32) -> String {
        let unit = self.one(&[
            "microseconds",
            "milliseconds",
            "second",
            "minute",
            "hour",
            "day",
            "week",
            "month",
            "quarter",
            "year",
        ]);
        match self.roll(4) {
            0 if kind == TimestampTz => format!("date_trunc('{unit}', {})", self.of(Date, deep)),
            0 | 1 => format!("date_trunc('{unit}', {})", self.of(kind, deep)),
            2 => format!("({})::{}", self.of(Date, deep), if kind == Timestamp { "timestamp" } else { "timestamptz" }),
            _ => {
                let other = if kind == Timestamp { TimestampTz } else { Timestamp };
                let name = if kind == Timestamp { "timestamp without time zone" } else { "timestamp with time zone" };
                format!("CAST({} AS {name})", self.of(other, deep))
            }
        }
    }

    fn boolean(&mut self, deep: u32) -> String {
        let (a, b) = (self.of(Boolean, deep), self.of(Boolean, deep));
        match self.roll(14) {
            0 => self.join(a, "AND", b),
            1 => self.join(a, "OR", b),
            2 => format!("NOT {a}"),
            3 => {
                format!("({a}) IS {}", self.one(&["TRUE", "NOT TRUE", "FALSE", "NOT FALSE", "UNKNOWN", "NOT UNKNOWN"]))
            }
            4 => {
                let kind = *KINDS.choose(&mut self.chance).expect("a kind");
                format!("({}) IS {}NULL", self.of(kind, deep), self.one(&["", "NOT "]))
            }
            5 => format!(
                "({}) {} {}",
                self.of(Text, deep),
                self.one(&["LIKE", "NOT LIKE", "ILIKE", "NOT ILIKE"]),
                self.one(&["'a%'", "'%b%'", "'_b_'", "'%\\%%'", "'%é'", "t", "u", "'A%C'", "'%a_b%'", "'äÖ%'",])
            ),
            6 => format!("({}) IN (1, 2.5, NULL, 42)", self.of(Int4, deep)),
            7 => format!("({}) NOT IN ('abc', 'b', '')", self.of(Text, deep)),
            8 => {
                let kind = *[Int4, Numeric, Float8, Date].choose(&mut self.chance).expect("a kind");
                let not = self.one(&["", "NOT "]);
                format!("({}) {not}BETWEEN {} AND {}", self.of(kind, deep), self.of(kind, deep), self.leaf(kind))
            }
            9 => {
                let kind = *[Int2, Int8, Text, Float4, Timestamp, Uuid].choose(&mut self.chance).expect("a kind");
                let not = self.one(&["", "NOT "]);
                format!("({}) IS {not}DISTINCT FROM ({})", self.of(kind, deep), self.of(kind, deep))
            }
            10 => {
                let (left, right) = (self.of(Text, deep), self.of(Text, deep));
                format!("(({left}) COLLATE \"C\" {} ({right}))", self.one(&["<", "<=", ">", ">="]))
            }
            11 => {
                let moments = [Date, Timestamp, TimestampTz];
                let (left, right) =
                    (*moments.choose(&mut self.chance).expect("one"), *moments.choose(&mut self.chance).expect("one"));
                let (left, right) = (self.of(left, deep), self.of(right, deep));
                let operator = self.one(&["=", "<", ">=", "<>"]);
                self.join(left, operator, right)
            }
            12 => format!("starts_with({}, {})", self.of(Text, deep), self.leaf(Text)),
            _ => {
                let numbers = [Int2, Int4, Int8, Numeric, Float4, Float8];
                let (left, right) =
                    (*numbers.choose(&mut self.chance).expect("one"), *numbers.choose(&mut self.chance).expect("one"));
                let (left, right) = (self.of(left, deep), self.of(right, deep));
                let operator = self.one(&["=", "<>", "<", "<=", ">", ">=", "!="]);
                self.join(left, operator, right)
            }
        }
    }
}
