//! Reads a GGUF's header, keys and tensor table from any seekable source.
//!
//! Main function: [`read`]. It believes no number before it has compared it with what is left of
//! the file. It does not know paths.

use std::io::{BufReader, Read, Seek};

use super::{GgufError, GgufFile, Tensor, TensorType, Value};

/// Keys that a file may have; the largest seen in the wild is below 100.
const KEYS_MAX: u64 = 65_536;
/// Tensors that a file may have; the largest models have a few thousand.
const TENSORS_MAX: u64 = 1 << 20;
/// Longest key; the specification's own limit.
const KEY_BYTES_MAX: u64 = 65_535;
/// Longest tensor name; the specification says 64, some files exceed it.
const TENSOR_NAME_BYTES_MAX: u64 = 1_024;
/// Of a text value, so much is kept: enough to recognise it, too little to fill memory.
const TEXT_BYTES_KEPT: u64 = 4_096;
/// All keys, texts and names together.
const KEPT_BYTES_MAX: u64 = 64 << 20;
/// Arrays inside arrays.
const ARRAY_DEPTH_MAX: u32 = 4;
/// ggml's `GGML_MAX_DIMS`.
const DIMENSIONS_MAX: u32 = 4;
/// `GGUF_DEFAULT_ALIGNMENT`.
const ALIGNMENT_DEFAULT: u64 = 32;
/// The fewest bytes of a key with its value: length, type, one byte.
const KEY_BYTES_LEAST: u64 = 8 + 4 + 1;
/// The fewest bytes of an entry in the tensor table: name length, dimensions, type, offset.
const TENSOR_BYTES_LEAST: u64 = 8 + 4 + 4 + 8;

/// Reads up to the weights.
pub(super) fn read(source: impl Read + Seek, length_bytes: u64) -> Result<GgufFile, GgufError> {
    let mut cursor = Cursor {
        source: BufReader::with_capacity(1 << 16, source),
        position: 0,
        length_bytes,
        kept: 0,
    };
    let version = cursor.header()?;
    let tensor_count = cursor.counted("number of tensors", TENSORS_MAX)?;
    let key_count = cursor.counted("number of keys", KEYS_MAX)?;
    cursor.fits("the keys", key_count, KEY_BYTES_LEAST)?;

    let mut keys = Vec::new();
    for _ in 0..key_count {
        let key = cursor.text("a key", KEY_BYTES_MAX, KEY_BYTES_MAX)?;
        let kind = cursor.u32("a key's type")?;
        let value = cursor.value(&key, kind, 0)?;
        keys.push((key, value));
    }

    cursor.fits("the tensor table", tensor_count, TENSOR_BYTES_LEAST)?;
    let mut tensors = Vec::new();
    for _ in 0..tensor_count {
        tensors.push(cursor.tensor()?);
    }

    let mut file =
        GgufFile { version, keys, tensors, data_start_bytes: 0, length_bytes: cursor.length_bytes };
    let alignment = file.count("general.alignment").unwrap_or(ALIGNMENT_DEFAULT);
    if !alignment.is_power_of_two() {
        return Err(GgufError::Alignment { found: alignment });
    }
    file.data_start_bytes = cursor.position.checked_next_multiple_of(alignment).unwrap_or(u64::MAX);
    every_tensor_fits(&file)?;
    Ok(file)
}

fn every_tensor_fits(file: &GgufFile) -> Result<(), GgufError> {
    for tensor in &file.tensors {
        // A type that this build does not know still has its offset inside the file.
        let size_bytes = match tensor.kind.block_weights() {
            None => 0,
            Some(_) => tensor.kind.size_bytes(tensor.weight_count).unwrap_or(u64::MAX),
        };
        let end =
            file.data_start_bytes.saturating_add(tensor.offset_bytes).saturating_add(size_bytes);
        if end > file.length_bytes {
            return Err(GgufError::Truncated {
                what: format!("tensor \"{}\"", tensor.name),
                needed_bytes: end,
                length_bytes: file.length_bytes,
            });
        }
    }
    Ok(())
}

