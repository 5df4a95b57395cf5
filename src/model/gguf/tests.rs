//! Hostile files: the reader must say what is wrong, and neither panic nor allocate by a number.

use std::io::Cursor;

use proptest::prelude::*;

use super::*;

/// A header with so many tensors and keys, then these bytes.
fn file(version: u32, tensors: u64, keys: u64, rest: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(version.to_le_bytes());
    bytes.extend(tensors.to_le_bytes());
    bytes.extend(keys.to_le_bytes());
    bytes.extend(rest);
    bytes
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(name)[..], &kind.to_le_bytes(), value].concat()
}

fn tensor(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let mut bytes = text(name);
    bytes.extend((dimensions.len() as u32).to_le_bytes());
    dimensions.iter().for_each(|dimension| bytes.extend(dimension.to_le_bytes()));
    bytes.extend(kind.to_le_bytes());
    bytes.extend(offset.to_le_bytes());
    bytes
}

fn read(bytes: &[u8]) -> Result<GgufFile, GgufError> {
    reader::read(Cursor::new(bytes), bytes.len() as u64)
}

fn refused(bytes: &[u8]) -> String {
    read(bytes).expect_err("it must be refused").to_string()
}

/// A small whole file: one key, one tensor of 8 F32 weights.
fn whole() -> Vec<u8> {
    let mut rest = key("general.architecture", 8, &text("llama"));
    rest.extend(tensor("t", &[8], 0, 0));
    let mut bytes = file(3, 1, 1, &rest);
    bytes.resize(bytes.len().next_multiple_of(32) + 32, 0);
    bytes
}

#[test]
fn a_small_whole_file_is_read() {
    let file = read(&whole()).unwrap();
    assert_eq!(file.text("general.architecture"), Some("llama"));
    assert_eq!(file.tensors[0].weight_count, 8);
    let summary = GgufSummary::of(&[file]).unwrap();
    assert_eq!((summary.parameters, summary.quantization.as_str()), (8, "F32"));
    assert_eq!(summary.context_length, None, "absent, not zero");
}

#[test]
fn version_two_is_read_and_others_are_refused_in_words() {
    let mut bytes = whole();
    bytes[4] = 2;
    assert_eq!(read(&bytes).unwrap().version, 2);
    bytes[4] = 1;
    assert_eq!(refused(&bytes), "GGUF version 1, expected 2 or 3");
    bytes[4] = 4;
    let newer = read(&bytes).unwrap_err();
    assert!(!newer.is_damage(), "a newer version is not a damaged file");
    bytes[4..8].copy_from_slice(&3u32.to_be_bytes());
    assert!(refused(&bytes).contains("big-endian GGUF (version 3)"), "{}", refused(&bytes));
}

#[test]
fn what_is_no_gguf_is_said_to_be_none() {
    assert_eq!(
        refused(b""),
        "not a GGUF file: it begins with nothing (it is empty), expected \"GGUF\""
    );
    assert!(refused(b"<html>").contains("it begins with \"<htm\""));
    assert!(refused(b"\0\x1b[2").contains("\\x00\\x1b[2"));
}

#[test]
fn every_shorter_file_is_refused() {
    let bytes = whole();
    for length in 0..bytes.len() {
        let message = refused(&bytes[..length]);
        assert!(
            message.contains("truncated") || message.contains("not a GGUF"),
            "{length}: {message}"
        );
    }
}

#[test]
fn a_tensor_past_the_end_makes_the_file_truncated() {
    let mut bytes = whole();
    bytes.pop();
    let message = refused(&bytes);
    assert!(message.contains("tensor \"t\" needs bytes up to"), "{message}");
}

#[test]
fn absurd_numbers_are_refused_without_allocating() {
    let max = u64::MAX.to_le_bytes();
    for (what, bytes) in [
        ("tensor count", file(3, u64::MAX, 0, &[])),
        ("key count", file(3, 0, u64::MAX, &[])),
        ("tensor count past the file", file(3, 1 << 19, 0, &[])),
        ("key length", file(3, 0, 1, &max)),
        ("text length", file(3, 0, 1, &key("k", 8, &max))),
        ("array length", file(3, 0, 1, &key("k", 9, &[&4u32.to_le_bytes()[..], &max].concat()))),
        (
            "texts in an array",
            file(3, 0, 1, &key("k", 9, &[&8u32.to_le_bytes()[..], &max].concat())),
        ),
        ("dimension product", file(3, 1, 0, &tensor("t", &[1 << 40, 1 << 40], 0, 0))),
        ("tensor size", file(3, 1, 0, &tensor("t", &[1 << 62], 28, 0))),
        ("tensor offset", file(3, 1, 0, &tensor("t", &[1], 0, u64::MAX - 31))),
        ("five dimensions", file(3, 1, 0, &tensor("t", &[1; 5], 0, 0))),
        ("value type", file(3, 0, 1, &key("k", 13, &[0; 8]))),
        ("alignment", file(3, 0, 1, &key("general.alignment", 4, &[3, 0, 0, 0]))),
        ("alignment of zero", file(3, 0, 1, &key("general.alignment", 4, &[0; 4]))),
    ] {
        let message = refused(&bytes);
        assert!(message.contains("corrupt") || message.contains("truncated"), "{what}: {message}");
    }
}

#[test]
fn arrays_nest_only_so_deep() {
    let mut value = Vec::new();
    for _ in 0..10_000 {
        value.extend(9u32.to_le_bytes());
        value.extend(1u64.to_le_bytes());
    }
    let message = refused(&file(3, 0, 1, &key("k", 9, &value)));
    assert!(message.contains("nesting of key \"k\""), "{message}");
}

#[test]
fn a_tensor_type_of_tomorrow_is_no_damage() {
    let mut bytes = file(3, 1, 0, &tensor("t", &[256], 99, 0));
    bytes.resize(256, 0);
    let summary = GgufSummary::of(&[read(&bytes).unwrap()]).unwrap();
    assert_eq!(summary.quantization, "type 99");
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        drop(read(&bytes));
        // The same behind a valid beginning, where the numbers are believed longest.
        bytes.splice(0..0, file(3, 2, 3, &[]));
        drop(read(&bytes));
    }

    #[test]
    fn no_single_changed_byte_makes_the_reader_panic(at in 0usize..128, to in any::<u8>()) {
        let mut bytes = whole();
        let at = at % bytes.len();
        bytes[at] = to;
        drop(read(&bytes));
    }
}
