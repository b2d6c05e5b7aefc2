//! Enters: requests, as the proxy's [`Judge`]. Leaves: what is to be done with each. It runs on the proxy's threads, so
//! it must never wait, and on the usual path it neither allocates nor locks.

use std::{cell::RefCell, net::IpAddr, sync::Arc, time::Duration};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_channel::Sender;
use http::{HeaderMap, StatusCode, Version};
use prometheus::IntCounter;
use tokio::sync::oneshot;

use super::{
    actor::Actor,
    learning::{Learning, LocalVerdict, Seen},
    rules::RuleRunner,
};
use crate::{
    clock::{self, Now},
    config::Config,
    decide::{Action, Standing},
    detect::{RequestOrigin, from_attack, from_violation},
    enforce::Enforcer,
    flow::Observation,
    inspect::{RequestView, RuleRun, RuleSigns},
    metrics::Metrics,
    model::{Answer, Job, ModelLife, Models, Sampler, Scratch, is_asked},
    proxy::{Judge, Judgement, ModelAnswer, Opinion, RequestContext, RuleOpinion},
};

/// How much of a path a finding keeps, in bytes.
const PATH_BYTES_MAX: usize = 256;

thread_local! {
    /// Decoded fields and cached scores; one for each of the proxy's threads, so that nothing is shared or allocated.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::new());
}

/// Joins the stages that a request passes.
pub(super) struct RequestJudge {
    enforcer: Arc<Enforcer>,
    actor: Arc<Actor>,
    config: Arc<ArcSwap<Config>>,
    models: Arc<ArcSwapOption<Models>>,
    sampler: Arc<Sampler>,
    observations: Sender<Observation>,
    observations_shed: IntCounter,
    fail_open: IntCounter,
    /// By action, in the order of its variants: looked up once, since a lookup by label takes a lock that all share.
    answers: [IntCounter; 4],
    metrics: Arc<Metrics>,
    rules: Arc<RuleRunner>,
    learning: Arc<Learning>,
}

impl RequestJudge {
    pub(super) fn new(
        enforcer: Arc<Enforcer>,
        actor: Arc<Actor>,
        config: Arc<ArcSwap<Config>>,
        life: &ModelLife,
        observations: Sender<Observation>,
        metrics: Arc<Metrics>,
        (rules, learning): (Arc<RuleRunner>, Arc<Learning>),
    ) -> Self {
        let observations_shed = metrics.queue_dropped("observations");
        let fail_open = metrics.fail_open("model");
        let answers = Action::ALL.map(|action| metrics.answers(action));
        let (models, sampler) = (life.active(), life.sampler());
        Self {
            enforcer,
            actor,
            config,
            models,
            sampler,
            observations,
            observations_shed,
            fail_open,
            answers,
            metrics,
            rules,
            learning,
        }
    }

    fn site_name(&self, context: &RequestContext<'_>) -> Option<String> {
        let config = self.config.load();
        config.sites.get(usize::from(context.site?.0)).map(|site| site.name.clone())
    }

    /// What is learnt of the request that was scored last.
    fn seen(&self, request: &RequestView<'_>, context: &RequestContext<'_>, scratch: &Scratch) -> Option<Seen> {
        let config = self.config.load();
        if !config.learn.enabled {
            return None;
        }
        let site = context.site.and_then(|site| config.sites.get(usize::from(site.0)));
        self.learning.sketch(context.client, site.map(|site| site.name.as_str()), request, scratch.fields())
    }

