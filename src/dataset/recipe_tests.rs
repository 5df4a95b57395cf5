//! The draws: bit for bit the same, and really spread as they claim.

use proptest::prelude::*;

use super::*;

fn recipes(spec: &str, seed: u64) -> Vec<Prompt> {
    let spec: SyntheticSpec = spec.parse().expect(spec);
    let given = |conversation| match conversation {
        Conversation::Given(prompt) => prompt,
        other => panic!("{other:?} is no prompt"),
    };
    synthetic(&spec, seed, None).map(given).collect()
}

/// All of them are made before the first is sent, however many requests are to send them.
#[test]
fn a_run_of_many_requests_goes_round_among_a_million_prompts() {
    let spec: SyntheticSpec = "input=8".parse().expect("a recipe");
    for (wanted, made) in [(Some(3), 3), (Some(u64::MAX), 1_000_000), (None, 512)] {
        assert_eq!(synthetic(&spec, 1, wanted).size_hint(), (made, Some(made)), "{wanted:?}");
    }
}

fn recipe(prompt: &Prompt) -> &Recipe {
    match &prompt.content {
        Content::Recipe(recipe) => recipe,
        other => panic!("{other:?} is no recipe"),
    }
}

fn lengths(spec: &str, seed: u64) -> Vec<f64> {
    let spec = format!("input={spec},count=20000");
    recipes(&spec, seed).iter().map(|prompt| recipe(prompt).tokens() as f64).collect()
}

/// The largest distance between the sample and a distribution function of whole numbers.
fn distance(mut sample: Vec<f64>, below_or_at: impl Fn(f64) -> f64) -> f64 {
    sample.sort_by(f64::total_cmp);
    let count = sample.len() as f64;
    let mut largest: f64 = 0.0;
    for (index, value) in sample.iter().enumerate() {
        // Only the last of equal values is where the sample's function has made its step.
        if sample.get(index + 1).is_none_or(|next| next > value) {
            largest = largest.max(((index + 1) as f64 / count - below_or_at(*value)).abs());
        }
    }
    largest
}

/// Kolmogorov's bound at one in ten thousand, for 20,000 draws; rounding to whole numbers is in the
/// distribution functions below.
const BOUND: f64 = 2.23 / 141.4;

fn normal_below(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

#[test]
fn lengths_are_spread_as_they_claim() {
    for seed in [1, 42, 4_000_000_000] {
        let uniform = |x: f64| (x - 99.0) / 801.0;
        let normal = |x: f64| normal_below((x + 0.5 - 512.0) / 128.0);
        // Mean 512 and deviation 300 of the lengths are 6.0903 and 0.5434 of their logarithms.
        let log_normal = |x: f64| normal_below(((x + 0.5).ln() - 6.0903) / 0.5434);
        let far = |spec, claimed: &dyn Fn(f64) -> f64| distance(lengths(spec, seed), claimed);
        assert!(far("uniform:100-900", &uniform) < BOUND);
        assert!(far("normal:512,128", &normal) < BOUND);
        assert!(far("lognormal:512,300", &log_normal) < BOUND);
        // The test can fail: neighbours of each distribution are seen to be others.
        assert!(far("uniform:100-860", &uniform) > BOUND);
        assert!(far("normal:518,128", &normal) > BOUND);
        assert!(far("normal:512,138", &normal) > BOUND);
        assert!(far("lognormal:530,300", &log_normal) > BOUND);
        assert!(far("normal:512,300", &log_normal) > BOUND);
    }
}

#[test]
fn no_length_is_below_one_and_fixed_is_fixed() {
    assert!(lengths("normal:1,50", 7).iter().all(|length| *length >= 1.0));
    assert!(lengths("lognormal:1,50", 7).iter().all(|length| *length >= 1.0));
    assert!(lengths("512", 7).iter().all(|length| (length - 512.0).abs() < 0.5));
    let ends = lengths("uniform:3-5", 7);
    assert!([3.0, 4.0, 5.0].iter().all(|end| ends.iter().any(|seen| (seen - end).abs() < 0.5)));
}

#[test]
fn the_same_seed_draws_the_same_on_every_machine() {
    // Written down once: another machine, version or library must not change them.
    let seen = recipes("input=lognormal:512,300,output=normal:64,16,count=6", 42);
    let lengths: Vec<_> =
        seen.iter().map(|prompt| (recipe(prompt).tokens(), prompt.max_tokens)).collect();
    let expected = [(166, 75), (305, 82), (687, 85), (431, 74), (609, 52), (379, 45)];
    assert_eq!(lengths, expected.map(|(input, output)| (input, Some(output))));
    let draws = recipe(&seen[0]).draws(32_000);
    assert_eq!(draws[..4], [3729, 19_954, 16_184, 14_833]);
}

#[test]
fn asking_for_answers_does_not_change_the_prompts() {
    let without = recipes("input=normal:512,128,count=50", 3);
    let with = recipes("input=normal:512,128,output=uniform:1-9,count=50", 3);
    let contents = |prompts: &[Prompt]| -> Vec<Content> {
        prompts.iter().map(|prompt| prompt.content.clone()).collect()
    };
    assert_eq!(contents(&without), contents(&with));
    assert!(with.iter().all(|prompt| prompt.forced && prompt.max_tokens.is_some()));
    assert!(without.iter().all(|prompt| !prompt.forced && prompt.max_tokens.is_none()));
}

#[test]
fn a_group_shares_its_prefix_and_nothing_else() {
    let prompts = recipes("input=40,prefix=60,prefix_groups=3,count=7", 5);
    let drawn: Vec<Vec<u32>> = prompts.iter().map(|prompt| recipe(prompt).draws(50_000)).collect();
    let common = |a: &[u32], b: &[u32]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    for (first, one) in drawn.iter().enumerate() {
        assert_eq!(one.len(), 100);
        for (second, other) in drawn.iter().enumerate().filter(|(second, _)| *second != first) {
            let shared = common(one, other);
            if first % 3 == second % 3 {
                assert!((60..63).contains(&shared), "{first} and {second} share {shared}");
            } else {
                assert!(shared < 3, "{first} and {second} share {shared}");
            }
        }
    }
}

proptest! {
    #[test]
    fn a_shorter_block_is_the_beginning_of_a_longer(
        seed: u64, key: u64, short in 1_u64..50, more in 0_u64..50, choices in 1_u32..100_000,
    ) {
        let recipe = |tokens| Recipe {
            blocks: vec![Block { key: BlockKey::Shared(key), tokens }],
            seed,
        };
        let (shorter, longer) = (recipe(short).draws(choices), recipe(short + more).draws(choices));
        prop_assert_eq!(&longer[..shorter.len()], &shorter[..]);
        prop_assert!(longer.iter().all(|draw| *draw < choices));
        let endless: Vec<u32> = recipe(short).endless_draws(choices).take(longer.len()).collect();
        prop_assert_eq!(endless, longer);
    }

    #[test]
    fn two_seeds_are_two_workloads(seed in 0_u64..u64::MAX) {
        let (one, other) = (recipes("input=20,count=2", seed), recipes("input=20,count=2", seed + 1));
        prop_assert_ne!(recipe(&one[0]).draws(50_000), recipe(&other[0]).draws(50_000));
    }
}
