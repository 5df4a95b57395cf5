//! Plays a search: trial after trial at the loads that the statistics ask for.
//!
//! Main function: [`play`].

use std::time::Instant;

use super::save;
use super::stand::Stand;
use crate::artifact::{CellStatus, SearchKind, SearchPoint, SearchReport, SuiteCell, Unknowns};
use crate::error::Error;
use crate::exit::ExitCode;
use crate::plan::search::{SearchOver, SearchSpec};
use crate::plan::suite::{CELLS, CellPlan};
use crate::plan::{LoadShape, MOST_REQUESTS, RunPlan, Workload};
use crate::search::knee::{Knee, Sample};
use crate::search::{Found, Hunt, Next, Trial};

/// Trials at each load of a knee: the fewest that say how much they differ.
const KNEE_TRIALS: u32 = 3;

/// Trials in a row in which this client was the limit of a load, after which no other is played there: one
/// or two may be a moment in which the machine was busy with something else.
const CLIENT_TRIALS: usize = 3;

/// Throughput that a doubling of the load must add to be called growth.
const GROWTH: f64 = 1.1;

/// Doublings without growth after which a knee lies behind us for sure.
const FLAT: usize = 2;

/// Why there is no load at which this client was the limit.
const NOT_LIMITED: &str = "the search did not end because of this client";

/// A trial with what the search needs of it.
#[derive(Clone)]
struct Played {
    cell: String,
    load: f64,
    requests: u64,
    good: u64,
    rate: Option<f64>,
    /// False where it shows what this client can do and not the server, and nobody accepts that.
    counts: bool,
}

/// Plays it, and puts what was found into the stand's report.
pub(super) async fn play(spec: SearchSpec, stand: &mut Stand<'_>) -> Result<(), Error> {
    let base = stand.plan.cells.first().expect("a search has one cell").clone();
    let spec = within_a_plan(spec, &base.plan.workload);
    let begun = Instant::now();
    let mut search = Search { spec, base, begun, played: Vec::new(), client_limit: None };
    let is_knee = search.base.plan.workload.objectives.is_empty();
    let report = if is_knee { search.knee(stand).await? } else { search.goodput(stand).await? };
    for message in doubts(&stand.report.cells, search.accepts_a_saturated_client()) {
        stand.warn("search", message);
    }
    stand.report.axes = vec![spec.over.name().to_owned()];
    stand.report.search = Some(report);
    stand.report.unknown = Unknowns::none();
    Ok(())
}

/// What is to be said of trials that are no evidence.
fn doubts(cells: &[SuiteCell], accepted: bool) -> Vec<String> {
    let all = cells.len();
    let limited = cells.iter().filter(|cell| cell.client_limited).count();
    let no_evidence = |cell: &&SuiteCell| cell.exit_code == Some(ExitCode::NotEvidence.code());
    let other = cells.iter().filter(no_evidence).filter(|cell| !cell.client_limited).count();
    let mut doubts = Vec::new();
    if limited > 0 {
        let but = if accepted {
            "they count all the same (--accept-saturated-client), so what was found may be how much this client can do"
        } else {
            "they count for nothing, and their reports say why"
        };
        doubts.push(format!(
            "in {limited} of {all} trials this client was the limit and not the server; {but}"
        ));
    }
    if other > 0 {
        doubts.push(format!(
            "{other} of {all} trials are no evidence by the rules for a run of their own; their reports say why"
        ));
    }
    doubts
}

struct Search {
    spec: SearchSpec,
    base: CellPlan,
    begun: Instant,
    /// In order, those that do not count too.
    played: Vec<Played>,
    /// The load at which this client was the limit, so that no other trial makes sense.
    client_limit: Option<f64>,
}

