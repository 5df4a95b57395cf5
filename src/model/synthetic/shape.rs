//! The shape of a synthetic model, from what a user typed.
//!
//! Main type: [`Shape`]. It checks that a model of that shape can exist; it writes nothing.

use std::fmt;
use std::str::FromStr;

use super::vocabulary::PIECES_FROM;
use crate::model::gguf::TensorType;

/// Bytes of seed; see [`Shape::seed`].
const SEED_DEFAULT: u64 = 42;

/// What a synthetic model looks like.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The named shape that it began as, such as `tiny`; `custom` if anything but the type, the
    /// context or the seed was changed.
    pub name: String,
    /// Layers.
    pub layers: u32,
    /// Width.
    pub embd: u32,
    /// Attention heads; each is `embd / heads` wide.
    pub heads: u32,
    /// Key-value heads, a divisor of `heads`.
    pub kv_heads: u32,
    /// Width of the feed-forward part.
    pub ff: u32,
    /// Tokens in the vocabulary.
    pub vocab: u32,
    /// Tokens of context that the model claims to be made for.
    pub ctx: u32,
    /// How the weights are stored.
    pub kind: WeightType,
    /// Seed of the weights: the same shape and seed give the same bytes on every platform.
    pub seed: u64,
}

/// How the weights of a synthetic model are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WeightType {
    /// 4 bytes a weight.
    F32,
    /// 2 bytes a weight.
    F16,
    /// 34 bytes for 32 weights.
    Q8_0,
    /// 18 bytes for 32 weights.
    Q4_0,
}

impl WeightType {
    /// All types.
    pub const ALL: [WeightType; 4] =
        [WeightType::F32, WeightType::F16, WeightType::Q8_0, WeightType::Q4_0];

    /// The word for it in a shape.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            WeightType::F32 => "f32",
            WeightType::F16 => "f16",
            WeightType::Q8_0 => "q8_0",
            WeightType::Q4_0 => "q4_0",
        }
    }

    /// ggml's type.
    #[must_use]
    pub const fn tensor_type(self) -> TensorType {
        match self {
            WeightType::F32 => TensorType::F32,
            WeightType::F16 => TensorType::F16,
            WeightType::Q8_0 => TensorType::Q8_0,
            WeightType::Q4_0 => TensorType::Q4_0,
        }
    }

    /// `general.file_type`: llama.cpp's `llama_ftype`.
    #[must_use]
    pub(super) const fn file_type(self) -> u32 {
        match self {
            WeightType::F32 => 0,
            WeightType::F16 => 1,
            WeightType::Q8_0 => 7,
            WeightType::Q4_0 => 2,
        }
    }

    /// Weights in a block; rows must be whole blocks.
    const fn block_weights(self) -> u32 {
        match self {
            WeightType::F32 | WeightType::F16 => 1,
            WeightType::Q8_0 | WeightType::Q4_0 => 32,
        }
    }
}

/// The named shapes: name, layers, embd, heads, kv_heads, ff, vocab, ctx, type.
///
/// The context is generous because a server divides it among its slots. `1b` is TinyLlama's shape.
#[expect(clippy::type_complexity, reason = "a table of numbers reads best as a table")]
const NAMED: [(&str, u32, u32, u32, u32, u32, u32, u32, WeightType); 4] = [
    ("tiny", 2, 64, 4, 4, 192, 1024, 32_768, WeightType::F32),
    ("15m", 10, 288, 6, 6, 768, 8192, 16_384, WeightType::F16),
    ("100m", 12, 768, 12, 12, 2048, 8192, 8192, WeightType::F16),
    ("1b", 22, 2048, 32, 4, 5632, 32_000, 8192, WeightType::F16),
];

/// The keys of a free shape.
const KEYS: [&str; 9] =
    ["layers", "embd", "heads", "kv_heads", "ff", "vocab", "ctx", "type", "seed"];

/// Largest numbers that are taken: far above any model, far below overflow.
const LAYERS_MAX: u32 = 1_024;
const WIDTH_MAX: u32 = 1 << 18;
const VOCAB_MAX: u32 = 1 << 20;
const CTX_MAX: u32 = 1 << 27;

impl Shape {
    /// A named shape; `None` for an unknown name.
    #[must_use]
    pub fn named(wanted: &str) -> Option<Self> {
        let (name, layers, embd, heads, kv_heads, ff, vocab, ctx, kind) =
            NAMED.into_iter().find(|(name, ..)| *name == wanted)?;
        let name = name.to_owned();
        let seed = SEED_DEFAULT;
        Some(Self { name, layers, embd, heads, kv_heads, ff, vocab, ctx, kind, seed })
    }

