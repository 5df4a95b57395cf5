//! The test stand: the server that stands on it now, the cells that were played, and the report that
//! grows with them.
//!
//! Main type: [`Stand`]. It decides which server a cell needs and when one is started anew.

use std::collections::BTreeSet;

use super::{folder, now, save, worst};
use crate::artifact::{
    self, AxisValue, CalibrationStep, CellRequests, CellStatus, RunStatus, SUITE_SCHEMA, SuiteCell,
    SuiteReport, SuiteRun, SuiteServer, Unknowns, store,
};
use crate::cancel::Cancel;
use crate::dataset::{Ask, PromptSet};
use crate::error::Error;
use crate::event::{Event, Events};
use crate::exit::ExitCode;
use crate::plan::Target;
use crate::plan::suite::{CellPlan, SuitePlan, cell_folder, digest};
use crate::prometheus::{Publisher, Settled};
use crate::provenance::Provenance;
use crate::run;
use crate::run::findings::{Findings, Finished, MeasuredPeaks, ReadyModel};
use crate::run::host::Host;
use crate::run::{conclude, measure, sections};

/// Everything that lasts longer than a cell.
pub(super) struct Stand<'a> {
    pub(super) plan: &'a SuitePlan,
    pub(super) report: SuiteReport,
    provenance: Provenance,
    events: &'a Events,
    pub(super) cancel: &'a Cancel,
    /// What the first cell found out about the idle machine.
    idle: Option<(MeasuredPeaks, Option<CalibrationStep>)>,
    model: Option<ReadyModel>,
    /// Those read last, and what they were read for.
    prompts: Option<(Ask, PromptSet)>,
    held: Option<Held>,
    /// Servers that did not start: their other cells would only wait for the same end.
    dead: BTreeSet<usize>,
    /// Cells begun in this process, for the progress line.
    begun: usize,
    total: usize,
}

/// The server on the stand.
struct Held {
    server_index: usize,
    host: Host,
    /// Its entry in the report; `None` for one that is not ours.
    entry: Option<usize>,
}

impl<'a> Stand<'a> {
    pub(super) fn new(
        plan: &'a SuitePlan,
        provenance: Provenance,
        earlier: Option<Option<SuiteReport>>,
        events: &'a Events,
        cancel: &'a Cancel,
    ) -> Self {
        let resumed = earlier.is_some();
        let earlier = earlier.flatten();
        let tags = plan.cells.first().map(|cell| cell.plan.tags.clone()).unwrap_or_default();
        let suite = SuiteRun {
            name: plan.name.clone(),
            runner_label: tags.runner_label,
            branch: tags.branch,
            commit: tags.commit,
            started_at: earlier.as_ref().map_or_else(
                || provenance.started_at.clone(),
                |earlier| earlier.suite.started_at.clone(),
            ),
            finished_at: None,
            exit_code: None,
            planned_server_starts: plan.server_starts() as u64,
            resumed_count: earlier.as_ref().map_or(0, |earlier| earlier.suite.resumed_count)
                + u64::from(resumed),
            unknown: Unknowns::none()
                .with("finished_at", "cells are still to be played")
                .with("exit_code", "the suite has not ended"),
        };
        let report = SuiteReport {
            schema: SUITE_SCHEMA.to_owned(),
            tool: sections::tool(),
            suite,
            machine: sections::machine(&provenance.machine),
            axes: plan.axes.clone(),
            cells: if plan.search.is_some() {
                Vec::new()
            } else {
                plan.cells.iter().map(not_run).collect()
            },
            servers: earlier.map(|earlier| earlier.servers).unwrap_or_default(),
            search: None,
            warnings: Vec::new(),
            unknown: Unknowns::none().with("search", "nothing was searched"),
        };
        let mut stand = Self {
            plan,
            report,
            provenance,
            events,
            cancel,
            idle: None,
            model: None,
            prompts: None,
            held: None,
            dead: BTreeSet::new(),
            begun: 0,
            total: if plan.search.is_some() { 0 } else { plan.cells.len() },
        };
        if resumed {
            stand.keep_what_is_whole();
        }
        stand
    }

    /// The report says how far a cell came: what was played to its end is not played again.
    fn keep_what_is_whole(&mut self) {
        for (position, cell) in self.plan.cells.iter().enumerate() {
            let whole = store::read_report(&cell.plan.out_dir)
                .ok()
                .filter(|report| report.run.status == RunStatus::Completed);
            if let Some(whole) = whole {
                self.report.cells[position] = not_run(cell).with(&whole);
            }
        }
    }

