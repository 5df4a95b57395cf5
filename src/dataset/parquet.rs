//! Parquet, as most datasets of the Hub are kept: each row as the JSON object that it stands for.
//!
//! Main function: [`read`]. Not compressed, or by snappy or gzip; another codec is named in the error.
//! Only columns that mean something are read. What they mean is `record`'s business.

use std::ops::ControlFlow;

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde::de::Error as _;
use serde_json::{Map, Value};

use super::json::At;
use super::record::means_something;

/// Hands every row to `on`, in order, until that says stop.
pub(super) fn read(
    source: impl ChunkReader + 'static,
    on: &mut dyn FnMut(Value) -> serde_json::Result<ControlFlow<()>>,
) -> Result<(), At> {
    let file = SerializedFileReader::new(source).map_err(|error| (1, of_file(error)))?;
    let columns = columns(&file).map_err(|error| (1, error))?;
    let rows = file.get_row_iter(Some(columns)).map_err(|error| (1, of_file(error)))?;
    for (row, number) in rows.zip(1..) {
        let taken = row.map_err(of_file).and_then(|row| on(object(row)));
        if taken.map_err(|error| (number, error))?.is_break() {
            break;
        }
    }
    Ok(())
}

/// The columns that mean something, if there are any and they can be decompressed.
fn columns(file: &impl FileReader) -> serde_json::Result<Type> {
    let metadata = file.metadata();
    let schema = metadata.file_metadata().schema();
    let (known, others): (Vec<_>, Vec<_>) =
        schema.get_fields().iter().cloned().partition(|field| means_something(field.name()));
    if known.is_empty() {
        let others: Vec<&str> = others.iter().map(|field| field.name()).collect();
        let there = others.join("\", \"");
        let why = format!("no column \"prompt\", \"messages\" or \"text\"; there is \"{there}\"");
        return Err(serde_json::Error::custom(why));
    }
    for column in metadata.row_groups().iter().flat_map(|group| group.columns()) {
        match column.compression() {
            Compression::UNCOMPRESSED | Compression::SNAPPY | Compression::GZIP(_) => {}
            // Its level is in its name.
            codec => {
                let why = format!("{codec} is not read; write it with snappy, or as JSON lines");
                return Err(of_file(ParquetError::General(why)));
            }
        }
    }
    Type::group_type_builder(schema.name()).with_fields(known).build().map_err(of_file)
}

fn of_file(error: ParquetError) -> serde_json::Error {
    serde_json::Error::io(std::io::Error::other(error))
}

/// A struct of Parquet has all its fields in every row: what is null is not there.
fn object(row: Row) -> Value {
    let cells = row.into_columns().into_iter().map(|(name, field)| (name, value(&field)));
    Value::Object(cells.filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
}

/// The value in JSON; null of kinds that no field of a record has, such as dates and maps.
fn value(field: &Field) -> Value {
    match field {
        Field::Bool(truth) => Value::from(*truth),
        Field::Int(number) => Value::from(*number),
        Field::Long(number) => Value::from(*number),
        Field::UInt(number) => Value::from(*number),
        Field::ULong(number) => Value::from(*number),
        Field::Double(number) => Value::from(*number),
        Field::Str(text) => Value::from(text.as_str()),
        // Some writers leave out that bytes are a text.
        Field::Bytes(bytes) => std::str::from_utf8(bytes.data()).map_or(Value::Null, Value::from),
        Field::Group(row) => object(row.clone()),
        Field::ListInternal(list) => list.elements().iter().map(value).collect(),
        _ => Value::Null,
    }
}
