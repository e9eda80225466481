//! One column of a Parquet file: the values gathered for the next row group, and for each place whether there is one.

use bytes::Bytes;
use parquet::basic::{self, LogicalType, Repetition};
use parquet::data_type::{
    BoolType, ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType, FloatType,
    Int32Type, Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedColumnWriter;
use parquet::schema::types::{Type, TypePtr};

/// See the module.
pub(super) struct Leaf {
    values: Values,
    /// How many optional or repeated fields there are on the way to a value, itself among them.
    depth: i16,
    /// For each place, how many of those are there; nothing where there are none.
    definitions: Vec<i16>,
    /// In a list, 1 for a place that goes on with the list of the place before.
    repetitions: Vec<i16>,
}

/// Values that are there, by their physical type.
pub(super) enum Values {
    Boolean(Vec<bool>),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Float(Vec<f32>),
    Double(Vec<f64>),
    Bytes(Vec<ByteArray>),
    Fixed(Vec<FixedLenByteArray>),
}

impl Leaf {
    fn at(depth: i16, values: Values) -> Self {
        Leaf { values, depth, definitions: Vec::new(), repetitions: Vec::new() }
    }

    /// A field that is always there.
    pub(super) fn required(values: Values) -> Self {
        Leaf::at(0, values)
    }

    /// A field that may be null; or the elements of a list, which may be empty.
    pub(super) fn optional(values: Values) -> Self {
        Leaf::at(1, values)
    }

    /// A field that may be null, in a group that may be.
    pub(super) fn in_group(values: Values) -> Self {
        Leaf::at(2, values)
    }

    /// A place without a value, although so much of the way to it is there.
    pub(super) fn push_null(&mut self, there: i16) {
        self.definitions.push(there);
    }

    /// A place whose value is put by `put`, if it can be: tells whether it was.
    pub(super) fn push(&mut self, put: impl FnOnce(&mut Values) -> Option<()>) -> bool {
        let is_put = put(&mut self.values).is_some();
        if self.depth > 0 {
            self.definitions.push(self.depth.saturating_sub(i16::from(!is_put)));
        }
        is_put
    }

    pub(super) fn push_number(&mut self, number: i64) {
        self.push(|values| values.put_int64(number));
    }

    pub(super) fn push_boolean(&mut self, value: Option<bool>) {
        self.push(
            |values| if let Values::Boolean(values) = values { value.map(|value| values.push(value)) } else { None },
        );
    }

    pub(super) fn push_text(&mut self, text: Option<&str>) {
        self.push_bytes(text.map(|text| Bytes::copy_from_slice(text.as_bytes())));
    }

    pub(super) fn push_bytes(&mut self, bytes: Option<Bytes>) {
        self.push(|values| values.put_bytes(bytes?));
    }

    /// A place with a list.
    pub(super) fn push_list<'a>(&mut self, elements: impl Iterator<Item = &'a str>) {
        let before = self.definitions.len();
        for element in elements {
            self.repetitions.push(i16::from(self.definitions.len() > before));
            self.push_text(Some(element));
        }
        if self.definitions.len() == before {
            self.repetitions.push(0);
            self.push_null(0);
        }
    }

    /// Writes what is gathered, and forgets it.
    pub(super) fn write(&mut self, column: &mut SerializedColumnWriter<'_>) -> Result<(), ParquetError> {
        let definitions = Some(&*self.definitions).filter(|_| self.depth > 0);
        let repetitions = Some(&*self.repetitions).filter(|repetitions| !repetitions.is_empty());
        let levels = (definitions, repetitions);
        match &mut self.values {
            Values::Boolean(values) => batch::<BoolType>(column, values, levels),
            Values::Int32(values) => batch::<Int32Type>(column, values, levels),
            Values::Int64(values) => batch::<Int64Type>(column, values, levels),
            Values::Float(values) => batch::<FloatType>(column, values, levels),
            Values::Double(values) => batch::<DoubleType>(column, values, levels),
            Values::Bytes(values) => batch::<ByteArrayType>(column, values, levels),
            Values::Fixed(values) => batch::<FixedLenByteArrayType>(column, values, levels),
        }?;
        self.definitions.clear();
        self.repetitions.clear();
        Ok(())
    }
}

fn batch<T: DataType>(
    column: &mut SerializedColumnWriter<'_>,
    values: &mut Vec<T::T>,
    (definitions, repetitions): (Option<&[i16]>, Option<&[i16]>),
) -> Result<(), ParquetError> {
    column.typed::<T>().write_batch(values, definitions, repetitions)?;
    values.clear();
    Ok(())
}

impl Values {
    pub(super) fn put_int64(&mut self, value: i64) -> Option<()> {
        let Values::Int64(values) = self else { return None };
        values.push(value);
        Some(())
    }

    pub(super) fn put_bytes(&mut self, value: impl Into<Bytes>) -> Option<()> {
        let Values::Bytes(values) = self else { return None };
        values.push(ByteArray::from(value.into()));
        Some(())
    }
}

/// A field with a value.
pub(super) fn primitive(
    name: &str,
    physical: basic::Type,
    logical: Option<LogicalType>,
    repetition: Repetition,
) -> Result<TypePtr, ParquetError> {
    let field = Type::primitive_type_builder(name, physical).with_logical_type(logical).with_repetition(repetition);
    field.build().map(TypePtr::new)
}

/// A field with fields.
pub(super) fn group(name: &str, fields: Vec<TypePtr>, repetition: Repetition) -> Result<TypePtr, ParquetError> {
    Type::group_type_builder(name).with_fields(fields).with_repetition(repetition).build().map(TypePtr::new)
}

/// A field with a list of texts, in the form that the format's specification asks for ("Lists").
pub(super) fn list(name: &str) -> Result<TypePtr, ParquetError> {
    let element = primitive("element", basic::Type::BYTE_ARRAY, Some(LogicalType::String), Repetition::REQUIRED)?;
    let elements = group("list", vec![element], Repetition::REPEATED)?;
    let field = Type::group_type_builder(name).with_logical_type(Some(LogicalType::List));
    field.with_repetition(Repetition::REQUIRED).with_fields(vec![elements]).build().map(TypePtr::new)
}
