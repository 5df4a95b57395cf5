//! Writes a synthetic GGUF, block by block.
//!
//! Main function: [`write_to`]. Memory stays at a few blocks and the vocabulary, whatever the size
//! of the model. It does not know where the file goes.

use std::io::{self, Write};

use half::f16;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::shape::{Shape, WeightType};
use super::vocabulary::{self, PIECES_FROM};
use crate::model::gguf::TensorType;

/// GGUF's alignment of tensors; the default, so that no key need say so.
const ALIGNMENT: u64 = 32;
/// Weights made at once; a multiple of every block.
const BLOCK_WEIGHTS: usize = 1 << 16;
/// Standard deviation of the logits: a few tokens are likely, none is certain.
const LOGIT_STDDEV: f64 = 2.5;
/// A level is uniform in -127..=127, whose standard deviation is this many levels.
const LEVEL_STDDEV: f64 = 73.61;
/// Renders a chat as lines of `role: content`. Nothing more: the weights are noise anyway.
const CHAT_TEMPLATE: &str = "{% for message in messages %}{{ message['role'] + ': ' + \
    message['content'] + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";

/// A tensor to be written.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TensorPlan {
    name: String,
    /// Row length first; one or two numbers.
    dimensions: Vec<u64>,
    kind: TensorType,
    content: Content,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    /// Near one.
    Norm,
    /// Random with this standard deviation.
    Random { stddev: f64 },
    /// Random, but so many first rows are zero.
    RandomAfter { zero_rows: u64, stddev: f64 },
}

impl TensorPlan {
    /// Product of the dimensions.
    pub(super) fn weight_count(&self) -> u64 {
        self.dimensions.iter().product()
    }

    fn size_bytes(&self) -> u64 {
        self.kind.size_bytes(self.weight_count()).expect("the four types written here are known")
    }
}

/// All tensors in the file's order.
pub(super) fn tensors(shape: &Shape) -> Vec<TensorPlan> {
    let [embd, ff, vocab] = [shape.embd, shape.ff, shape.vocab].map(u64::from);
    let kv = embd / u64::from(shape.heads) * u64::from(shape.kv_heads);
    let kind = shape.kind.tensor_type();
    // Each projection keeps the variance of its input; those that end a branch are smaller, so
    // that the residual stream stays near one however many layers add to it.
    let inner = |fan_in: u64| (fan_in as f64).recip().sqrt();
    let ending = |fan_in: u64| inner(fan_in) / f64::from(2 * shape.layers).sqrt();
    let norm = |name: String| TensorPlan {
        name,
        dimensions: vec![embd],
        kind: TensorType::F32,
        content: Content::Norm,
    };
    let matrix = |name: String, row: u64, rows: u64, stddev: f64| TensorPlan {
        name,
        dimensions: vec![row, rows],
        kind,
        content: Content::Random { stddev },
    };

    let mut tensors = vec![matrix("token_embd.weight".to_owned(), embd, vocab, 1.0)];
    for layer in 0..shape.layers {
        let named = |part: &str| format!("blk.{layer}.{part}.weight");
        tensors.push(norm(named("attn_norm")));
        tensors.push(matrix(named("attn_q"), embd, embd, inner(embd)));
        tensors.push(matrix(named("attn_k"), embd, kv, inner(embd)));
        tensors.push(matrix(named("attn_v"), embd, kv, inner(embd)));
        tensors.push(matrix(named("attn_output"), embd, embd, ending(embd)));
        tensors.push(norm(named("ffn_norm")));
        tensors.push(matrix(named("ffn_gate"), embd, ff, inner(embd)));
        tensors.push(matrix(named("ffn_up"), embd, ff, inner(embd)));
        tensors.push(matrix(named("ffn_down"), ff, embd, ending(ff)));
    }
    tensors.push(norm("output_norm".to_owned() + ".weight"));
    tensors.push(TensorPlan {
        // Control and byte tokens get a logit of exactly zero, the middle of all others: among the
        // pieces there is always one that is likelier, so a generation neither ends early nor
        // breaks off inside a character.
        content: Content::RandomAfter {
            zero_rows: PIECES_FROM.into(),
            stddev: LOGIT_STDDEV * inner(embd),
        },
        ..matrix("output.weight".to_owned(), embd, vocab, 0.0)
    });
    tensors
}

/// The size of the file in bytes.
pub(super) fn file_size_bytes(shape: &Shape) -> u64 {
    let tensors = tensors(shape);
    let header = header(shape, &tensors).len() as u64;
    tensors.iter().map(|tensor| aligned(tensor.size_bytes())).sum::<u64>() + aligned(header)
}

