//! What this machine's processors can do at most: memory bandwidth and arithmetic, measured.
//!
//! Main function: `measure`. A few seconds of plain loops on all cores; no GPU is asked. It is not
//! STREAM or LINPACK, and says how it measured, so that a share of it can be judged.

use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// All threads' buffers together: several times the last-level cache of most machines.
const BUFFER_BYTES: usize = 512 << 20;

/// Least buffer of one thread, larger than its own caches.
const LEAST_BUFFER_BYTES: usize = 16 << 20;

/// Each of them is measured so often; the best counts, because noise only ever slows down.
const TRIES: u32 = 3;

/// How long one try lasts at the least.
const TRY: Duration = Duration::from_millis(120);

/// The loops of a build without optimisation are no peak, and must not look like one.
const BUILD: &str =
    if cfg!(debug_assertions) { ", by a debug build of bench-ci, so far too low" } else { "" };

/// A measured peak.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Bytes or floating point operations per second.
    pub per_second: f64,
    /// How it was measured, in words.
    pub how: String,
}

/// Bytes per second that all cores together read from memory.
#[must_use]
pub fn bandwidth() -> Measured {
    let threads = threads();
    let words = (BUFFER_BYTES / threads).max(LEAST_BUFFER_BYTES) / size_of::<u64>();
    let per_second = best(threads, &|start| {
        let buffer = vec![1_u64; words];
        let begun = start();
        let (mut read, mut sum) = (0, 0_u64);
        while begun.elapsed() < TRY {
            sum = sum.wrapping_add(sum_of(black_box(&buffer)));
            read += buffer.len() * size_of::<u64>();
        }
        black_box(sum);
        read as f64 / begun.elapsed().as_secs_f64()
    });
    let size_mib = (words * size_of::<u64>() * threads) >> 20;
    Measured {
        per_second,
        how: format!("read {size_mib} MiB in a loop on {threads} threads, best of {TRIES}{BUILD}"),
    }
}

/// Floating point operations (32 bits) per second of all cores together, in registers.
#[must_use]
pub fn flops() -> Measured {
    let threads = threads();
    let (name, kernel) = kernel();
    let per_second = best(threads, &|start| {
        let begun = start();
        let mut done = 0.0;
        while begun.elapsed() < TRY {
            done += kernel();
        }
        done / begun.elapsed().as_secs_f64()
    });
    Measured {
        per_second,
        how: format!("32-bit {name} in registers on {threads} threads, best of {TRIES}{BUILD}"),
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// The sum of what all threads reach at the same time, the best of some tries. Each calls `start` once
/// it is prepared, and gets the common begin.
fn best(threads: usize, work: &(dyn Fn(&dyn Fn() -> Instant) -> f64 + Sync)) -> f64 {
    let attempt = || {
        let barrier = Barrier::new(threads);
        let start = || {
            barrier.wait();
            Instant::now()
        };
        std::thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|_| scope.spawn(|| work(&start))).collect();
            running.into_iter().map(|thread| thread.join().unwrap_or(0.0)).sum::<f64>()
        })
    };
    (0..TRIES).map(|_| attempt()).fold(0.0, f64::max)
}

/// Eight sums side by side, so that no addition waits for the one before it.
fn sum_of(buffer: &[u64]) -> u64 {
    let mut sums = [0_u64; 8];
    for chunk in buffer.chunks_exact(8) {
        for (sum, word) in sums.iter_mut().zip(chunk) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().fold(0, |sum, part| sum.wrapping_add(*part))
}

/// Rounds of one call.
const ROUNDS: u32 = 20_000;

/// A multiplication and an addition on each of `N` independent numbers, round after round. Returns how
/// many operations that were.
#[inline(always)]
fn multiply_add<const N: usize, const FUSED: bool>() -> f64 {
    let mut numbers = black_box([1.0_f32; N]);
    let (factor, summand) = (black_box(0.999_9_f32), black_box(0.000_1_f32));
    for _ in 0..ROUNDS {
        for number in &mut numbers {
            // Without the instruction a fused multiplication is a slow call of a library.
            *number =
                if FUSED { number.mul_add(factor, summand) } else { *number * factor + summand };
        }
    }
    black_box(numbers);
    2.0 * N as f64 * f64::from(ROUNDS)
}

/// The widest that this processor has. As many numbers as fill twelve registers: enough for every
/// pipeline, few enough for the loop to stay in registers.
#[cfg(target_arch = "x86_64")]
fn kernel() -> (&'static str, fn() -> f64) {
    #[target_feature(enable = "avx512f")]
    fn avx512() -> f64 {
        multiply_add::<192, true>()
    }
    #[target_feature(enable = "avx2,fma")]
    fn avx2() -> f64 {
        multiply_add::<96, true>()
    }
    if is_x86_feature_detected!("avx512f") {
        #[expect(unsafe_code, reason = "a function for newer processors; this one was asked")]
        // SAFETY: the feature was found just before.
        return ("fused multiply-add (AVX-512)", || unsafe { avx512() });
    }
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        #[expect(unsafe_code, reason = "a function for newer processors; this one was asked")]
        // SAFETY: the features were found just before.
        return ("fused multiply-add (AVX2)", || unsafe { avx2() });
    }
    ("multiply and add (SSE2)", multiply_add::<48, false>)
}

/// Every 64-bit ARM fuses; of others nothing is known.
#[cfg(not(target_arch = "x86_64"))]
fn kernel() -> (&'static str, fn() -> f64) {
    const FUSED: bool = cfg!(target_arch = "aarch64");
    ("multiply-add", multiply_add::<48, FUSED>)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peak_is_a_number_above_zero_with_its_method() {
        for measured in [bandwidth(), flops()] {
            assert!(measured.per_second.is_finite() && measured.per_second > 0.0, "{measured:?}");
            assert!(measured.how.contains("threads"), "{measured:?}");
        }
    }

    #[test]
    fn the_loops_do_what_is_counted() {
        assert_eq!(sum_of(&[1; 64]), 64);
        let operations = multiply_add::<8, false>();
        assert!((operations - 320_000.0).abs() < 0.5);
    }
}
