//! Parquet as the Hub keeps datasets: columns of texts and of lists of messages, compressed or not.

use std::sync::Arc;

use bench_ci::dataset::{Content, PromptSet};
use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use super::{DatasetError, ExitCode, SCRIPT_JS, fs, json, load_file, said};

const SCHEMA: &str = "message schema { optional binary prompt (UTF8); optional int64 max_tokens;
    optional group messages (LIST) { repeated group list { optional group element {
        optional binary role (UTF8); optional binary content (UTF8); optional binary name (UTF8);
    } } } }";

type Group<'a> = SerializedRowGroupWriter<'a, Vec<u8>>;

/// Values, how deep each is defined, and which begin a new row.
fn column<T: DataType>(group: &mut Group<'_>, values: &[T::T], defined: &[i16], begins: &[i16]) {
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<T>().write_batch(values, Some(defined), Some(begins)).unwrap();
    column.close().unwrap();
}

/// A prompt with its budget, then a chat of two messages, of which the second is the answer.
fn two_rows(schema: &str, codec: Compression) -> Vec<u8> {
    let properties = Arc::new(WriterProperties::builder().set_compression(codec).build());
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let mut writer = SerializedFileWriter::new(Vec::new(), schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let texts = |texts: &[&'static str]| texts.iter().copied().map(ByteArray::from).collect();
    let (roles, said): (Vec<_>, Vec<_>) = (texts(&["user", "assistant"]), texts(&["Go", "a b"]));
    let (chat, begins) = ([0, 4, 4], [0, 0, 1]);
    column::<ByteArrayType>(&mut group, &[ByteArray::from("Hi")], &[1, 0], &[0, 0]);
    column::<Int64Type>(&mut group, &[5], &[1, 0], &[0, 0]);
    column::<ByteArrayType>(&mut group, &roles, &chat, &begins);
    column::<ByteArrayType>(&mut group, &said, &chat, &begins);
    column::<ByteArrayType>(&mut group, &[], &[0, 3, 3], &begins);
    group.close().unwrap();
    writer.into_inner().unwrap()
}

async fn read(bytes: &[u8]) -> Result<PromptSet, DatasetError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    load_file(file.path(), SCRIPT_JS, None).await
}

#[tokio::test]
async fn rows_of_parquet_are_records() {
    let gzip = Compression::GZIP(Default::default());
    for codec in [Compression::UNCOMPRESSED, Compression::SNAPPY, gzip] {
        let set = read(&two_rows(SCHEMA, codec)).await.expect("prompts");
        assert_eq!((set.kind, set.kept), ("parquet", 2), "{codec}");
        assert_eq!((set.prompts[0].text(), set.prompts[0].max_tokens), (Some("Hi"), Some(5)));
        let Content::Chat(messages) = &set.prompts[1].content else { panic!("{codec}") };
        // A name that nobody has is not sent.
        assert_eq!(json!(messages), json!([{"role": "user", "content": "Go"}]));
        assert_eq!(set.prompts[1].answer_words, Some(2));
    }
    let other = SCHEMA.replace("prompt", "prumpt").replace("max_", "min_").replace("messages", "m");
    let other = two_rows(&other, gzip);
    for (bytes, words) in [
        (&other[..], "there is \"prumpt\", \"min_tokens\", \"m\""),
        (&other[..99], "at record 1: "),
    ] {
        let error = read(bytes).await.expect_err(words);
        assert!(said(&error).contains(words), "{}", said(&error));
        assert_eq!(error.exit_code(), ExitCode::Usage);
    }
}
