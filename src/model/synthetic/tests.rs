//! Shapes, and the bytes that come of them.

use super::*;
use crate::cancel;
use crate::model::gguf::{GgufFile, GgufSummary, TensorType};

fn shape(text: &str) -> Shape {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn bytes_of(shape: &Shape) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert!(write::write_to(shape, &mut bytes, |_| true).unwrap());
    bytes
}

fn read_back(shape: &Shape) -> (GgufFile, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    make(shape, &path, &Events::default(), &Cancel::never()).unwrap();
    (GgufFile::open(&path).unwrap(), std::fs::read(&path).unwrap())
}

#[test]
fn named_shapes_have_the_parameters_that_they_are_named_for() {
    let millions = |name: &str| shape(name).parameters() as f64 / 1e6;
    assert!((14.0..16.0).contains(&millions("15m")), "{}", millions("15m"));
    assert!((95.0..105.0).contains(&millions("100m")), "{}", millions("100m"));
    assert!((1000.0..1150.0).contains(&millions("1b")), "{}", millions("1b"));
    let tiny_bytes = file_size_bytes(&shape("tiny"));
    assert!((900_000..1_200_000).contains(&tiny_bytes), "{tiny_bytes}");
    assert_eq!(shape(""), shape("tiny"));
}

#[test]
fn keys_change_a_named_shape() {
    let changed = shape(" 1b , type=Q4_0,seed=7");
    assert_eq!((changed.name.as_str(), changed.kind, changed.seed), ("1b", WeightType::Q4_0, 7));
    let free = shape("layers=3,embd=128,heads=8,ff=256,vocab=512,ctx=4096,type=q8_0,seed=1");
    assert_eq!((free.name.as_str(), free.layers, free.kv_heads), ("custom", 3, 8));
    assert_eq!(shape(&free.to_string()), free, "it can be typed again");
}

#[test]
fn a_mistyped_shape_names_the_nearest_known_word() {
    let refused = |text: &str| text.parse::<Shape>().unwrap_err();
    let told = |text: &str| refused(text).to_string();
    assert_eq!(told("layrs=3"), "unknown key \"layrs\", the nearest known is \"layers\"");
    assert_eq!(told("tinny"), "unknown shape \"tinny\", the nearest known is \"tiny\"");
    assert_eq!(told("tiny,layers=2,layers=3"), "key \"layers\" is given twice");
    assert_eq!(
        told("vocab=3"),
        "invalid value \"3\" for vocab: expected a number from 387 to 1048576"
    );
    assert_eq!(told("type=q5"), "invalid value \"q5\" for type: expected f32, f16, q8_0 or q4_0");
    assert!(refused("1b,").hint().contains("layers=4"));
}

#[test]
fn numbers_that_do_not_fit_each_other_are_refused() {
    let refused = |text: &str| text.parse::<Shape>().unwrap_err();
    let error = refused("embd=66,heads=4");
    assert_eq!(error.to_string(), "embd is 66, which heads (4) does not divide");
    assert_eq!(error.hint(), "embd=68 would do");
    let blocks = refused("embd=48,heads=4,type=q8_0").to_string();
    assert_eq!(blocks, "embd is 48, which the block of q8_0 (32) does not divide");
    let odd = refused("embd=60,heads=20").to_string();
    assert!(odd.contains("the width of a head, embd / heads, is 3"), "{odd}");
    assert!(refused("heads=4,kv_heads=3").to_string().contains("kv_heads (3)"));
}

#[test]
fn the_same_shape_gives_the_same_bytes_everywhere() {
    let digest_of = |text: &str| {
        let mut hasher = Sha256::new();
        hasher.update(bytes_of(&shape(text)));
        digest::in_hex(hasher)
    };
    // If this changes, GENERATOR_VERSION must change too, or caches hold the old bytes.
    assert_eq!(GENERATOR_VERSION, 1);
    insta::assert_snapshot!(digest_of("tiny"), @"4b5c4d7799ef01df6b0f7a8d17ddb97ce01c581f7927b454e47b854ad4946c94");
    assert_eq!(digest_of("tiny"), digest_of("tiny,seed=42"));
    assert_ne!(digest_of("tiny"), digest_of("tiny,seed=43"));
}

