//! Prints the calibration of the verdict: false alarms, power, coverage, looks, advice.
//!
//! `cargo run --release --example calibrate` plays 20,000 sessions a figure;
//! `cargo run --release --example calibrate -- levels` finds again what the table of looks holds.
//! The tests play the same with fewer sessions. Percentages throughout.

#![expect(clippy::print_stdout, reason = "figures on stdout are what a calibration is for")]

mod model;
mod play;

use bench_ci::verdict::looks::{
    LEVELS, Look, Looks, TABLE, TABLE_SEED, TABLE_SESSIONS, family_error,
};
use bench_ci::verdict::multiple::holm;
use model::{Chance, Machine, NOISY, QUIET};
use play::{
    OneOf, Play, block_rates, covered, family, rates, sequential, settled_by_advice, significant,
};

const SESSIONS: usize = 20_000;
const SEED: u64 = 1;

fn main() {
    if std::env::args().any(|argument| argument == "levels") {
        levels();
        return;
    }
    pairs_and_effects();
    claims();
    knobs();
    several_metrics();
    looks();
    advice();
    blocks();
}

fn levels() {
    println!(
        "looks, gated metrics: false alarms of a whole session ({TABLE_SESSIONS} sessions, seed {TABLE_SEED})"
    );
    for (pairs, gated, _) in TABLE {
        let levels = &LEVELS[LEVELS.len() - pairs.len()..];
        let looks: Vec<Look> = pairs
            .iter()
            .zip(levels)
            .map(|(pairs, level)| Look { pairs: *pairs, level: *level })
            .collect();
        let error = family_error(&looks, *gated, TABLE_SESSIONS, TABLE_SEED);
        println!("(&{pairs:?}, {gated}, {error:.4})");
    }
}

fn pairs_and_effects() {
    for (name, machine) in [("noisy", NOISY), ("quiet", QUIET)] {
        println!(
            "\n{name}: pairs | p ≤ 5 % at 0, 1, 2, 3 % | coverage | half-width | power at median MDE"
        );
        for pairs in [6, 8, 12, 16, 20] {
            let none = rates(machine, 0.0, pairs, SESSIONS, SEED);
            let power = [1.0, 2.0, 3.0]
                .map(|effect| percent(significant(machine, effect, pairs, SESSIONS, SEED)));
            let at_mde = significant(machine, 100.0 * none.mde80.exp_m1(), pairs, SESSIONS, SEED);
            println!(
                "{pairs:>4} | {} {} | {} | {:.2} | {}",
                percent(none.significant),
                power.join(" "),
                percent(covered(machine, 0.0, pairs, SESSIONS, SEED)),
                100.0 * none.half_width,
                percent(at_mde)
            );
        }
        println!(
            "{name}, verdicts at one look, bar 2 %: pairs, effect | regressed, no-regression, inconclusive"
        );
        for pairs in [8, 12] {
            for effect in [0.0, 2.0, 3.0, 5.0] {
                let found = rates(machine, effect, pairs, SESSIONS, SEED);
                let shares =
                    [found.regressed, found.no_regression, found.inconclusive].map(percent);
                println!("{pairs:>4} {effect} | {}", shares.join(" "));
            }
        }
    }
}

fn claims() {
    println!("\nslow-down said to be called in 80 of 100: pairs, gated metrics, bar | it, called");
    for (name, machine) in [("noisy", NOISY), ("quiet", QUIET)] {
        for (pairs, gated) in [(9, 3), (12, 3), (16, 3), (12, 1)] {
            for bar in [0.02, 0.002] {
                let sessions = OneOf { machine, pairs, gated, bar };
                let effect = 100.0 * sessions.claimed(SESSIONS, SEED).exp_m1();
                let called = percent(sessions.called(effect, SESSIONS, SEED + 1));
                println!("{name} {pairs:>4} {gated} {bar} | {effect:.2} {called}");
            }
        }
    }
}

