//! Enters: requests and responses of sites that have rules. Leaves: what is to be done with each, findings for policy, and
//! a short memory of what was refused. It runs on the proxy's threads: small bodies are looked at there, large ones by
//! threads of their own; it must never make a request wait beyond its deadline.

mod collections;
mod inspectors;
mod journal;
mod keeper;
mod scratches;
mod verdict;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use http::{HeaderMap, StatusCode, Version};
use prometheus::IntCounter;
use qantra_seclang::{Connection, EngineMode, Host, NoLookups, RuleSet};
use tokio::sync::oneshot;

pub(super) use self::keeper::RuleKeeper;
use self::{collections::SharedCollections, inspectors::Inspectors, journal::RuleJournal, verdict::Seen};
use super::{actor::Actor, judge::path_of};
use crate::{
    clock::{self, Now},
    config::{Config, LateAction, RulesConfirm, SiteIndex},
    detect::RequestOrigin,
    enforce::Enforcer,
    inspect::{RequestView, RuleEnding, RuleReport, RuleRun, RuleSigns, RuleSite},
    metrics::{Metrics, RuleMetrics},
    proxy::{Held, Judgement, RequestContext, RuleOpinion, RuleRefusal, Ruled, Suspicion},
    rules::{RuleSets, SiteRules},
};

/// Bodies up to this length are looked at on the proxy's thread: forms and JSON of so many bytes take CRS 4 less than a
/// millisecond, those of 60 kB up to 20.
const INLINE_BODY_BYTES_MAX: usize = 4 * 1024;
/// Runs the rules of every site.
pub(super) struct RuleRunner {
    sets: Arc<ArcSwap<RuleSets>>,
    config: Arc<ArcSwap<Config>>,
    enforcer: Arc<Enforcer>,
    actor: Arc<Actor>,
    collections: SharedCollections,
    inspectors: Inspectors,
    journal: Arc<RuleJournal>,
    metrics: Arc<RuleMetrics>,
    fail_open: IntCounter,
    shed: IntCounter,
}

/// What a request is besides its run, for a thread that outlives it.
struct Kept {
    at: SiteIndex,
    site: SiteRules,
    source: std::net::IpAddr,
    request_id: String,
    method: String,
    path: String,
}

impl Kept {
    fn of(at: SiteIndex, site: &SiteRules, request: &RequestView<'_>, context: &RequestContext<'_>) -> Self {
        Self {
            at,
            site: site.clone(),
            source: context.client,
            request_id: context.request_id.to_owned(),
            method: request.method.as_str().to_owned(),
            path: path_of(request),
        }
    }

    fn origin(&self) -> RequestOrigin<'_> {
        RequestOrigin {
            source: self.source,
            site: Some(&self.site.name),
            request_id: &self.request_id,
            method: &self.method,
            path: &self.path,
        }
    }
}