impl Search {
    async fn goodput(&mut self, stand: &mut Stand<'_>) -> Result<SearchReport, Error> {
        let mut hunt = Hunt::new(self.spec);
        let found = loop {
            let load = match hunt.next() {
                Next::Done(found) => break found,
                Next::Try(load) => load,
            };
            match self.counting_trial(load, stand).await? {
                Ok(Played { requests, good, .. }) => hunt.note(load, Trial { requests, good }),
                Err(why) => break hunt.give_up(&why),
            }
        };
        let Found { value, interval: found, precise, reason } = found;
        let points = hunt.points().iter().map(|point| {
            let totals = point.totals();
            self.point(
                point.load,
                totals.requests,
                totals.good,
                Some((point.ratio_interval(), hunt.verdict(point).name().to_owned())),
            )
        });
        let points = points.collect();
        let mut unknown = Unknowns::none();
        let objectives = &self.base.plan.workload.objectives;
        Ok(SearchReport {
            over: self.spec.over,
            kind: SearchKind::Goodput,
            objectives: objectives.iter().map(ToString::to_string).collect(),
            goodput_ratio: Some(self.spec.goodput_ratio),
            value: unknown.option("value", value, &reason),
            client_limit: unknown.option("client_limit", self.client_limit, NOT_LIMITED),
            interval: unknown.option("interval", found, &reason),
            precise,
            reasons: vec![reason],
            points,
            unknown,
        })
    }

