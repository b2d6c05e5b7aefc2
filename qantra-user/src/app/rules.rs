//! Enters: requests and responses of sites that have rules. Leaves: what is to be done with each, findings for policy, and
//! a short memory of what was refused. It runs on the proxy's threads: small bodies are looked at there, large ones by
//! threads of their own; it must never make a request wait beyond its deadline.

mod collections;
mod inspectors;
mod keeper;

use std::{cell::RefCell, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::{HeaderMap, StatusCode, Version};
use prometheus::IntCounter;
use qantra_seclang::{Connection, EngineMode, Host, NoLookups, RuleSet, Scratch};
use tokio::sync::oneshot;

pub(super) use self::keeper::RuleKeeper;
use self::{collections::SharedCollections, inspectors::Inspectors};
use super::{actor::Actor, judge::path_of};
use crate::{
    clock::{self, Now},
    config::{Config, LateAction},
    decide::Action,
    detect::{RequestOrigin, from_rules},
    enforce::Enforcer,
    inspect::{RequestView, RuleReport, RuleRun, RuleSite},
    metrics::{Metrics, RuleMetrics},
    proxy::{Judgement, RequestContext, RuleOpinion, RuleRefusal, Ruled},
    rules::{RuleSets, SiteRules},
};

/// Bodies up to this length are looked at on the proxy's thread: forms and JSON of so many bytes take CRS 4 less than a
/// millisecond, those of 60 kB up to 20.
const INLINE_BODY_BYTES_MAX: usize = 4 * 1024;
/// Warm memories that a thread keeps for transactions to come.
const SCRATCHES_MAX: usize = 16;
/// A memory that a large request has grown beyond this is given back.
const SCRATCH_BYTES_MAX: usize = 512 * 1024;

/// A transaction takes the box itself: it goes to other threads with it.
type Scratches = Vec<Box<Scratch>>;

thread_local! {
    /// In the steady state a transaction allocates nothing.
    static SCRATCHES: RefCell<Scratches> = const { RefCell::new(Vec::new()) };
}

fn take_scratch() -> Box<Scratch> {
    SCRATCHES.with_borrow_mut(Vec::pop).unwrap_or_default()
}

fn give_scratch(scratch: Box<Scratch>) {
    if scratch.held_bytes() > SCRATCH_BYTES_MAX {
        return;
    }
    SCRATCHES.with_borrow_mut(|kept| {
        if kept.len() < SCRATCHES_MAX {
            kept.push(scratch);
        }
    });
}

/// Runs the rules of every site.
pub(super) struct RuleRunner {
    sets: Arc<ArcSwap<RuleSets>>,
    config: Arc<ArcSwap<Config>>,
    enforcer: Arc<Enforcer>,
    actor: Arc<Actor>,
    collections: SharedCollections,
    inspectors: Inspectors,
    metrics: Arc<RuleMetrics>,
    fail_open: IntCounter,
    shed: IntCounter,
}

/// What a request is besides its run.
struct Seen<'a> {
    engine: EngineMode,
    ruleset: &'a str,
    wants_response: bool,
    origin: RequestOrigin<'a>,
}

/// The same, for a thread that outlives the request.
struct Kept {
    site: SiteRules,
    wants_response: bool,
    source: std::net::IpAddr,
    request_id: String,
    method: String,
    path: String,
}