fn knobs() {
    let knobs: [(&str, Machine); 8] = [
        ("drift ×3", Machine { drift: 12.0, ..NOISY }),
        ("slow drift ×3", Machine { slow: 6.0, ..NOISY }),
        ("position 2 %", Machine { position: 2.0, ..NOISY }),
        ("no position", Machine { position: 0.0, ..NOISY }),
        ("noise ×3", Machine { noise: 2.1, ..NOISY }),
        ("disturbed 25 %", Machine { disturbed: 0.25, ..NOISY }),
        ("undisturbed", Machine { disturbed: 0.0, ..NOISY }),
        ("starts 1 %", Machine { start: 1.0, ..NOISY }),
    ];
    println!("\nfalse alarms with 8, 12, 16 pairs");
    for (name, machine) in knobs {
        let found =
            [8, 12, 16].map(|pairs| percent(significant(machine, 0.0, pairs, SESSIONS, SEED)));
        println!("{name:>16} | {}", found.join(" "));
    }
}

fn several_metrics() {
    println!("\nmetrics, 12 pairs | any p ≤ 5 % | any after Holm");
    for metrics in [2, 8] {
        let mut chance = Chance::new(SEED);
        let (mut any, mut after) = (0, 0);
        for _ in 0..SESSIONS {
            let p = family(NOISY, metrics, 12, &mut chance);
            any += usize::from(p.iter().any(|p| *p <= 0.05));
            after += usize::from(holm(&p).iter().any(|p| *p <= 0.05));
        }
        let [any, after] = [any, after].map(|hits| percent(hits as f64 / SESSIONS as f64));
        println!("{metrics} | {any} | {after}");
    }
}

fn looks() {
    println!(
        "\nthrough the looks: machine, looks, metrics, effect, bar | called, regressed, no-regression | pairs"
    );
    for (name, machine) in [("noisy", NOISY), ("quiet", QUIET)] {
        let cases = [
            (Looks::at(&[8, 12, 16], 1), 1, 0.0, 1e-6, false),
            (Looks::at(&[8, 12, 16], 1), 1, 2.0, 1e-6, false),
            (Looks::at(&[8, 12, 16], 1), 1, 3.0, 1e-6, false),
            (Looks::planned(1), 1, 0.0, 1e-6, false),
            (Looks::planned(1), 1, 0.0, 1e-6, true),
            (Looks::planned(3), 3, 0.0, 1e-6, false),
            (Looks::planned(3), 3, 0.0, 1e-6, true),
            (Looks::planned(8), 8, 0.0, 1e-6, false),
            (Looks::planned(1), 1, 0.0, 0.02, false),
            (Looks::planned(1), 1, 2.0, 0.02, false),
            (Looks::planned(1), 1, 3.0, 0.02, false),
            (Looks::planned(3), 3, 0.0, 0.02, false),
            (Looks::planned(3), 3, 3.0, 0.02, false),
        ];
        for (looks, metrics, effect, bar, cut) in cases {
            let play = Play { machine, effect, metrics, bar, cut };
            let sessions = SESSIONS / metrics;
            let found = sequential(play, &looks, sessions, SEED);
            let pairs: Vec<usize> = looks.all().iter().map(|look| look.pairs).collect();
            let shares = [found.called, found.regressed, found.no_regression].map(percent);
            println!(
                "{name} {pairs:?}{} {metrics} {effect} {bar} | {} | {:.1}",
                if cut { " cut short" } else { "" },
                shares.join(" "),
                found.pairs
            );
        }
    }
}

fn advice() {
    println!(
        "\ninconclusive sessions that their advice settles: pairs, effect | sessions | settled"
    );
    for pairs in [8, 12] {
        for effect in [0.0, 1.0, 3.0, 4.0] {
            let (open, settled) = settled_by_advice(NOISY, effect, pairs, SESSIONS / 10, SEED);
            println!("{pairs} {effect} | {open} | {}", percent(settled));
        }
    }
}

fn blocks() {
    println!(
        "\nfalse alarms of 9 blocks of 30 slice pairs, starts 0.9 %: block as the unit, slices pooled"
    );
    let machine = Machine { slow: 4.0, start: 0.9, ..NOISY };
    let found = block_rates(machine, 9, 30, SESSIONS / 20, SEED).map(percent);
    println!("{}", found.join(" "));
}

fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}
