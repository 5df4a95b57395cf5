//! Parquet as the Hub keeps datasets: columns of texts and of lists of messages, compressed or not.

use std::sync::Arc;

use bench_ci::dataset::{Content, PromptSet};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::*;

const SCHEMA: &str = "message schema {
    optional binary image;
    optional binary prompt (UTF8);
    optional int64 max_tokens;
    optional group messages (LIST) { repeated group list { optional group element {
        optional binary role (UTF8); optional binary content (UTF8); optional binary name (UTF8);
    } } }
}";

type Group<'a> = SerializedRowGroupWriter<'a, &'a mut Vec<u8>>;

/// Values, how deep each is defined, and which begin a new row.
fn column<T: DataType>(group: &mut Group<'_>, values: &[T::T], defined: &[i16], begins: &[i16]) {
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<T>().write_batch(values, Some(defined), Some(begins)).unwrap();
    column.close().unwrap();
}

/// A prompt with its budget, then a chat of two messages, of which the second is the answer.
fn two_rows(schema: &str, codec: Compression) -> Vec<u8> {
    let mut file = Vec::new();
    let properties = Arc::new(WriterProperties::builder().set_compression(codec).build());
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(&mut file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts = |texts: &[&str]| -> Vec<ByteArray> {
        texts.iter().map(|text| ByteArray::from(text.as_bytes().to_vec())).collect()
    };
    let image = [ByteArray::from(vec![0xff, 0xfe])];
    column::<ByteArrayType>(&mut group, &image, &[1, 0], &[0, 0]);
    column::<ByteArrayType>(&mut group, &texts(&["Hi"]), &[1, 0], &[0, 0]);
    column::<Int64Type>(&mut group, &[5], &[1, 0], &[0, 0]);
    let (chat, begins) = ([0, 4, 4], [0, 0, 1]);
    column::<ByteArrayType>(&mut group, &texts(&["user", "assistant"]), &chat, &begins);
    column::<ByteArrayType>(&mut group, &texts(&["Go on", "one two"]), &chat, &begins);
    column::<ByteArrayType>(&mut group, &[], &[0, 3, 3], &begins);
    group.close().unwrap();
    writer.close().unwrap();
    file
}

async fn read(bytes: &[u8]) -> Result<PromptSet, DatasetError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    load_file(file.path(), SCRIPT_JS, None).await
}

#[tokio::test]
async fn rows_are_records_whatever_compresses_them() {
    for codec in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::GZIP(Default::default())] {
        let set = read(&two_rows(SCHEMA, codec)).await.unwrap_or_else(|error| panic!("{}", said(&error)));
        assert_eq!((set.kind, set.kept), ("parquet", 2), "{codec}");
        assert_eq!((set.prompts[0].text(), set.prompts[0].max_tokens), (Some("Hi"), Some(5)));
        let Content::Chat(messages) = &set.prompts[1].content else { panic!("{codec}") };
        // A field that is null in every row is not sent.
        assert_eq!(json!(messages), json!([{"role": "user", "content": "Go on"}]));
        assert_eq!(set.prompts[1].answer_words, Some(2));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let whole = two_rows(SCHEMA, Compression::UNCOMPRESSED);
    let error = read(&whole[..whole.len() / 2]).await.expect_err("half a file");
    assert!(said(&error).contains("at record 1: "), "{}", said(&error));
    assert_eq!(error.exit_code(), ExitCode::Usage);
    let renamed = [("prompt", "prumpt"), ("max_tokens", "most"), ("messages", "dialogue")];
    let schema = renamed.iter().fold(SCHEMA.to_owned(), |schema, (from, to)| schema.replace(from, to));
    let error = read(&two_rows(&schema, Compression::SNAPPY)).await.expect_err("no prompts");
    let words = "there is \"image\", \"prumpt\", \"most\", \"dialogue\"";
    assert!(said(&error).contains(words), "{}", said(&error));
}