    /// Asks the classifier about what the gate flagged: the rare path, so it may allocate.
    fn ask_classifier(
        &self,
        models: &Models,
        scratch: &mut Scratch,
        request: &RequestView<'_>,
        context: &RequestContext<'_>,
        (mut seen, signs): (Option<Seen>, Option<RuleSigns>),
    ) -> Opinion {
        let deadline = Duration::from_millis(self.config.load().models.deadline_ms);
        let (verdict, answer) = oneshot::channel();
        let (actor, source, site) = (Arc::clone(&self.actor), context.client, self.site_name(context));
        let (request_id, method, path) = (context.request_id.to_owned(), request.method.clone(), path_of(request));
        let learning = Arc::clone(&self.learning);
        let mut case = models.request.gate.case(scratch, signs);
        let locality = learning.is_on().then(|| learning.locality(site.as_deref(), request));
        if let Some(locality) = &locality {
            learning.lower(locality, &mut case.fields, scratch.fields());
            learning.keep_flagged(&mut seen, &case.fields, scratch.fields());
        }
        let respond = move |answer: Answer| {
            let (judgement, is_attack) = match answer {
                Answer::Pass => {
                    learning.learn(seen, 0.0, false);
                    (None, false)
                }
                Answer::Attack(mut attack) => {
                    learning.learn(seen, attack.confidence, true);
                    let verdict = locality.map(|locality| learning.verdict(&locality, &mut attack));
                    let now = Now::read();
                    let origin = RequestOrigin {
                        source,
                        site: site.as_deref(),
                        request_id: &request_id,
                        method: method.as_str(),
                        path: &path,
                    };
                    match verdict {
                        Some(LocalVerdict::Spare) => (None, false),
                        Some(LocalVerdict::Monitor) => {
                            (actor.act_as(from_attack(*attack, &origin, now), now, true), true)
                        }
                        Some(LocalVerdict::Act) | None => (actor.act(from_attack(*attack, &origin, now), now), true),
                    }
                }
            };
            // The request may have gone on meanwhile; the finding stands all the same.
            let judgement = judgement.map_or(Judgement::Pass, Judgement::Act);
            let _ = verdict.send(ModelAnswer { judgement, is_attack });
        };
        let job =
            Job { case, deadline_boot_ns: clock::boot_ns() + deadline.as_nanos() as u64, answer: Box::new(respond) };
        match models.request.classifier.submit(job) {
            Ok(()) => Opinion::Soon { answer, deadline },
            Err(_) => {
                self.fail_open.inc();
                Opinion::Shed
            }
        }
    }
}

impl Judge for RequestJudge {
    fn standing(&self, client: IpAddr) -> Option<Standing> {
        let standing = self.enforcer.standing(client, clock::boot_ns())?;
        self.answers[standing.action as usize].inc();
        Some(standing)
    }

    fn judge(&self, request: &RequestView<'_>, context: &RequestContext<'_>, signs: Option<RuleSigns>) -> Opinion {
        let models = self.models.load();
        let Some(models) = models.as_ref() else {
            self.fail_open.inc();
            return Opinion::Absent;
        };
        models.request.gate_scored.inc();
        self.sampler.offer(context.client, request, clock::boot_ns());
        SCRATCH.with_borrow_mut(|scratch| {
            let score = models.request.gate.score(request, scratch);
            let seen = self.seen(request, context, scratch);
            if is_asked(&score, signs.as_ref()) {
                self.ask_classifier(models, scratch, request, context, (seen, signs))
            } else {
                self.learning.learn(seen, 0.0, false);
                Opinion::Now(Judgement::Pass)
            }
        })
    }

    fn rules(&self, request: &RequestView<'_>, context: &RequestContext<'_>) -> RuleOpinion {
        self.rules.request(request, context)
    }

    fn response_head(
        &self,
        run: &mut RuleRun,
        head: (StatusCode, Version, &HeaderMap),
        context: &RequestContext<'_>,
    ) -> Judgement {
        self.rules.response_head(run, head, context)
    }

    fn response_body(&self, run: &mut RuleRun, body: &[u8], context: &RequestContext<'_>) -> Judgement {
        self.rules.response_body(run, body, context)
    }

    fn end_rules(&self, run: RuleRun) {
        self.rules.end_now(run);
    }

    fn protocol_violation(&self, context: &RequestContext<'_>, violation: &'static str) {
        self.metrics.protocol_violations.with_label_values(&[violation]).inc();
        let now = Now::read();
        let site = self.site_name(context);
        let origin = RequestOrigin {
            source: context.client,
            site: site.as_deref(),
            request_id: context.request_id,
            method: "",
            path: "",
        };
        self.actor.act(from_violation(violation, &origin, now), now);
    }

    fn observe(&self, observation: Observation) {
        if self.observations.try_send(observation).is_err() {
            self.observations_shed.inc();
        }
    }
}

/// The path without query, cut: a finding keeps no more of it.
pub(super) fn path_of(request: &RequestView<'_>) -> String {
    let path = request.target.split(|byte| *byte == b'?').next().unwrap_or_default();
    String::from_utf8_lossy(&path[..path.len().min(PATH_BYTES_MAX)]).into_owned()
}