/// Writes the whole file. `written` is told the bytes so far and says whether to go on.
///
/// Returns whether the file is whole.
pub(super) fn write_to(
    shape: &Shape,
    sink: &mut impl Write,
    mut written: impl FnMut(u64) -> bool,
) -> io::Result<bool> {
    let tensors = tensors(shape);
    let mut bytes = header(shape, &tensors);
    bytes.resize(aligned(bytes.len() as u64) as usize, 0);
    sink.write_all(&bytes)?;
    let mut total = bytes.len() as u64;
    drop(bytes);

    let mut block = Block::default();
    for (index, tensor) in tensors.iter().enumerate() {
        let mut random = ChaCha8Rng::seed_from_u64(shape.seed);
        // A stream of its own for each tensor: what one holds does not depend on those before.
        random.set_stream(index as u64);
        let encoder = Encoder::of(tensor, shape.kind);
        let mut zeros = match tensor.content {
            Content::RandomAfter { zero_rows, .. } => {
                zero_rows * tensor.dimensions.first().copied().unwrap_or_default()
            }
            _ => 0,
        };
        let mut left = tensor.weight_count();
        while left > 0 {
            let weights = left.min(BLOCK_WEIGHTS as u64) as usize;
            block.fill(weights, &mut random);
            let zeroed = zeros.min(weights as u64);
            block.levels[..zeroed as usize].fill(0);
            zeros -= zeroed;
            sink.write_all(encoder.encode(&block.levels[..weights], &mut block.bytes))?;
            left -= weights as u64;
            total += block.bytes.len() as u64;
            if !written(total) {
                return Ok(false);
            }
        }
        let padding = aligned(tensor.size_bytes()) - tensor.size_bytes();
        sink.write_all(&[0; ALIGNMENT as usize][..padding as usize])?;
        total += padding;
    }
    Ok(true)
}

#[derive(Default)]
struct Block {
    /// Each weight as a level in -127..=127.
    levels: Vec<i8>,
    random: Vec<u8>,
    bytes: Vec<u8>,
}

impl Block {
    fn fill(&mut self, weights: usize, random: &mut ChaCha8Rng) {
        self.random.resize(weights, 0);
        random.fill_bytes(&mut self.random);
        self.levels.clear();
        // One random byte a weight; -128 has no counterpart and would pull the mean below zero.
        self.levels.extend(self.random.iter().map(|byte| byte.cast_signed().max(-127)));
    }
}

/// Turns levels into a tensor's bytes. Whatever the type, the model is the same up to rounding.
enum Encoder {
    /// By level + 128, a weight's bytes.
    F32(Box<[[u8; 4]; 256]>),
    F16(Box<[[u8; 2]; 256]>),
    /// The scale of every block; the levels are the quants.
    Q8_0([u8; 2]),
    Q4_0([u8; 2]),
}

impl Encoder {
    fn of(tensor: &TensorPlan, kind: WeightType) -> Self {
        let (middle, step) = match tensor.content {
            // ± 5 % around one.
            Content::Norm => (1.0, 0.05 / 127.0),
            Content::Random { stddev } | Content::RandomAfter { stddev, .. } => {
                (0.0, stddev / LEVEL_STDDEV)
            }
        };
        let value = |index: usize| (middle + (index as f64 - 128.0) * step) as f32;
        if tensor.kind == TensorType::F32 {
            return Encoder::F32(Box::new(std::array::from_fn(|index| value(index).to_le_bytes())));
        }
        match kind {
            WeightType::F32 => unreachable!("an F32 model has F32 tensors only"),
            WeightType::F16 => Encoder::F16(Box::new(std::array::from_fn(|index| {
                f16::from_f32(value(index)).to_le_bytes()
            }))),
            WeightType::Q8_0 => Encoder::Q8_0(f16::from_f64(step).to_le_bytes()),
            // A level of 127 becomes a quant of 7.
            WeightType::Q4_0 => Encoder::Q4_0(f16::from_f64(step * 127.0 / 7.0).to_le_bytes()),
        }
    }