impl RuleRunner {
    /// Starts the inspectors.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(
        sets: Arc<ArcSwap<RuleSets>>,
        config: Arc<ArcSwap<Config>>,
        enforcer: Arc<Enforcer>,
        actor: Arc<Actor>,
        metrics: &Metrics,
    ) -> std::io::Result<Self> {
        Ok(Self {
            sets,
            config,
            enforcer,
            actor,
            collections: SharedCollections::default(),
            inspectors: Inspectors::start()?,
            metrics: Arc::clone(&metrics.rules),
            fail_open: metrics.fail_open("rules"),
            shed: metrics.queue_dropped("rules"),
        })
    }

    /// Phases 1 and 2.
    pub(super) fn request(self: &Arc<Self>, request: &RequestView<'_>, context: &RequestContext<'_>) -> RuleOpinion {
        let sets = self.sets.load();
        let site = context.site.and_then(|site| sets.site(site));
        let Some(site) = site.filter(|site| site.engine != EngineMode::Off) else {
            return RuleOpinion::Now(Ruled::only(Judgement::Pass));
        };
        let began_ns = clock::boot_ns();
        let connection = Connection {
            client: context.client,
            client_port: context.peer_port,
            server: context.server.ip(),
            server_port: context.server.port(),
            unique_id: context.request_id,
        };
        let rules = RuleSite { rules: Arc::clone(&site.rules), engine: site.engine, name: &site.name };
        let mut run = RuleRun::begin(rules, take_scratch(), request, &connection);
        let ended = self.with_host(|host| run.head(request, host));
        if !ended && run.body_bytes() > INLINE_BODY_BYTES_MAX {
            return self.hand_on(run, site, request, context, began_ns);
        }
        if !ended {
            self.with_host(|host| run.body(host));
        }
        let ruled = match run.report() {
            // The usual case, without a thought about who asked for what.
            None => self.passed(run, site.rules.settings().response_body_access),
            Some(report) => {
                let path = path_of(request);
                let origin = RequestOrigin {
                    source: context.client,
                    site: Some(&site.name),
                    request_id: context.request_id,
                    method: request.method.as_str(),
                    path: &path,
                };
                let seen = Seen {
                    engine: site.engine,
                    ruleset: name_of(&site.rules),
                    wants_response: site.rules.settings().response_body_access,
                    origin,
                };
                self.reported(run, &report, &seen)
            }
        };
        self.metrics.seconds.observe((clock::boot_ns() - began_ns) as f64 / 1e9);
        RuleOpinion::Now(ruled)
    }

    /// Gives a large body to the inspectors.
    fn hand_on(
        self: &Arc<Self>,
        mut run: RuleRun,
        site: &SiteRules,
        request: &RequestView<'_>,
        context: &RequestContext<'_>,
        began_ns: u64,
    ) -> RuleOpinion {
        let inspect = &self.config.load().inspect;
        let late = match inspect.when_late {
            LateAction::Pass => Judgement::Pass,
            LateAction::Refuse if site.engine == EngineMode::On => Judgement::Refuse(RuleRefusal::status(503)),
            LateAction::Refuse => Judgement::Pass,
        };
        let kept = Kept {
            site: site.clone(),
            wants_response: site.rules.settings().response_body_access,
            source: context.client,
            request_id: context.request_id.to_owned(),
            method: request.method.as_str().to_owned(),
            path: path_of(request),
        };
        let (verdict, answer) = oneshot::channel();
        let runner = Arc::clone(self);
        let job = move || {
            if verdict.is_closed() {
                // Nobody waits any more: what is still in time goes first.
                return;
            }
            runner.with_host(|host| run.body(host));
            let seen = Seen {
                engine: kept.site.engine,
                ruleset: name_of(&kept.site.rules),
                wants_response: kept.wants_response,
                origin: RequestOrigin {
                    source: kept.source,
                    site: Some(&kept.site.name),
                    request_id: &kept.request_id,
                    method: &kept.method,
                    path: &kept.path,
                },
            };
            let ruled = match run.report() {
                None => runner.passed(run, seen.wants_response),
                Some(report) => runner.reported(run, &report, &seen),
            };
            runner.metrics.seconds.observe((clock::boot_ns() - began_ns) as f64 / 1e9);
            // The request may have gone on meanwhile; the finding stands all the same.
            let _ = verdict.send(ruled);
        };
        match self.inspectors.submit(Box::new(job)) {
            Ok(()) => RuleOpinion::Soon { answer, deadline: Duration::from_millis(inspect.deadline_ms), late },
            Err(_) => {
                self.shed.inc();
                if late == Judgement::Pass {
                    self.fail_open.inc();
                }
                RuleOpinion::Now(Ruled::only(late))
            }
        }
    }

    /// No rule matched.
    fn passed(&self, run: RuleRun, wants_response: bool) -> Ruled {
        if wants_response {
            return Ruled { judgement: Judgement::Pass, run: Some(run) };
        }
        self.end(run);
        Ruled::only(Judgement::Pass)
    }

    /// Some rule matched: the rare path, so it may allocate.
    fn reported(&self, run: RuleRun, report: &RuleReport, seen: &Seen<'_>) -> Ruled {
        let judgement = self.judge(report, seen);
        if judgement == Judgement::Pass && seen.wants_response {
            return Ruled { judgement, run: Some(run) };
        }
        self.end(run);
        Ruled::only(judgement)
    }

    fn judge(&self, report: &RuleReport, seen: &Seen<'_>) -> Judgement {
        let now = Now::read();
        let is_on = seen.engine == EngineMode::On;
        let finding = from_rules(report, seen.ruleset, &seen.origin, now);
        // Most matches are matters of form, and policy's lock is for what it may act on.
        let finding = finding.filter(|finding| finding.confidence >= self.least_confidence());
        // What rules say in `detect` must harm nobody: it is decided as in simulation.
        let standing = finding.and_then(|finding| self.actor.act_as(finding, now, !is_on));
        let judgement = match (&report.ending, standing) {
            _ if !is_on || self.enforcer.is_simulation() => Judgement::Pass,
            (_, Some(standing)) if standing.action == Action::Forward => Judgement::Act(standing),
            (Some(ending), standing) => Judgement::Refuse(RuleRefusal {
                status: ending.status,
                location: ending.location.clone(),
                is_drop: ending.is_drop,
                decision: standing.and_then(|standing| standing.decision),
            }),
            (None, Some(standing)) => Judgement::Act(standing),
            (None, None) => Judgement::Pass,
        };
        let result = if judgement == Judgement::Pass { "passed" } else { "refused" };
        self.metrics.matched.with_label_values(&[seen.origin.site.unwrap_or("-"), result]).inc();
        judgement
    }

    /// The confidence below which no policy acts.
    fn least_confidence(&self) -> f32 {
        let policy = &self.config.load().policy;
        policy.rules.iter().filter_map(|rule| rule.confidence).fold(policy.confidence, f32::min)
    }

    /// Phase 3.
    pub(super) fn response_head(
        &self,
        run: &mut RuleRun,
        (status, version, headers): (StatusCode, Version, &HeaderMap),
        context: &RequestContext<'_>,
    ) -> Judgement {
        self.with_host(|host| run.response_head(status, version, headers, host));
        self.of_response(run, context)
    }

    /// Phase 4.
    pub(super) fn response_body(&self, run: &mut RuleRun, body: &[u8], context: &RequestContext<'_>) -> Judgement {
        let began_ns = clock::boot_ns();
        self.with_host(|host| run.response_body(body, host));
        let judgement = self.of_response(run, context);
        self.metrics.response_seconds.observe((clock::boot_ns() - began_ns) as f64 / 1e9);
        judgement
    }

    fn of_response(&self, run: &mut RuleRun, context: &RequestContext<'_>) -> Judgement {
        let Some(report) = run.report() else { return Judgement::Pass };
        let sets = self.sets.load();
        let Some(site) = context.site.and_then(|site| sets.site(site)) else { return Judgement::Pass };
        let origin = RequestOrigin {
            source: context.client,
            site: Some(&site.name),
            request_id: context.request_id,
            method: "",
            path: "",
        };
        let seen = Seen { engine: site.engine, ruleset: name_of(&site.rules), wants_response: true, origin };
        self.judge(&report, &seen)
    }

    /// Says how much rules keep over requests.
    pub(super) fn tell_collections(&self) {
        let (len, evicted) = self.collections.counts();
        self.metrics.collections.set(len as i64);
        self.metrics.collections_evicted.set(evicted as i64);
    }

    /// Phase 5.
    pub(super) fn end(&self, run: RuleRun) {
        give_scratch(self.with_host(|host| run.end(host)));
    }

    fn with_host<T>(&self, run: impl FnOnce(&mut Host<'_>) -> T) -> T {
        let now = Now::read();
        let mut collections = &self.collections;
        run(&mut Host { now_s: now.unix_ms / 1_000, elapsed_ms: 0, collections: &mut collections, lookups: &NoLookups })
    }
}

/// Says what was loaded.
fn tell(sets: &RuleSets, metrics: &Metrics) {
    metrics.rules.sets.set(sets.sets().len() as i64);
    metrics.rules.bytes.set(sets.bytes() as i64);
    for set in sets.sets() {
        let (summary, name) = (set.summary(), name_of(&set.rules));
        tracing::info!(ruleset = name, rules = summary.rules, load_ms = set.load_ms, "rules loaded");
        for warning in set.warnings() {
            tracing::warn!("{warning}");
        }
    }
}

/// What a rule set calls itself: `OWASP_CRS/4.20.0`.
fn name_of(rules: &RuleSet) -> &str {
    rules.signatures().first().map_or("own", String::as_str)
}