    async fn knee(&mut self, stand: &mut Stand<'_>) -> Result<SearchReport, Error> {
        let mut load = self.spec.at_least.unwrap_or(1.0);
        let mut reasons = Vec::new();
        let (mut best, mut flat) = (0.0_f64, 0);
        'doubling: while flat < FLAT && self.spec.at_most.is_none_or(|most| load <= most) {
            let mut sum = 0.0;
            for _ in 0..KNEE_TRIALS {
                match self.knee_trial(load, stand).await? {
                    Ok(rate) => sum += rate,
                    Err(why) => {
                        reasons.push(why);
                        break 'doubling;
                    }
                }
            }
            let mean = sum / f64::from(KNEE_TRIALS);
            flat = if mean > best * GROWTH { 0 } else { flat + 1 };
            best = best.max(mean);
            load *= 2.0;
        }
        // Between the doublings only where something is to be seen.
        if let (true, Some(first)) = (reasons.is_empty(), self.fit()) {
            let near = [0.75, 1.0, 1.5].map(|factor| match self.spec.over {
                SearchOver::Users => (first.load * factor).round().max(1.0),
                SearchOver::Rate => first.load * factor,
            });
            'near: for load in near {
                if self.played.iter().any(|played| (played.load / load - 1.0).abs() < 0.01) {
                    continue;
                }
                for _ in 0..KNEE_TRIALS {
                    if let Err(why) = self.knee_trial(load, stand).await? {
                        reasons.push(why);
                        break 'near;
                    }
                }
            }
        }
        let knee = self.fit();
        if knee.is_none() && reasons.is_empty() {
            reasons.push("throughput still grows at the most load that was tried".to_owned());
        }
        let why = reasons.join("; ");
        let mut loads: Vec<f64> = self.counting().map(|played| played.load).collect();
        loads.sort_by(f64::total_cmp);
        loads.dedup_by(|a, b| a.total_cmp(b).is_eq());
        let points = loads.iter().map(|load| {
            let requests = self.counting_at(*load).map(|played| played.requests).sum();
            let good = self.counting_at(*load).map(|played| played.good).sum();
            self.point(*load, requests, good, None)
        });
        let points = points.collect();
        let precise = knee.is_some_and(|knee| {
            (knee.interval[1] - knee.interval[0]) / knee.load <= self.spec.precision
        });
        if knee.is_some() && reasons.is_empty() {
            reasons.push("two straight lines through throughput over load meet there".to_owned());
        }
        let mut unknown = Unknowns::none();
        unknown.note("goodput_ratio", "a knee is about throughput");
        Ok(SearchReport {
            over: self.spec.over,
            kind: SearchKind::Knee,
            objectives: Vec::new(),
            goodput_ratio: None,
            value: unknown.option("value", knee.map(|knee| knee.load), &why),
            client_limit: unknown.option("client_limit", self.client_limit, NOT_LIMITED),
            interval: unknown.option("interval", knee.map(|knee| knee.interval), &why),
            precise,
            reasons,
            points,
            unknown,
        })
    }

    fn fit(&self) -> Option<Knee> {
        let samples: Vec<Sample> = self
            .counting()
            .filter_map(|played| {
                let throughput = played.rate.filter(|rate| *rate > 0.0)?;
                Some(Sample { load: played.load, throughput })
            })
            .collect();
        Knee::of(&samples, self.base.plan.workload.seed)
    }

    async fn knee_trial(
        &mut self,
        load: f64,
        stand: &mut Stand<'_>,
    ) -> Result<Result<f64, String>, Error> {
        let played = self.counting_trial(load, stand).await?;
        Ok(played.and_then(|played| played.rate.ok_or_else(|| "a trial has no rate".to_owned())))
    }

    fn accepts_a_saturated_client(&self) -> bool {
        self.base.plan.limits.accept_saturated_client
    }

    fn counting(&self) -> impl Iterator<Item = &Played> {
        self.played.iter().filter(|played| played.counts)
    }

    fn counting_at(&self, load: f64) -> impl Iterator<Item = &Played> {
        self.counting().filter(move |played| played.load.total_cmp(&load).is_eq())
    }

    /// A trial at a load that says something about the server: one that shows this client's limit is played
    /// again. The inner error is why the search cannot go on.
    async fn counting_trial(
        &mut self,
        load: f64,
        stand: &mut Stand<'_>,
    ) -> Result<Result<Played, String>, Error> {
        for _ in 0..CLIENT_TRIALS {
            if let Some(why) = self.must_end(stand) {
                return Ok(Err(why));
            }
            let played = match self.trial(load, stand).await? {
                Ok(played) => played,
                Err(why) => return Ok(Err(why)),
            };
            self.played.push(played.clone());
            if played.counts {
                return Ok(Ok(played));
            }
        }
        self.client_limit = Some(load);
        let causes = stand.report.cells.last().map(|trial| trial.causes.join("; "));
        Ok(Err(format!(
            "at {load} this client was the limit and not the server, {CLIENT_TRIALS} times in a row: {}; \
             let a faster or less busy machine be the client, or pass --accept-saturated-client",
            causes.unwrap_or_default()
        )))
    }

    /// Why no further trial may begin; `None` if one may.
    fn must_end(&self, stand: &Stand<'_>) -> Option<String> {
        if stand.cancel.reason().is_some() {
            return Some("it was interrupted".to_owned());
        }
        let spent = self.begun.elapsed() >= self.spec.budget;
        spent.then(|| {
            let minutes = self.spec.budget.as_secs_f64() / 60.0;
            format!("the budget of {minutes:.1} minutes is spent")
        })
    }

    /// One trial at a load. The inner error is why the search cannot go on.
    async fn trial(
        &mut self,
        load: f64,
        stand: &mut Stand<'_>,
    ) -> Result<Result<Played, String>, Error> {
        let number =
            1 + self.played.iter().filter(|played| played.load.total_cmp(&load).is_eq()).count();
        let shown = (load * 1e6).round() / 1e6;
        let mut cell = self.base.clone();
        cell.name = format!("{}={shown},trial={number}", self.spec.over.name());
        cell.axes = vec![(self.spec.over.name().to_owned(), shown.to_string())];
        cell.plan.out_dir = stand.plan.out_dir.join(CELLS).join(&cell.name);
        cell.plan.tags.name = format!("{}: {}", stand.plan.name, cell.name);
        put(load, self.spec.over, &mut cell.plan.workload);
        // Other arrivals and other prompts in each trial, the same in every search.
        let trials = self.played.len() as u64;
        cell.plan.workload.seed =
            cell.plan.workload.seed.wrapping_add(trials) % (u64::from(u32::MAX) - 1);
        let (entry, _) = stand.play(&cell).await?;
        let played = outcome(&entry, load, &cell.plan);
        stand.report.cells.push(entry);
        save(stand.plan, &stand.report)?;
        Ok(played)
    }

    fn point(
        &self,
        load: f64,
        requests: u64,
        good: u64,
        judged: Option<([f64; 2], String)>,
    ) -> SearchPoint {
        let here: Vec<&Played> = self.counting_at(load).collect();
        let rates: Vec<f64> = here.iter().filter_map(|played| played.rate).collect();
        let mean = (!rates.is_empty()).then(|| rates.iter().sum::<f64>() / rates.len() as f64);
        let (ratio_interval, verdict) = judged.unzip();
        let mut unknown = Unknowns::none();
        let knee = "a knee is about throughput";
        SearchPoint {
            load,
            trials: here.iter().map(|played| played.cell.clone()).collect(),
            requests,
            good,
            ratio_interval: unknown.option("ratio_interval", ratio_interval, knee),
            requests_per_second: unknown.option("requests_per_second", mean, "no trial has a rate"),
            verdict: unknown.option("verdict", verdict, knee),
            unknown,
        }
    }
}

