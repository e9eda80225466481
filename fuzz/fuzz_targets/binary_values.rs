//! Whatever bytes stand where a value in binary form should: they become a text that is written as JSON, or are refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use walbridge::decode::{binary, json, shape};
use walbridge::event::{Column, Shape};

fuzz_target!(|input: (u16, &[u8])| {
    let (type_oid, bytes) = (u32::from(input.0 % 6200), input.1);
    let shape = shape::builtin(type_oid).unwrap_or(Shape::TEXT);
    let column = Column { name: String::new(), type_oid, type_modifier: -1, shape };
    let mut text = Vec::new();
    if binary::render(&column, bytes, &mut text).is_some() {
        let mut out = Vec::new();
        json::write_cell(shape, &text, &mut out);
        serde_json::from_slice::<serde_json::Value>(&out).expect("JSON that any parser reads");
    }
});
