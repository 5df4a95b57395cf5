//! What the hot path costs per event: the event stream decoder, and reading what an event says.
//!
//! `cargo bench --bench load` prints nanoseconds per event; in the test suite each case
//! is played once, so that the benchmark itself cannot rot.

#![expect(clippy::print_stdout, reason = "figures on stdout are what a benchmark is for")]
#![expect(clippy::unwrap_used, reason = "a broken benchmark may say so by its line")]

use std::hint::black_box;
use std::time::Instant;

use bench_ci::load::delta::DeltaReader;
use bench_ci::load::sse::{Decoder, Item};

const EVENT: &str = r#"data: {"choices":[{"finish_reason":null,"index":0,"delta":{"content":" word"}}],"created":1795329295,"id":"chatcmpl-abcdefghijklmnopqrstuvwx","model":"ggml-model","system_fingerprint":"b1234-abcdef0","object":"chat.completion.chunk"}"#;
const EVENTS_PER_READ: usize = 100;

fn main() {
    let measured = std::env::args().any(|argument| argument == "--bench");
    let rounds = if measured { 20_000 } else { 1 };
    let read = format!("{EVENT}\n\n").repeat(EVENTS_PER_READ).into_bytes();
    let payload = EVENT.strip_prefix("data: ").unwrap().as_bytes();

    let mut decoder = Decoder::default();
    time("decode", rounds, || {
        let mut events = 0;
        let fed = decoder.feed(&read, |item| events += usize::from(matches!(item, Item::Event(_))));
        fed.unwrap();
        events
    });
    let mut halves = Decoder::default();
    time("decode, each event in two reads", rounds, || {
        let mut events = 0;
        for part in read.chunks(read.len() / EVENTS_PER_READ / 2) {
            let fed =
                halves.feed(part, |item| events += usize::from(matches!(item, Item::Event(_))));
            fed.unwrap();
        }
        events
    });
    let mut reader = DeltaReader::default();
    time("read a delta in full", rounds, || {
        (0..EVENTS_PER_READ)
            .filter(|_| reader.read_in_full(black_box(payload)).unwrap().content)
            .count()
    });
    time("know a delta again", rounds, || {
        (0..EVENTS_PER_READ).filter(|_| reader.plain_content(black_box(payload)).is_some()).count()
    });
}

/// Plays `round`, which handles the events of one read and says how many there were.
fn time(what: &str, rounds: usize, mut round: impl FnMut() -> usize) {
    let begun = Instant::now();
    for _ in 0..rounds {
        assert_eq!(black_box(round()), EVENTS_PER_READ, "{what}");
    }
    let nanos = begun.elapsed().as_nanos() as f64 / (rounds * EVENTS_PER_READ) as f64;
    println!("{what:<34} {nanos:>8.1} ns per event");
}