    /// The names of the named shapes.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMED.iter().map(|(name, ..)| *name)
    }

    /// Weights in all tensors.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        super::write::tensors(self).iter().map(super::write::TensorPlan::weight_count).sum()
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), ShapeError> {
        let number = |least: u32, most: u32| match value.parse::<u32>() {
            Ok(number) if (least..=most).contains(&number) => Ok(number),
            _ => Err(ShapeError::Value {
                key: key.to_owned(),
                value: value.to_owned(),
                expected: format!("a number from {least} to {most}"),
            }),
        };
        match key {
            "layers" => self.layers = number(1, LAYERS_MAX)?,
            "embd" => self.embd = number(2, WIDTH_MAX)?,
            "heads" => self.heads = number(1, WIDTH_MAX)?,
            "kv_heads" => self.kv_heads = number(1, WIDTH_MAX)?,
            "ff" => self.ff = number(1, WIDTH_MAX)?,
            "vocab" => self.vocab = number(PIECES_FROM + 128, VOCAB_MAX)?,
            "ctx" => self.ctx = number(16, CTX_MAX)?,
            "type" => {
                let wanted = value.to_ascii_lowercase();
                self.kind = WeightType::ALL
                    .into_iter()
                    .find(|kind| kind.word() == wanted)
                    .ok_or_else(|| ShapeError::Value {
                        key: key.to_owned(),
                        value: value.to_owned(),
                        expected: "f32, f16, q8_0 or q4_0".to_owned(),
                    })?;
            }
            "seed" => {
                self.seed = value.parse().map_err(|_| ShapeError::Value {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    expected: "a number from 0 to 2^64 - 1".to_owned(),
                })?;
            }
            _ => {
                return Err(ShapeError::Key {
                    key: key.to_owned(),
                    nearest: nearest(key, KEYS.into_iter()),
                });
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), ShapeError> {
        let divides = |what: &str, number: u32, by_what: &str, by: u32| {
            if by != 0 && number.is_multiple_of(by) {
                return Ok(());
            }
            Err(ShapeError::NotDivisible {
                what: what.to_owned(),
                number,
                by_what: by_what.to_owned(),
                by,
            })
        };
        divides("embd", self.embd, "heads", self.heads)?;
        divides("heads", self.heads, "kv_heads", self.kv_heads)?;
        divides("the width of a head, embd / heads,", self.embd / self.heads, "2", 2)?;
        let block = self.kind.block_weights();
        let by_what = format!("the block of {}", self.kind.word());
        divides("embd", self.embd, &by_what, block)?;
        divides("ff", self.ff, &by_what, block)?;
        Ok(())
    }
}

impl FromStr for Shape {
    type Err = ShapeError;

    /// A name, keys, or a name and keys: `1b`, `layers=4,embd=256`, `1b,type=q8_0`.
    ///
    /// Keys that are not given are those of the name, without a name those of `tiny`. Without
    /// `kv_heads`, a changed `heads` sets it too.
    fn from_str(text: &str) -> Result<Self, ShapeError> {
        let mut shape = Shape::named("tiny").expect("tiny is in the table");
        let mut seen: Vec<&str> = Vec::new();
        for (index, item) in text.split(',').map(str::trim).enumerate() {
            let Some((key, value)) = item.split_once('=') else {
                if item.is_empty() && text.trim().is_empty() {
                    continue;
                }
                let lower = item.to_ascii_lowercase();
                match Shape::named(&lower) {
                    Some(named) if index == 0 => shape = named,
                    _ => {
                        return Err(ShapeError::Name {
                            name: item.to_owned(),
                            nearest: nearest(&lower, Shape::names().chain(KEYS)),
                        });
                    }
                }
                continue;
            };
            let (key, value) = (key.trim(), value.trim());
            shape.set(key, value)?;
            if seen.contains(&key) {
                return Err(ShapeError::Twice { key: key.to_owned() });
            }
            seen.push(key);
        }
        if seen.contains(&"heads") && !seen.contains(&"kv_heads") {
            shape.kv_heads = shape.heads;
        }
        if seen.iter().any(|key| !["type", "ctx", "seed"].contains(key)) {
            shape.name = "custom".to_owned();
        }
        shape.check()?;
        Ok(shape)
    }
}

impl fmt::Display for Shape {
    /// As it could be typed again, every key named.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name: _, layers, embd, heads, kv_heads, ff, vocab, ctx, kind, seed } = self;
        write!(
            formatter,
            "layers={layers},embd={embd},heads={heads},kv_heads={kv_heads},ff={ff},vocab={vocab},\
             ctx={ctx},type={},seed={seed}",
            kind.word()
        )
    }
}

/// Why a shape is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Neither a name nor `key=value`.
    #[error("unknown shape \"{name}\"{}", did_you_mean(nearest))]
    Name {
        /// What was typed.
        name: String,
        /// The nearest known word; `None` if none is near.
        nearest: Option<String>,
    },
    /// An unknown key.
    #[error("unknown key \"{key}\"{}", did_you_mean(nearest))]
    Key {
        /// What was typed.
        key: String,
        /// The nearest known key; `None` if none is near.
        nearest: Option<String>,
    },
    /// A key given twice.
    #[error("key \"{key}\" is given twice")]
    Twice {
        /// The key.
        key: String,
    },
    /// A value that the key does not take.
    #[error("invalid value \"{value}\" for {key}: expected {expected}")]
    Value {
        /// The key.
        key: String,
        /// What was typed.
        value: String,
        /// What it takes.
        expected: String,
    },
    /// Numbers that do not fit each other.
    #[error("{what} is {number}, which {by_what} ({by}) does not divide")]
    NotDivisible {
        /// What must be divisible.
        what: String,
        /// Its number.
        number: u32,
        /// What must divide it.
        by_what: String,
        /// That number.
        by: u32,
    },
}

impl ShapeError {
    /// What a shape may be.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            ShapeError::NotDivisible { what, number, by, .. } if *by > 1 && what.len() < 8 => {
                let up = number.next_multiple_of(*by);
                format!("{what}={up} would do")
            }
            _ => "a shape is tiny, 15m, 100m or 1b, or a list such as \
                  layers=4,embd=256,heads=8,ff=768,vocab=4096,ctx=8192,type=q8_0,seed=1, \
                  or both: 1b,type=q4_0"
                .to_owned(),
        }
    }
}

fn did_you_mean(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map(|nearest| format!(", the nearest known is \"{nearest}\""))
        .unwrap_or_default()
}

fn nearest(typed: &str, known: impl Iterator<Item = &'static str>) -> Option<String> {
    let scored = known.map(|known| (strsim::jaro_winkler(typed, known), known));
    let (likeness, known) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    // Below 0.5 the two words have next to nothing in common.
    (likeness >= 0.5).then(|| known.to_owned())
}