#[test]
fn what_is_written_can_be_read_in_every_type() {
    for kind in WeightType::ALL {
        let shape = shape(&format!("tiny,type={}", kind.word()));
        let (file, bytes) = read_back(&shape);
        assert_eq!(bytes.len() as u64, file_size_bytes(&shape), "the size is known beforehand");
        let summary = GgufSummary::of(&[file]).unwrap();
        assert_eq!(summary.architecture.as_deref(), Some("llama"));
        assert_eq!(summary.parameters, shape.parameters());
        assert_eq!(summary.quantization, kind.tensor_type().name());
        assert_eq!(summary.context_length, Some(32_768));
        assert_eq!(summary.vocabulary_count, Some(1024));
        assert_eq!(summary.block_count, Some(2));
        assert!(summary.has_chat_template);
    }
}

/// The first row of `blk.0.ffn_up`, decoded as ggml's `dequantize_row_*` does.
fn decoded_row(kind: WeightType) -> Vec<f64> {
    let shape = shape(&format!("tiny,type={}", kind.word()));
    let (file, bytes) = read_back(&shape);
    let tensor = file.tensors.iter().find(|t| t.name == "blk.0.ffn_up.weight").unwrap();
    let data = &bytes[(file.data_start_bytes + tensor.offset_bytes) as usize..];
    let half = |at: usize| f64::from(half::f16::from_le_bytes([data[at], data[at + 1]]));
    (0..64)
        .map(|index| {
            let (block, inside) = (index / 32, index % 32);
            match tensor.kind {
                TensorType::F32 => f64::from(f32::from_le_bytes(
                    data[4 * index..4 * index + 4].try_into().unwrap(),
                )),
                TensorType::F16 => half(2 * index),
                TensorType::Q8_0 => {
                    let at = 34 * block;
                    half(at) * f64::from(data[at + 2 + inside] as i8)
                }
                _ => {
                    let at = 18 * block;
                    let byte = data[at + 2 + inside % 16];
                    let nibble = if inside < 16 { byte & 15 } else { byte >> 4 };
                    half(at) * (f64::from(nibble) - 8.0)
                }
            }
        })
        .collect()
}

#[test]
fn every_type_holds_the_same_weights_up_to_its_rounding() {
    let exact = decoded_row(WeightType::F32);
    // inner(64) = 1/8, and a level of 127 is 127 / 73.61 standard deviations.
    let largest = 0.125 * 127.0 / 73.61;
    assert!(exact.iter().all(|weight| weight.abs() <= largest * 1.0001));
    assert!(exact.iter().any(|weight| weight.abs() > largest / 2.0));
    for (kind, tolerance) in [
        (WeightType::F16, largest * 0.001),
        (WeightType::Q8_0, largest * 0.001),
        (WeightType::Q4_0, largest / 14.0 * 1.01),
    ] {
        for (weight, expected) in decoded_row(kind).iter().zip(&exact) {
            assert!((weight - expected).abs() <= tolerance, "{kind:?}: {weight} for {expected}");
        }
    }
}

#[test]
fn control_and_byte_tokens_have_a_logit_of_zero() {
    let (file, bytes) = read_back(&shape("tiny"));
    let tensor = file.tensors.iter().find(|t| t.name == "output.weight").unwrap();
    let start = (file.data_start_bytes + tensor.offset_bytes) as usize;
    let zero = 259 * 64 * 4;
    assert!(bytes[start..start + zero].iter().all(|byte| *byte == 0));
    assert!(bytes[start + zero..start + zero + 64].iter().any(|byte| *byte != 0));
}

#[test]
fn a_full_disk_is_said_to_be_full() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
    let mut sink = std::io::BufWriter::new(full);
    let error = write::write_to(&shape("tiny"), &mut sink, |_| true).unwrap_err();
    drop(sink.into_parts());
    let error = ModelError::write(Path::new("m.gguf"), error, Some(1_000_000));
    assert!(matches!(error, ModelError::DiskFull { .. }), "{error}");
}

#[test]
fn a_stopped_run_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.gguf");
    let (canceller, cancel) = cancel::pair();
    canceller.stop(cancel::StopReason::Interrupted);
    let error = make(&shape("tiny"), &path, &Events::default(), &cancel).unwrap_err();
    assert!(matches!(error, ModelError::Cancelled(_)), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn files_of_different_shapes_have_different_names() {
    let name = |text: &str| file_name(&shape(text));
    assert_ne!(name("tiny"), name("tiny,seed=1"));
    assert_ne!(name("tiny"), name("tiny,ctx=4096"));
    assert!(name("1b,type=q4_0").starts_with("synthetic-1b-q4_0-"));
}
