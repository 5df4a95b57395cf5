//! The rows of a run as Parquet, for DuckDB, pandas, Polars and every warehouse.
//!
//! Main function: [`write()`]. The columns are those of `requests.csv`, in its order; all may be null.
//! Uncompressed, plain types: a whole number is `INT64`, a number `DOUBLE`, a truth `BOOLEAN`, all else
//! a text, of headers the JSON. What the run was stands in the file's metadata.

use std::borrow::Borrow;
use std::io::Write;
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{BoolType, ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

use super::verdict::Verdict;
use crate::artifact::{Report, RequestRow, row_schema};

/// Rows of a group; a group is in memory as a whole.
const GROUP_ROWS: usize = 65_536;

/// Writes all rows, in their order. Without rows it is a file of no rows, with all columns.
///
/// # Errors
/// Where `out` refuses.
pub fn write(
    report: &Report,
    rows: &[impl Borrow<RequestRow>],
    out: impl Write + Send,
) -> Result<(), ParquetError> {
    let columns = columns();
    let fields: Vec<Arc<Type>> = columns
        .iter()
        .map(|(name, kind)| Ok(Arc::new(kind.of_file(name)?)))
        .collect::<Result<_, ParquetError>>()?;
    let schema = Type::group_type_builder("requests").with_fields(fields).build()?;
    let properties = WriterProperties::builder()
        .set_created_by(format!("bench-ci version {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(metadata(report)))
        .build();
    let mut file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
    for group in rows.chunks(GROUP_ROWS) {
        let cells: Vec<Map<String, Value>> = group.iter().map(|row| row.borrow().cells()).collect();
        let mut writer = file.next_row_group()?;
        for (name, kind) in &columns {
            let column = writer.next_column()?;
            let mut column = column.expect("the file has a column for each of ours");
            let values: Vec<Option<&Value>> =
                cells.iter().map(|row| row.get(name).filter(|value| !is_nothing(value))).collect();
            kind.write(&mut column, &values)?;
            column.close()?;
        }
        writer.close()?;
    }
    file.close()?;
    Ok(())
}

/// A request without headers has none, as in CSV.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_object().is_some_and(Map::is_empty)
}

fn metadata(report: &Report) -> Vec<KeyValue> {
    let verdict = Verdict::of(report);
    [
        ("bench-ci.schema", report.schema.clone()),
        ("bench-ci.version", report.tool.version.clone()),
        ("bench-ci.run_id", report.run.id.clone()),
        ("bench-ci.name", report.run.name.clone()),
        ("bench-ci.started_at", report.run.started_at.clone()),
        ("bench-ci.server", report.server.kind.name().to_owned()),
        ("bench-ci.outcome", format!("{}: {}", verdict.word.text(), verdict.sentence)),
    ]
    .map(|(key, value)| KeyValue::new(key.to_owned(), value))
    .to_vec()
}

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Whole,
    Number,
    Truth,
    Text,
}

impl Kind {
    /// From the column's JSON Schema, where a type may stand beside `null`.
    fn of_schema(schema: &Value) -> Self {
        let named = match schema.get("type") {
            Some(Value::String(name)) => Some(name.as_str()),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).find(|name| *name != "null")
            }
            _ => None,
        };
        match named {
            Some("integer") => Kind::Whole,
            Some("number") => Kind::Number,
            Some("boolean") => Kind::Truth,
            _ => Kind::Text,
        }
    }

    fn of_file(self, name: &str) -> Result<Type, ParquetError> {
        let (physical, logical) = match self {
            Kind::Whole => (Physical::INT64, None),
            Kind::Number => (Physical::DOUBLE, None),
            Kind::Truth => (Physical::BOOLEAN, None),
            Kind::Text => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        Type::primitive_type_builder(name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
    }

    fn write(
        self,
        column: &mut SerializedColumnWriter<'_>,
        values: &[Option<&Value>],
    ) -> Result<(), ParquetError> {
        match self {
            Kind::Whole => fill::<Int64Type>(column, values, Value::as_i64),
            Kind::Number => fill::<DoubleType>(column, values, Value::as_f64),
            Kind::Truth => fill::<BoolType>(column, values, Value::as_bool),
            Kind::Text => fill::<ByteArrayType>(column, values, |value| {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                Some(ByteArray::from(text.into_bytes()))
            }),
        }
    }
}

/// Values, and for each row whether it has one. A value that is not of the column's type is null.
fn fill<T: DataType>(
    column: &mut SerializedColumnWriter<'_>,
    values: &[Option<&Value>],
    of: impl Fn(&Value) -> Option<T::T>,
) -> Result<(), ParquetError> {
    let found: Vec<Option<T::T>> = values.iter().map(|value| of((*value)?)).collect();
    let levels: Vec<i16> = found.iter().map(|value| i16::from(value.is_some())).collect();
    let found: Vec<T::T> = found.into_iter().flatten().collect();
    column.typed::<T>().write_batch(&found, Some(&levels), None)?;
    Ok(())
}

/// Name and kind of each column of a row.
fn columns() -> Vec<(String, Kind)> {
    let schema = row_schema();
    let properties = schema.get("properties").and_then(Value::as_object);
    let properties = properties.expect("a row is an object with named fields");
    properties.iter().map(|(name, schema)| (name.clone(), Kind::of_schema(schema))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the schema's form: where it changed, columns would silently become texts.
    #[test]
    fn every_kind_of_column_is_known() {
        let columns = columns();
        for (name, kind) in [
            ("index", Kind::Whole),
            ("planned_s", Kind::Number),
            ("ttft_ms", Kind::Number),
            ("prompt_tokens", Kind::Whole),
            ("status", Kind::Whole),
            ("terminated", Kind::Truth),
            ("outcome", Kind::Text),
            ("failure", Kind::Text),
            ("server_headers", Kind::Text),
        ] {
            let found = columns.iter().find(|(column, _)| column == name);
            assert_eq!(found.map(|(_, kind)| *kind), Some(kind), "{name}");
        }
    }
}