/// The search without rates at which a trial had more arrivals than a plan may have.
fn within_a_plan(spec: SearchSpec, workload: &Workload) -> SearchSpec {
    let own = workload.duration.filter(|_| workload.n_prompts.is_none()).unwrap_or_default();
    let seconds = (own + workload.cool_down).as_secs_f64();
    if spec.over != SearchOver::Rate || seconds <= 0.0 {
        return spec;
    }
    let possible = MOST_REQUESTS as f64 / seconds;
    SearchSpec { at_most: Some(spec.at_most.map_or(possible, |most| most.min(possible))), ..spec }
}

fn put(load: f64, over: SearchOver, workload: &mut Workload) {
    match over {
        // Users are whole and bounded where loads are made.
        SearchOver::Users => workload.users = Some(load as u32),
        SearchOver::Rate => {
            if let LoadShape::Arrivals { rate_per_second, .. } = &mut workload.shape {
                *rate_per_second = load;
            }
        }
    }
}

/// What a trial says about its load; or why it says nothing.
fn outcome(cell: &SuiteCell, load: f64, plan: &RunPlan) -> Result<Played, String> {
    let judged = !plan.workload.objectives.is_empty();
    let requests = &cell.requests;
    let measured = cell.status == CellStatus::Completed && requests.planned > 0;
    if !measured {
        let causes = cell.causes.join("; ");
        return Err(format!("the trial at {load} was not played to its end: {causes}"));
    }
    // Nothing completed is nothing good; for a knee nobody asks.
    let good = match cell.objectives_met {
        Some(good) => good,
        None if requests.completed == 0 || !judged => 0,
        None => {
            return Err(format!(
                "the trial at {load} cannot be judged: a completed request has no value for an objective"
            ));
        }
    };
    Ok(Played {
        cell: cell.name.clone(),
        load,
        requests: requests.planned,
        good,
        rate: cell.rates.as_ref().and_then(|rates| rates.figures.requests_per_second),
        counts: !cell.client_limited || plan.limits.accept_saturated_client,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::scenario::{Origin, Overrides, builtin, workload};
    use crate::plan::search::{BUDGET, GOODPUT_RATIO, PRECISION};

    #[test]
    fn no_rate_is_tried_whose_arrivals_no_plan_may_have() {
        let spec = |over, at_most| SearchSpec {
            over,
            goodput_ratio: GOODPUT_RATIO,
            precision: PRECISION,
            at_least: None,
            at_most,
            budget: BUDGET,
        };
        let chat = builtin("chat").expect("built in");
        let overrides =
            Overrides { duration: Some(Duration::from_secs(40)), ..Overrides::default() };
        let mut timed = workload(chat, &Origin::BuiltIn("chat"), &overrides).expect("valid");
        let most = |spec, workload: &Workload| within_a_plan(spec, workload).at_most;
        assert_eq!(most(spec(SearchOver::Rate, None), &timed), Some(500_000.0));
        assert_eq!(most(spec(SearchOver::Rate, Some(7.0)), &timed), Some(7.0));
        assert_eq!(most(spec(SearchOver::Users, None), &timed), None);
        timed.n_prompts = Some(10);
        assert_eq!(most(spec(SearchOver::Rate, None), &timed), None, "its requests are counted");
        timed.cool_down = Duration::from_secs(50);
        assert_eq!(most(spec(SearchOver::Rate, None), &timed), Some(400_000.0));
    }
}