    fn encode<'bytes>(&self, levels: &[i8], bytes: &'bytes mut Vec<u8>) -> &'bytes [u8] {
        bytes.clear();
        let index = |level: &i8| usize::from((*level as u8) ^ 0x80);
        match self {
            Encoder::F32(table) => {
                bytes.resize(levels.len() * 4, 0);
                let weights = bytes.as_chunks_mut().0;
                weights.iter_mut().zip(levels).for_each(|(to, level)| *to = table[index(level)]);
            }
            Encoder::F16(table) => {
                bytes.resize(levels.len() * 2, 0);
                let weights = bytes.as_chunks_mut().0;
                weights.iter_mut().zip(levels).for_each(|(to, level)| *to = table[index(level)]);
            }
            Encoder::Q8_0(scale) => {
                // ggml's block_q8_0: half scale, then 32 signed bytes.
                for block in levels.chunks_exact(32) {
                    bytes.extend_from_slice(scale);
                    bytes.extend(block.iter().map(|level| *level as u8));
                }
            }
            Encoder::Q4_0(scale) => {
                // ggml's block_q4_0: half scale, then 16 bytes; weight i in the low half of byte
                // i, weight i + 16 in its high half, each as quant + 8.
                for block in levels.chunks_exact(32) {
                    bytes.extend_from_slice(scale);
                    let (low, high) = block.split_at(16);
                    bytes.extend(
                        low.iter().zip(high).map(|(low, high)| quant(*low) | (quant(*high) << 4)),
                    );
                }
            }
        }
        bytes
    }
}

/// A level as a 4-bit quant, rounded to the nearest of -7..=7 and moved to 1..=15.
fn quant(level: i8) -> u8 {
    let scaled = i32::from(level) * 7;
    let rounded = (scaled + 63 * scaled.signum()) / 127;
    (rounded + 8) as u8
}

fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

/// Header, keys and tensor table, without the padding behind them.
fn header(shape: &Shape, tensors: &[TensorPlan]) -> Vec<u8> {
    let mut keys = Keys::default();
    keys.text("general.architecture", "llama");
    keys.text("general.type", "model");
    keys.text("general.name", &format!("synthetic {}", shape.name));
    keys.text("general.description", &format!("random weights made by bench-ci: {shape}"));
    keys.u32("general.file_type", shape.kind.file_type());
    keys.u32("general.quantization_version", 2);
    keys.u32("llama.context_length", shape.ctx);
    keys.u32("llama.embedding_length", shape.embd);
    keys.u32("llama.block_count", shape.layers);
    keys.u32("llama.feed_forward_length", shape.ff);
    keys.u32("llama.attention.head_count", shape.heads);
    keys.u32("llama.attention.head_count_kv", shape.kv_heads);
    keys.f32("llama.attention.layer_norm_rms_epsilon", 1e-5);
    keys.u32("llama.rope.dimension_count", shape.embd / shape.heads);
    keys.u32("llama.vocab_size", shape.vocab);
    let tokens = vocabulary::tokens(shape.vocab);
    keys.text("tokenizer.ggml.model", "llama");
    keys.array("tokenizer.ggml.tokens", 8, tokens.len(), |bytes| {
        tokens.iter().for_each(|token| put_text(bytes, &token.text));
    });
    keys.array("tokenizer.ggml.scores", 6, tokens.len(), |bytes| {
        tokens.iter().for_each(|token| bytes.extend(token.score.to_le_bytes()));
    });
    keys.array("tokenizer.ggml.token_type", 5, tokens.len(), |bytes| {
        tokens.iter().for_each(|token| bytes.extend(token.kind.to_le_bytes()));
    });
    keys.u32("tokenizer.ggml.unknown_token_id", 0);
    keys.u32("tokenizer.ggml.bos_token_id", 1);
    keys.u32("tokenizer.ggml.eos_token_id", 2);
    keys.text("tokenizer.chat_template", CHAT_TEMPLATE);

    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend(keys.count.to_le_bytes());
    bytes.append(&mut keys.bytes);
    let mut offset = 0u64;
    for tensor in tensors {
        put_text(&mut bytes, &tensor.name);
        bytes.extend((tensor.dimensions.len() as u32).to_le_bytes());
        for dimension in &tensor.dimensions {
            bytes.extend(dimension.to_le_bytes());
        }
        bytes.extend(tensor.kind.0.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        offset += aligned(tensor.size_bytes());
    }
    bytes
}

#[derive(Default)]
struct Keys {
    bytes: Vec<u8>,
    count: u64,
}

impl Keys {
    fn key(&mut self, key: &str, kind: u32) {
        put_text(&mut self.bytes, key);
        self.bytes.extend(kind.to_le_bytes());
        self.count += 1;
    }

    fn u32(&mut self, key: &str, value: u32) {
        self.key(key, 4);
        self.bytes.extend(value.to_le_bytes());
    }

    fn f32(&mut self, key: &str, value: f32) {
        self.key(key, 6);
        self.bytes.extend(value.to_le_bytes());
    }

    fn text(&mut self, key: &str, value: &str) {
        self.key(key, 8);
        put_text(&mut self.bytes, value);
    }

    fn array(&mut self, key: &str, of: u32, count: usize, fill: impl FnOnce(&mut Vec<u8>)) {
        self.key(key, 9);
        self.bytes.extend(of.to_le_bytes());
        self.bytes.extend((count as u64).to_le_bytes());
        fill(&mut self.bytes);
    }
}

fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