impl RuleRunner {
    /// Starts the inspectors.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(
        keeper: &RuleKeeper,
        config: Arc<ArcSwap<Config>>,
        enforcer: Arc<Enforcer>,
        actor: Arc<Actor>,
        metrics: &Metrics,
    ) -> std::io::Result<Self> {
        Ok(Self {
            sets: keeper.sets(),
            journal: Arc::clone(keeper.journal()),
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
        let known = context.site.and_then(|at| Some((at, sets.site(at)?)));
        let Some((at, site)) = known.filter(|(_, site)| site.engine != EngineMode::Off) else {
            return RuleOpinion::Now(Ruled::only(Judgement::Pass));
        };
        // Read once: rules go by the second, and clocks cost more than most of them.
        let now = Now::read();
        let connection = Connection {
            client: context.client,
            client_port: context.peer_port,
            server: context.server.ip(),
            server_port: context.server.port(),
            unique_id: context.request_id,
        };
        let rules = RuleSite { rules: Arc::clone(&site.rules), engine: site.engine, name: &site.name };
        let mut run = RuleRun::begin(rules, scratches::take(), request, &connection);
        let ended = self.with_host(now, |host| run.head(request, host));
        if !ended && run.body_bytes() > INLINE_BODY_BYTES_MAX {
            return self.hand_on(run, (at, site), request, context, now);
        }
        if !ended {
            self.with_host(now, |host| run.body(host));
        }
        let ruled = match run.report() {
            // The usual case, without a thought about who asked for what.
            None => self.passed(run, site, now),
            Some(report) => self.held_or_reported(run, report, Kept::of(at, site, request, context), now),
        };
        self.metrics.seconds.observe((clock::boot_ns() - now.boot_ns) as f64 / 1e9);
        RuleOpinion::Now(ruled)
    }

    /// Gives a large body to the inspectors.
    fn hand_on(
        self: &Arc<Self>,
        mut run: RuleRun,
        (at, site): (SiteIndex, &SiteRules),
        request: &RequestView<'_>,
        context: &RequestContext<'_>,
        began: Now,
    ) -> RuleOpinion {
        let inspect = &self.config.load().inspect;
        let late = match inspect.when_late {
            LateAction::Pass => Judgement::Pass,
            LateAction::Refuse if site.engine == EngineMode::On => Judgement::Refuse(RuleRefusal::status(503)),
            LateAction::Refuse => Judgement::Pass,
        };
        let kept = Kept::of(at, site, request, context);
        let (verdict, answer) = oneshot::channel();
        let runner = Arc::clone(self);
        let job = move || {
            if verdict.is_closed() {
                // Nobody waits any more: what is still in time goes first.
                return;
            }
            let now = Now::read();
            runner.with_host(now, |host| run.body(host));
            let ruled = match run.report() {
                None => runner.passed(run, &kept.site, now),
                Some(report) => runner.held_or_reported(run, report, kept, now),
            };
            runner.metrics.seconds.observe((clock::boot_ns() - began.boot_ns) as f64 / 1e9);
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
    fn passed(&self, run: RuleRun, site: &SiteRules, now: Now) -> Ruled {
        let ruled = Ruled { signs: Some(RuleSigns::default()), ..Ruled::only(Judgement::Pass) };
        if site.wants_response {
            return Ruled { run: Some(run), ..ruled };
        }
        self.end(run, now);
        ruled
    }

    /// Some rule matched. Where models have to agree with a score, that waits for them.
    fn held_or_reported(self: &Arc<Self>, run: RuleRun, report: RuleReport, kept: Kept, now: Now) -> Ruled {
        let signs = Some(RuleSigns::of(&report));
        let is_held = kept.site.confirm == RulesConfirm::Models
            && kept.site.engine == EngineMode::On
            && report.ending.as_ref().is_some_and(RuleEnding::is_by_score);
        if !is_held {
            return Ruled { signs, ..self.reported(run, &report, &kept, Suspicion::Unknown, now) };
        }
        let runner = Arc::clone(self);
        let held = Held::new(move |suspicion| runner.reported(run, &report, &kept, suspicion, now));
        Ruled { signs, held: Some(held), ..Ruled::only(Judgement::Pass) }
    }

    fn reported(&self, run: RuleRun, report: &RuleReport, kept: &Kept, suspicion: Suspicion, now: Now) -> Ruled {
        let judgement = self.judge(report, &seen(kept.at, &kept.site, suspicion, kept.origin()), now);
        if judgement == Judgement::Pass && kept.site.wants_response {
            return Ruled { run: Some(run), ..Ruled::only(judgement) };
        }
        self.end(run, now);
        Ruled::only(judgement)
    }

    /// Phase 3.
    pub(super) fn response_head(
        &self,
        run: &mut RuleRun,
        (status, version, headers): (StatusCode, Version, &HeaderMap),
        context: &RequestContext<'_>,
    ) -> Judgement {
        let now = Now::read();
        self.with_host(now, |host| run.response_head(status, version, headers, host));
        self.of_response(run, context, now)
    }

    /// Phase 4; with an empty body where none is looked at.
    pub(super) fn response_body(&self, run: &mut RuleRun, body: &[u8], context: &RequestContext<'_>) -> Judgement {
        let now = Now::read();
        self.with_host(now, |host| run.response_body(body, host));
        let judgement = self.of_response(run, context, now);
        if !body.is_empty() {
            self.metrics.response_seconds.observe((clock::boot_ns() - now.boot_ns) as f64 / 1e9);
        }
        judgement
    }

    fn of_response(&self, run: &mut RuleRun, context: &RequestContext<'_>, now: Now) -> Judgement {
        let Some(report) = run.report() else { return Judgement::Pass };
        let sets = self.sets.load();
        let known = context.site.and_then(|at| Some((at, sets.site(at)?)));
        let Some((at, site)) = known else { return Judgement::Pass };
        let (method, path) = run.asked();
        let origin = RequestOrigin {
            source: context.client,
            site: Some(&site.name),
            request_id: context.request_id,
            method: &method,
            path: &path,
        };
        // The gate has nothing to say of a response.
        let seen = Seen { is_response: true, ..seen(at, site, Suspicion::Unknown, origin) };
        self.judge(&report, &seen, now)
    }

    /// Says how much rules keep over requests.
    pub(super) fn tell_collections(&self) {
        let (len, evicted) = self.collections.counts();
        self.metrics.collections.set(len as i64);
        self.metrics.collections_evicted.set(evicted as i64);
    }

    /// Phase 5, when the answer is out.
    pub(super) fn end_now(&self, run: RuleRun) {
        self.end(run, Now::read());
    }

    fn end(&self, run: RuleRun, now: Now) {
        scratches::give(self.with_host(now, |host| run.end(host)));
    }

    fn with_host<T>(&self, now: Now, run: impl FnOnce(&mut Host<'_>) -> T) -> T {
        let mut collections = &self.collections;
        run(&mut Host { now_s: now.unix_ms / 1_000, elapsed_ms: 0, collections: &mut collections, lookups: &NoLookups })
    }
}

fn seen<'a>(at: SiteIndex, site: &'a SiteRules, suspicion: Suspicion, origin: RequestOrigin<'a>) -> Seen<'a> {
    let (engine, confirm, ruleset) = (site.engine, site.confirm, &*site.ruleset);
    Seen { at, engine, confirm, suspicion, ruleset, is_response: false, origin }
}

/// Says what was loaded.
fn tell(sets: &RuleSets, metrics: &Metrics) {
    metrics.rules.sets.set(sets.sets().len() as i64);
    metrics.rules.bytes.set(sets.bytes() as i64);
    let mut warnings = BTreeSet::new();
    for set in sets.sets() {
        let (summary, name) = (set.summary(), name_of(&set.rules));
        tracing::info!(ruleset = name, rules = summary.rules, load_ms = set.load_ms, "rules loaded");
        warnings.extend(set.warnings());
    }
    // Sets share files: what is said of one is not said again for the next.
    for warning in warnings {
        tracing::warn!("{warning}");
    }
}

/// What a rule set calls itself: `OWASP_CRS/4.20.0`.
fn name_of(rules: &RuleSet) -> &str {
    rules.signatures().first().map_or("own", String::as_str)
}