struct Cursor<R> {
    source: BufReader<R>,
    position: u64,
    length_bytes: u64,
    /// Bytes of text kept so far.
    kept: u64,
}

impl<R: Read + Seek> Cursor<R> {
    /// Magic and version.
    fn header(&mut self) -> Result<u32, GgufError> {
        let magic_bytes = 4.min(self.length_bytes);
        let mut magic = Vec::new();
        self.source.by_ref().take(magic_bytes).read_to_end(&mut magic)?;
        self.position = magic_bytes;
        if magic != b"GGUF" {
            let found = match magic.as_slice() {
                [] => "nothing (it is empty)".to_owned(),
                bytes => format!("\"{}\"", bytes.escape_ascii()),
            };
            return Err(GgufError::Magic { found });
        }
        let version = self.u32("the version")?;
        // A big-endian 3 reads as 0x0300_0000; no version ever needs the upper half.
        if version & 0xffff == 0 && version != 0 {
            return Err(GgufError::BigEndian { version: version.swap_bytes() });
        }
        if !(2..=3).contains(&version) {
            return Err(GgufError::Version { found: version });
        }
        Ok(version)
    }

    fn left(&self) -> u64 {
        self.length_bytes - self.position
    }

    /// Whether so many things of at least that size can still come.
    fn fits(&self, what: &str, count: u64, least_bytes: u64) -> Result<(), GgufError> {
        let needed = count.saturating_mul(least_bytes);
        if needed > self.left() {
            return Err(GgufError::Truncated {
                what: what.to_owned(),
                needed_bytes: self.position.saturating_add(needed),
                length_bytes: self.length_bytes,
            });
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], GgufError> {
        self.fits(what, 1, N as u64)?;
        let mut bytes = [0; N];
        self.source.read_exact(&mut bytes)?;
        self.position += N as u64;
        Ok(bytes)
    }

    fn u32(&mut self, what: &str) -> Result<u32, GgufError> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64, GgufError> {
        self.array(what).map(u64::from_le_bytes)
    }

    fn counted(&mut self, what: &str, limit: u64) -> Result<u64, GgufError> {
        let value = self.u64(what)?;
        if value > limit {
            return Err(GgufError::Absurd { what: what.to_owned(), value, limit });
        }
        Ok(value)
    }

    fn skip(&mut self, what: &str, bytes: u64) -> Result<(), GgufError> {
        self.fits(what, bytes, 1)?;
        let distance = i64::try_from(bytes).map_err(|_| GgufError::Truncated {
            what: what.to_owned(),
            needed_bytes: u64::MAX,
            length_bytes: self.length_bytes,
        })?;
        self.source.seek_relative(distance)?;
        self.position += bytes;
        Ok(())
    }

    /// A text of at most `limit` bytes, of which at most `kept` are kept.
    fn text(&mut self, what: &str, limit: u64, kept: u64) -> Result<String, GgufError> {
        let length = self.counted(&format!("length of {what}"), limit)?;
        self.fits(what, length, 1)?;
        let kept = length.min(kept);
        self.kept += kept;
        if self.kept > KEPT_BYTES_MAX {
            return Err(GgufError::Absurd {
                what: "text in the header".to_owned(),
                value: self.kept,
                limit: KEPT_BYTES_MAX,
            });
        }
        // `take` grows the buffer by what arrives, not by what the file announces.
        let mut bytes = Vec::new();
        self.source.by_ref().take(kept).read_to_end(&mut bytes)?;
        self.position += kept;
        if (bytes.len() as u64) < kept {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into());
        }
        self.skip(what, length - kept)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn value(&mut self, key: &str, kind: u32, depth: u32) -> Result<Value, GgufError> {
        let what = format!("key \"{key}\"");
        Ok(match kind {
            0 => Value::Unsigned(self.array::<1>(&what)?[0].into()),
            1 => Value::Signed(i8::from_le_bytes(self.array(&what)?).into()),
            2 => Value::Unsigned(u16::from_le_bytes(self.array(&what)?).into()),
            3 => Value::Signed(i16::from_le_bytes(self.array(&what)?).into()),
            4 => Value::Unsigned(self.u32(&what)?.into()),
            5 => Value::Signed(i32::from_le_bytes(self.array(&what)?).into()),
            6 => Value::Float(f32::from_le_bytes(self.array(&what)?)),
            7 => Value::Bool(self.array::<1>(&what)?[0] != 0),
            8 => Value::Text(self.text(&what, self.length_bytes, TEXT_BYTES_KEPT)?),
            9 => {
                let of = self.u32(&what)?;
                let count = self.u64(&what)?;
                self.skip_array(key, &what, of, count, depth)?;
                Value::Array { of: value_type_name(of), count }
            }
            10 => Value::Unsigned(self.u64(&what)?),
            11 => Value::Signed(i64::from_le_bytes(self.array(&what)?)),
            12 => Value::Double(f64::from_le_bytes(self.array(&what)?)),
            _ => return Err(GgufError::ValueType { key: key.to_owned(), kind }),
        })
    }

    fn skip_array(
        &mut self,
        key: &str,
        what: &str,
        of: u32,
        count: u64,
        depth: u32,
    ) -> Result<(), GgufError> {
        if let Some(bytes) = fixed_size_bytes(of) {
            self.fits(what, count, bytes)?;
            return self.skip(what, count * bytes);
        }
        match of {
            8 => {
                self.fits(what, count, 8)?;
                for _ in 0..count {
                    let length = self.u64(what)?;
                    self.skip(what, length)?;
                }
                Ok(())
            }
            9 if depth < ARRAY_DEPTH_MAX => {
                self.fits(what, count, 4 + 8)?;
                for _ in 0..count {
                    let inner = self.u32(what)?;
                    let inner_count = self.u64(what)?;
                    self.skip_array(key, what, inner, inner_count, depth + 1)?;
                }
                Ok(())
            }
            9 => Err(GgufError::Absurd {
                what: format!("nesting of {what}"),
                value: u64::from(depth) + 1,
                limit: ARRAY_DEPTH_MAX.into(),
            }),
            _ => Err(GgufError::ValueType { key: key.to_owned(), kind: of }),
        }
    }

    fn tensor(&mut self) -> Result<Tensor, GgufError> {
        let name = self.text("a tensor's name", TENSOR_NAME_BYTES_MAX, TENSOR_NAME_BYTES_MAX)?;
        let what = format!("tensor \"{name}\"");
        let dimension_count = self.u32(&what)?;
        if dimension_count > DIMENSIONS_MAX {
            return Err(GgufError::Absurd {
                what: format!("number of dimensions of {what}"),
                value: dimension_count.into(),
                limit: DIMENSIONS_MAX.into(),
            });
        }
        let mut dimensions = Vec::new();
        let mut weight_count = 1u64;
        for _ in 0..dimension_count {
            let dimension = self.u64(&what)?;
            weight_count = weight_count.checked_mul(dimension).ok_or(GgufError::Absurd {
                what: format!("a dimension of {what}"),
                value: dimension,
                limit: u64::MAX / weight_count.max(1),
            })?;
            dimensions.push(dimension);
        }
        let kind = TensorType(self.u32(&what)?);
        let offset_bytes = self.u64(&what)?;
        Ok(Tensor { name, dimensions, kind, offset_bytes, weight_count })
    }
}

/// Bytes of a value of this type; `None` for texts, arrays and unknown types.
const fn fixed_size_bytes(kind: u32) -> Option<u64> {
    match kind {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}

const fn value_type_name(kind: u32) -> &'static str {
    match kind {
        0 => "u8",
        1 => "i8",
        2 => "u16",
        3 => "i16",
        4 => "u32",
        5 => "i32",
        6 => "f32",
        7 => "bool",
        8 => "text",
        9 => "array",
        10 => "u64",
        11 => "i64",
        12 => "f64",
        _ => "unknown",
    }
}