    /// Every cell that is not there yet.
    pub(super) async fn play_all(&mut self) -> Result<(), Error> {
        for (position, cell) in self.plan.cells.iter().enumerate() {
            if self.report.cells[position].status == CellStatus::Completed {
                self.begun += 1;
                continue;
            }
            if self.cancel.reason().is_some() {
                break;
            }
            let (played, stop) = self.play(cell).await?;
            self.report.cells[position] = played;
            save(self.plan, &self.report)?;
            if stop {
                break;
            }
        }
        Ok(())
    }

    /// One cell; and whether no other makes sense after it.
    pub(super) async fn play(&mut self, cell: &CellPlan) -> Result<(SuiteCell, bool), Error> {
        self.begun += 1;
        self.events.send(&Event::CellStarted {
            number: self.begun as u64,
            cells: (self.total > 0).then_some(self.total as u64),
            name: cell.name.clone(),
        });
        let mut entry = not_run(cell);
        if self.dead.contains(&cell.server_index) {
            entry.exit_code = Some(ExitCode::Server.code());
            entry.causes = vec!["its server did not start for an earlier cell".to_owned()];
            return Ok((entry, false));
        }
        let made = |path, source| Error::Output { attempt: "create", path, source };
        std::fs::create_dir_all(&cell.plan.out_dir)
            .map_err(|source| made(cell.plan.out_dir.clone(), source))?;
        run::forget_earlier(&cell.plan.out_dir);
        let mut findings = Findings::begin(self.provenance.again());
        let error = self.measure(cell, &mut findings).await.err();
        // What every further cell would come to as well.
        let stop = matches!(error, Some(Error::Model(_)));
        let finished = conclude::conclude(&cell.plan, findings, error, self.events, self.cancel)?;
        Ok((self.entry_of(entry, &finished), stop))
    }

    fn entry_of(&mut self, entry: SuiteCell, finished: &Finished) -> SuiteCell {
        let entry = entry.with(&finished.report);
        if let Some(server) = self.held.as_ref().and_then(|held| held.entry) {
            self.report.servers[server].cells.push(entry.name.clone());
        }
        entry
    }

    async fn measure(&mut self, cell: &CellPlan, findings: &mut Findings) -> Result<(), Error> {
        let plan = &cell.plan;
        match &self.idle {
            Some((peaks, calibration)) => {
                findings.peaks = peaks.clone();
                findings.calibration.clone_from(calibration);
            }
            None => {
                measure::before(plan, findings, self.events, self.cancel).await?;
                self.idle = Some((findings.peaks.clone(), findings.calibration.clone()));
            }
        }
        if self.model.is_none() {
            self.model = measure::model(plan, self.events, self.cancel).await?;
        }
        findings.model.clone_from(&self.model);
        let wanted = measure::ask_of(plan);
        if self.prompts.as_ref().is_none_or(|(known, _)| *known != wanted) {
            let prompts = measure::prompts(plan, self.events, self.cancel).await?;
            self.prompts = Some((wanted, prompts));
        }
        let fits = |held: &Held| held.server_index == cell.server_index && held.host.is_alive();
        if !self.held.as_ref().is_some_and(fits) {
            self.put_away().await;
            self.put_up(cell, findings).await?;
        }
        let held = self.held.as_mut().expect("a server was put up just now");
        let (_, prompts) = self.prompts.as_ref().expect("prompts were read just now");
        let played = held.host.play(plan, prompts, findings, self.events, self.cancel).await;
        self.model.clone_from(&findings.model);
        if !held.host.is_alive() {
            // Reaped now, so that its end is in the report of the cell that it died under.
            self.put_away().await;
        }
        played
    }

    async fn put_up(&mut self, cell: &CellPlan, findings: &mut Findings) -> Result<(), Error> {
        let log = format!("server-{}.log", self.report.servers.len() + 1);
        let path = self.plan.out_dir.join(&log);
        let ready = Host::ready(&cell.plan, &path, findings, self.events, self.cancel).await;
        let ours = matches!(cell.plan.target, Target::Start(_));
        let entry = ours.then(|| {
            let facts = findings.server.as_ref();
            let mut unknown = Unknowns::none();
            self.report.servers.push(SuiteServer {
                server_index: cell.server_index as u64,
                command: facts.map(|facts| facts.command.clone()).unwrap_or_default(),
                start_s: unknown.option(
                    "start_s",
                    facts.and_then(|facts| facts.start_s),
                    "it never became healthy",
                ),
                log,
                cells: Vec::new(),
                exit: unknown.option("exit", None, "it has not ended"),
                unknown,
            });
            self.report.servers.len() - 1
        });
        match ready {
            Ok(host) => {
                self.held = Some(Held { server_index: cell.server_index, host, entry });
                Ok(())
            }
            Err(error) => {
                if ours && self.cancel.reason().is_none() {
                    self.dead.insert(cell.server_index);
                }
                Err(error)
            }
        }
    }

