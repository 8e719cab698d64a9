//! Cells of Arrow columns as text, values, instants and tags, whatever type the column has.

use std::borrow::Cow;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, LargeStringArray, MapArray, PrimitiveArray, StringArray, StringViewArray,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{
    DataType, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use schemas::time::{Precision, clip};

use super::rows::Tag;
use super::{Options, json_row, number};

/// A column and its name.
type Named<'a> = (&'a str, &'a ArrayRef);

/// A column of text.
pub(super) enum Text {
    /// 32-bit offsets.
    Utf8(StringArray),
    /// 64-bit offsets.
    Large(LargeStringArray),
    /// Views.
    View(StringViewArray),
    /// Numbers into a column of distinct texts; `None` for null.
    Dictionary(Vec<Option<usize>>, Box<Text>),
}

impl Text {
    /// The column, if it is text.
    pub(super) fn of(column: &ArrayRef) -> Option<Self> {
        match column.data_type() {
            DataType::Utf8 => Some(Self::Utf8(column.as_string().clone())),
            DataType::LargeUtf8 => Some(Self::Large(column.as_string().clone())),
            DataType::Utf8View => Some(Self::View(column.as_string_view().clone())),
            DataType::Dictionary(..) => {
                let dictionary = column.as_any_dictionary_opt()?;
                let texts = Self::of(dictionary.values())?;
                let numbers = if dictionary.values().is_empty() { Vec::new() } else { dictionary.normalized_keys() };
                let present = |row: usize, n: usize| dictionary.is_valid(row).then_some(n);
                let numbers = numbers.into_iter().enumerate().map(|(row, n)| present(row, n)).collect();
                Some(Self::Dictionary(numbers, Box::new(texts)))
            }
            _ => None,
        }
    }

    /// The column, which must be text.
    pub(super) fn required((name, column): Named<'_>) -> Result<Self, String> {
        Self::of(column).ok_or_else(|| wrong_type(name, column, "text"))
    }

    /// The column, which must be text, or integers that become text.
    pub(super) fn or_integers((name, column): Named<'_>) -> Result<Self, String> {
        if !column.data_type().is_integer() {
            return Self::of(column).ok_or_else(|| wrong_type(name, column, "text or integers"));
        }
        let texts = cast(column, &DataType::Utf8).map_err(|e| e.to_string())?;
        Ok(Self::Utf8(texts.as_string().clone()))
    }

    /// How many distinct texts there are at most, where rows are numbers of them.
    pub(super) fn distinct(&self) -> Option<usize> {
        match self {
            Self::Dictionary(_, texts) => Some(texts.len()),
            _ => None,
        }
    }

    /// The number of the text in this row; `None` for null, and where rows have no numbers.
    pub(super) fn number(&self, row: usize) -> Option<usize> {
        match self {
            Self::Dictionary(numbers, texts) => (*numbers.get(row)?).filter(|n| *n < texts.len()),
            _ => None,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Utf8(texts) => texts.len(),
            Self::Large(texts) => texts.len(),
            Self::View(texts) => texts.len(),
            Self::Dictionary(numbers, _) => numbers.len(),
        }
    }

    /// The text in this row; `None` for null.
    pub(super) fn get(&self, row: usize) -> Option<&str> {
        match self {
            Self::Utf8(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::Large(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::View(texts) => texts.is_valid(row).then(|| texts.value(row)),
            Self::Dictionary(numbers, texts) => texts.get((*numbers.get(row)?)?),
        }
    }
}

/// A column of values.
pub(super) struct Values(Float64Array);

impl Values {
    /// The column, which must hold numbers or booleans.
    pub(super) fn of((name, column): Named<'_>) -> Result<Self, String> {
        let data_type = column.data_type();
        if !(data_type.is_integer() || data_type.is_floating() || *data_type == DataType::Boolean) {
            return Err(wrong_type(name, column, "integers, floats or booleans"));
        }
        let values = cast(column, &DataType::Float64).map_err(|e| e.to_string())?;
        Ok(Self(values.as_primitive().clone()))
    }

    /// The value in this row.
    pub(super) fn get(&self, row: usize) -> Result<f64, String> {
        if self.0.is_null(row) {
            return Err("value is null".to_owned());
        }
        number::finite(self.0.value(row))
    }
}

/// A column of instants.
pub(super) enum Times {
    /// Counts of a unit that the column names.
    Stamps(PrimitiveArray<Int64Type>, Precision),
    /// Counts of the unit that the sender named beside the body.
    Numbers(PrimitiveArray<Int64Type>),
    /// RFC 3339, or numbers.
    Texts(Text),
}

impl Times {
    /// The column, which must hold timestamps, integers or text.
    pub(super) fn of((name, column): Named<'_>) -> Result<Self, String> {
        match column.data_type() {
            DataType::Timestamp(unit, _) => Ok(stamps(column, *unit)),
            data_type if data_type.is_integer() => {
                // Unsigned numbers past the signed range are refused: as nulls they would pass for "now".
                let exact = CastOptions { safe: false, ..CastOptions::default() };
                let numbers = cast_with_options(column, &DataType::Int64, &exact)
                    .map_err(|_| format!("column {name:?} holds a timestamp that is out of range"))?;
                Ok(Self::Numbers(numbers.as_primitive().clone()))
            }
            _ => match Text::of(column) {
                Some(texts) => Ok(Self::Texts(texts)),
                None => Err(wrong_type(name, column, "timestamps, integers or text")),
            },
        }
    }

    /// The instant in this row; arrival time for null.
    pub(super) fn get(&self, row: usize, options: &Options) -> Result<i64, String> {
        let (numbers, precision) = match self {
            Self::Texts(texts) => return texts.get(row).map_or(Ok(options.now), |text| number::instant(text, options)),
            Self::Stamps(numbers, precision) => (numbers, *precision),
            Self::Numbers(numbers) => (numbers, options.precision),
        };
        if numbers.is_null(row) {
            return Ok(options.now);
        }
        number::instant_of_units(numbers.value(row), precision)
    }
}

fn stamps(column: &ArrayRef, unit: TimeUnit) -> Times {
    match unit {
        TimeUnit::Second => {
            Times::Stamps(column.as_primitive::<TimestampSecondType>().reinterpret_cast(), Precision::Seconds)
        }
        TimeUnit::Millisecond => {
            Times::Stamps(column.as_primitive::<TimestampMillisecondType>().reinterpret_cast(), Precision::Millis)
        }
        TimeUnit::Microsecond => {
            Times::Stamps(column.as_primitive::<TimestampMicrosecondType>().reinterpret_cast(), Precision::Micros)
        }
        TimeUnit::Nanosecond => {
            Times::Stamps(column.as_primitive::<TimestampNanosecondType>().reinterpret_cast(), Precision::Nanos)
        }
    }
}

/// The column named `tags`.
pub(super) enum Tags {
    /// A JSON object in every row.
    Json(Text),
    /// A map in every row, and its keys and values of all rows.
    Map(Box<MapArray>, Text, Text),
}

impl Tags {
    /// The column, which must hold maps of text or JSON text.
    pub(super) fn of((name, column): Named<'_>) -> Result<Self, String> {
        let wrong = || wrong_type(name, column, "maps of text to text, or JSON text");
        match column.as_map_opt() {
            Some(map) => {
                let keys = Text::of(map.keys()).ok_or_else(wrong)?;
                let values = Text::of(map.values()).ok_or_else(wrong)?;
                Ok(Self::Map(Box::new(map.clone()), keys, values))
            }
            None => Text::of(column).map(Self::Json).ok_or_else(wrong),
        }
    }

    /// The tags in this row; none for null.
    pub(super) fn get(&self, row: usize) -> Result<Vec<Tag<'_>>, String> {
        match self {
            Self::Json(texts) => match texts.get(row).map(str::trim) {
                None | Some("") => Ok(Vec::new()),
                Some(text) => json_row::tags(text),
            },
            Self::Map(map, keys, values) => {
                if map.is_null(row) {
                    return Ok(Vec::new());
                }
                let offsets = map.value_offsets();
                let entries = offsets[row] as usize..offsets[row + 1] as usize;
                let tag =
                    |i: usize| Some((Cow::Borrowed(keys.get(i)?), Cow::Borrowed(values.get(i).unwrap_or_default())));
                entries.map(|i| tag(i).ok_or_else(|| "a tag has no name".to_owned())).collect()
            }
        }
    }
}

fn wrong_type(name: &str, column: &ArrayRef, wanted: &str) -> String {
    format!("column {:?} must hold {wanted}, not {}", clip(name), column.data_type())
}
