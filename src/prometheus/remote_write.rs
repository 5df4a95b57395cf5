//! A `WriteRequest` of Prometheus' remote write protocol 1.0: protobuf, compressed by snappy.
//!
//! Main function: [`write_request`]. Pure. Three small messages are all there is, so they are encoded
//! here; a code generator would be more than they are.
//!
//! ```text
//! WriteRequest { repeated TimeSeries timeseries = 1 }
//! TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2 }
//! Label        { string name = 1; string value = 2 }
//! Sample       { double value = 1; int64 timestamp = 2 }    milliseconds since 1970
//! ```

use super::family::{Family, Label};

/// The NaN by which a series is said to end; any other NaN is a value.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// Wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// The body of a request with one sample of each series at `at_ms`; if they `end` with it, a marker
/// a millisecond later says so.
pub(super) fn write_request(
    families: &[Family],
    labels: &[Label],
    at_ms: i64,
    end: bool,
) -> Vec<u8> {
    let mut request = Vec::new();
    for (name, sample) in families.iter().flat_map(Family::series) {
        let mut all: Vec<(&str, &str)> = vec![("__name__", &name)];
        all.extend(sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        for (name, value) in labels {
            if all.iter().all(|(known, _)| known != name) {
                all.push((name, value));
            }
        }
        // An empty label is no label, and receivers refuse labels out of order.
        all.retain(|(_, value)| !value.is_empty());
        all.sort_unstable();

        let mut series = Vec::new();
        for (name, value) in all {
            let mut label = Vec::new();
            bytes(1, name.as_bytes(), &mut label);
            bytes(2, value.as_bytes(), &mut label);
            bytes(1, &label, &mut series);
        }
        bytes(2, &encoded_sample(sample.value.to_bits(), at_ms), &mut series);
        if end {
            bytes(2, &encoded_sample(STALE, at_ms.saturating_add(1)), &mut series);
        }
        bytes(1, &series, &mut request);
    }
    snap::raw::Encoder::new()
        .compress_vec(&request)
        .expect("snappy refuses only what has more than 4 GiB")
}

fn encoded_sample(value_bits: u64, at_ms: i64) -> Vec<u8> {
    let mut sample = Vec::new();
    varint(1 << 3 | FIXED64, &mut sample);
    sample.extend(value_bits.to_le_bytes());
    varint(2 << 3 | VARINT, &mut sample);
    // Two's complement, as protobuf has an int64 before 1970.
    varint(at_ms as u64, &mut sample);
    sample
}

fn bytes(field: u64, content: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | BYTES, out);
    varint(content.len() as u64, out);
    out.extend(content);
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(body: &[u8]) -> Vec<u8> {
        snap::raw::Decoder::new().decompress_vec(body).expect("snappy")
    }

    /// Byte for byte by the definition of the messages above; a real Prometheus reads them in the
    /// integration tests.
    #[test]
    fn a_request_has_sorted_labels_and_its_sample() {
        let family = Family::gauge("up", "Help.", 1.5);
        let labels = [("Zone".to_owned(), "z".to_owned()), ("empty".to_owned(), String::new())];
        let body = plain(&write_request(&[family], &labels, 300, false));
        let mut expected = vec![0x0a, 39];
        expected.extend([0x0a, 9, 0x0a, 4]);
        expected.extend(b"Zone");
        expected.extend([0x12, 1, b'z']);
        expected.extend([0x0a, 14, 0x0a, 8]);
        expected.extend(b"__name__");
        expected.extend([0x12, 2]);
        expected.extend(b"up");
        expected.extend([0x12, 12, 0x09]);
        expected.extend(1.5_f64.to_le_bytes());
        expected.extend([0x10, 0xac, 0x02]);
        expected[1] = (expected.len() - 2) as u8;
        assert_eq!(body, expected);
    }

    #[test]
    fn an_end_is_marked_by_the_nan_that_means_it() {
        let family = Family::counter("x", "Help.", 2.0);
        let body = plain(&write_request(&[family], &[], 5, true));
        let marker = [&[0x12, 11, 0x09][..], &STALE.to_le_bytes(), &[0x10, 6]].concat();
        assert!(body.ends_with(&marker), "{body:?}");
        assert!(f64::from_bits(STALE).is_nan());
    }
}