    async fn put_away(&mut self) {
        let Some(Held { host, entry, .. }) = self.held.take() else { return };
        let mut warnings = Vec::new();
        let exit = host.stop(&mut warnings, self.events, self.cancel).await;
        if let Some((entry, exit)) = entry.zip(exit) {
            self.report.servers[entry].exit = Some(sections::server_exit(&exit));
        }
        self.report.warnings.extend(
            warnings
                .into_iter()
                .map(|message| artifact::Note { code: "server".to_owned(), message }),
        );
    }

    /// Tells what a reader should know, and keeps it for the report.
    pub(super) fn warn(&mut self, code: &str, message: String) {
        let note = artifact::Note { code: code.to_owned(), message: message.clone() };
        self.report.warnings.push(note);
        self.events.send(&Event::Warning { message });
    }

    /// Stops the server, writes the files for the last time, and says what became of it all.
    pub(super) async fn finish(
        mut self,
        publisher: Option<&Publisher>,
    ) -> Result<SuiteReport, Error> {
        self.put_away().await;
        let published = match publisher {
            Some(publisher) => publisher.settle(self.cancel).await,
            None => Settled::default(),
        };
        for message in published.warnings {
            self.warn("published", message);
        }
        let stopped = self.cancel.reason().map(ExitCode::from);
        let codes = self.report.cells.iter().filter_map(|cell| cell.exit_code);
        let exit = match self.plan.search {
            // Trials beyond what the server bears are no failures of anything.
            Some(_) => search_exit(&self.report),
            None => worst(codes.chain(stopped.map(ExitCode::code))),
        };
        let exit = match exit {
            ExitCode::Ok if published.failed => ExitCode::Publish,
            exit => exit,
        };
        self.report.suite.exit_code = Some(stopped.unwrap_or(exit).code());
        let open = self
            .report
            .cells
            .iter()
            .any(|cell| cell.status == CellStatus::NotRun && cell.exit_code.is_none());
        if stopped.is_none() && !open {
            self.report.suite.finished_at = Some(now());
        }
        save(self.plan, &self.report)?;
        Ok(self.report)
    }
}

fn search_exit(report: &SuiteReport) -> ExitCode {
    let grave = |code: &u8| {
        [ExitCode::Model, ExitCode::Server, ExitCode::Usage, ExitCode::Tool]
            .iter()
            .any(|exit| exit.code() == *code)
    };
    let search = report.search.as_ref();
    let found = search.is_some_and(|search| search.value.is_some());
    // What was found then is a bound, and the server's capacity was not seen.
    let limited = search.is_some_and(|search| search.client_limit.is_some());
    let limited = limited.then_some(ExitCode::NotEvidence.code());
    let codes = report.cells.iter().filter_map(|cell| cell.exit_code).filter(grave);
    match worst(codes.chain(limited)) {
        ExitCode::Ok if !found => ExitCode::Threshold,
        exit => exit,
    }
}

fn not_run(cell: &CellPlan) -> SuiteCell {
    let unplayed = "the cell was not played";
    SuiteCell {
        name: cell.name.clone(),
        scenario: cell.scenario.clone(),
        axes: cell
            .axes
            .iter()
            .map(|(name, value)| AxisValue { name: name.clone(), value: value.clone() })
            .collect(),
        server_index: cell.server_index as u64,
        folder: cell_folder(&cell.name).display().to_string(),
        status: CellStatus::NotRun,
        exit_code: None,
        server_kind: None,
        causes: Vec::new(),
        client_limited: false,
        plan_digest: digest(&folder::essence_of(cell)),
        workload_hash: None,
        requests: CellRequests::default(),
        objectives_met: None,
        metrics: std::collections::BTreeMap::new(),
        rates: None,
        unknown: Unknowns::none()
            .with("exit_code", unplayed)
            .with("server_kind", unplayed)
            .with("workload_hash", unplayed)
            .with("objectives_met", unplayed)
            .with("rates", "nothing was measured"),
    }
}
