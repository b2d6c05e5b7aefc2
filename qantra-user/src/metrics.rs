//! Enters: counts from every stage. Leaves: `/metrics` in Prometheus' text form. Every metric is declared here, once;
//! an address must never become a label: labels are few and known, sources are many and chosen by strangers.

mod feeds;
mod learn;
mod rules;
mod serve;

use std::sync::Arc;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    PullingGauge, Registry, TextEncoder,
};

use crate::{
    decide::{Action, Origin},
    detect::AttackClass,
};

pub use feeds::FeedMetrics;
pub use learn::LearnMetrics;
pub use rules::RuleMetrics;
pub use serve::{ServeError, bind, serve};

/// Seconds of a request's life: from a cached answer on loopback to the upstream timeout.
const REQUEST_BUCKETS: &[f64] = &[0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];
/// Seconds of one inference: the linear model takes microseconds, the deadline is milliseconds.
const INFERENCE_BUCKETS: &[f64] =
    &[2e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1];
/// Seconds from a finding to its drop in the kernel.
const ENFORCE_BUCKETS: &[f64] = &[1e-4, 2e-4, 5e-4, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0];

/// Every metric of the daemon. Cheap to use: handles are atomics; those of the hot path are looked up beforehand
/// ([`Metrics::site`], [`Metrics::model`]).
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,

    /// `qantra_requests_total{site,status}`.
    requests: IntCounterVec,
    /// `qantra_request_duration_seconds{site}`.
    request_seconds: HistogramVec,
    /// `qantra_answers_total{action}`.
    answers: IntCounterVec,
    /// `qantra_protocol_violations_total{reason}`: requests refused for their form.
    pub protocol_violations: IntCounterVec,
    /// `qantra_proxy_events_total{event}`: what the proxy counts of itself.
    pub proxy_events: IntCounterVec,

    /// `qantra_observations_total`: observations handed to the behaviour detectors.
    pub observations: IntCounter,
    /// `qantra_queue_dropped_total{queue}`: what a full queue shed.
    pub queue_dropped: IntCounterVec,
    /// `qantra_sources`: sources in the flow table.
    pub sources: IntGauge,
    /// `qantra_sources_evicted_total`: sources that made room for newer ones.
    pub sources_evicted: IntCounter,
    /// `qantra_conversations_total`: what connection tracking told of LAN devices' conversations.
    pub conversations: IntCounter,
    /// `qantra_conversations_lost_total`: the same that was lost: each full buffer of the kernel's counts once.
    pub conversations_lost: IntCounter,
    /// `qantra_pairs`: pairs of a LAN device and a destination in the table.
    pub pairs: IntGauge,
    /// `qantra_pairs_evicted_total`: pairs, their devices and destinations that made room for newer ones.
    pub pairs_evicted: IntCounter,

    findings: IntCounterVec,
    decisions: IntCounterVec,
    /// `qantra_decisions_active`: decisions in force.
    pub decisions_active: IntGauge,
    /// `qantra_decisions_refused_total{reason}`: decisions that would have covered the protected set, or had no room.
    pub decisions_refused: IntCounterVec,
    /// `qantra_decision_seconds`: from the first finding to the entry in the kernel's map.
    pub decision_seconds: Histogram,
    /// `qantra_simulation`: 1 while nothing is enforced.
    pub simulation: IntGauge,

    /// `qantra_kernel_packets_total{iface,action,reason}`.
    pub kernel_packets: IntCounterVec,
    /// `qantra_kernel_lost_total{what}`: events that found the buffer full, packets of sources that the table refused, and
    /// packets of quiet sources that the sketch alone counted.
    pub kernel_lost: IntCounterVec,
    /// `qantra_kernel_bytes_total{iface,action,reason}`.
    pub kernel_bytes: IntCounterVec,
    /// `qantra_kernel_hook{iface,hook}`: 1 for the rung of the ladder the interface stands on; `none` for none.
    pub kernel_hook: IntGaugeVec,
    /// `qantra_interface_changes_total{iface,change}`: interfaces that came, went or could not be attached to.
    pub interface_changes: IntCounterVec,

    /// Block list feeds.
    pub feeds: FeedMetrics,
    /// Rules.
    pub rules: Arc<RuleMetrics>,
    /// Learning on the box.
    pub learn: LearnMetrics,

    /// `qantra_fail_open_total{plane}`: what went on unchecked because a plane was missing, late or broken.
    pub fail_open: IntCounterVec,
    model_seconds: HistogramVec,
    model_late: IntCounterVec,
    model_scored: IntCounterVec,
    /// `qantra_model_info{model,version}`: 1 for what is loaded.
    pub model_info: IntGaugeVec,
    /// `qantra_model_drift_psi{role,feature}`: how far live traffic has moved from training.
    pub model_drift: GaugeVec,
    /// `qantra_model_compared{result}`: requests that the shadow, or a promoted version and the one before, both judged:
    /// `same`, `only_first`, `only_second`. It begins anew with each comparison.
    pub model_compared: IntGaugeVec,
    /// `qantra_model_unflagged_total{judge}`: sampled requests that the gate did not flag, and what the judge says of them when it is
    /// asked all the same: `pass` or `attack`.
    pub model_unflagged: IntCounterVec,
    /// `qantra_model_confidence_shift`: by how much the second of them is surer than the first, on average.
    pub model_shift: Gauge,
    /// `qantra_model_resident_bytes`: memory because of models, as their trials measured it.
    pub model_resident: IntGauge,
    /// `qantra_model_changes_total{verb,result}`: loads, shadows, promotions and rollbacks: `done`, or `refused`.
    pub model_changes: IntCounterVec,
    /// `qantra_model_rollbacks_total`: promoted models that went back by themselves.
    pub model_rollbacks: IntCounter,

    /// `qantra_store_writes_total`: rows committed.
    pub store_writes: IntCounter,
    /// `qantra_store_lost_total`: rows that could not be written.
    pub store_lost: IntCounter,
    /// `qantra_reloads_total{result}`: configuration reloads.
    pub reloads: IntCounterVec,
}

/// One site's handles, looked up once.
#[derive(Debug, Clone)]
pub struct SiteMetrics {
    /// By status class: 1xx, 2xx, 3xx, 4xx, 5xx.
    by_class: [IntCounter; 5],
    /// Duration of requests, seconds.
    pub seconds: Histogram,
}

impl SiteMetrics {
    /// Counts one answered request.
    pub fn request(&self, status: u16, seconds: f64) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.by_class[class].inc();
        self.seconds.observe(seconds);
    }
}

/// One model's handles, looked up once.
#[derive(Debug, Clone)]
pub struct ModelMetrics {
    /// Latency of one inference or batch, seconds.
    pub seconds: Histogram,
    /// Requests that went on because the model was late.
    pub late: IntCounter,
    /// What was scored.
    pub scored: IntCounter,
}

impl Metrics {
    /// Declares every metric.
    ///
    /// # Errors
    /// Two metrics have one name: a mistake in this file.
    #[expect(clippy::too_many_lines, reason = "one list of every metric, no logic")]
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Self {
            requests: counters(r, "qantra_requests_total", "Requests answered.", &["site", "status"])?,
            request_seconds: histograms(
                r,
                "qantra_request_duration_seconds",
                "From a request's first byte to its answer's end.",
                REQUEST_BUCKETS,
                &["site"],
            )?,
            answers: counters(r, "qantra_answers_total", "Requests that a decision acted on.", &["action"])?,
            protocol_violations: counters(
                r,
                "qantra_protocol_violations_total",
                "Requests refused for their form.",
                &["reason"],
            )?,
            proxy_events: counters(r, "qantra_proxy_events_total", "What the proxy counts of itself.", &["event"])?,
            observations: counter(r, "qantra_observations_total", "Observations handed to the behaviour detectors.")?,
            queue_dropped: counters(r, "qantra_queue_dropped_total", "What a full queue shed.", &["queue"])?,
            sources: gauge(r, "qantra_sources", "Sources in the flow table.")?,
            sources_evicted: counter(r, "qantra_sources_evicted_total", "Sources that made room for newer ones.")?,
            conversations: counter(
                r,
                "qantra_conversations_total",
                "What connection tracking told of LAN devices' conversations.",
            )?,
            conversations_lost: counter(
                r,
                "qantra_conversations_lost_total",
                "What connection tracking told and nobody could take.",
            )?,
            pairs: gauge(r, "qantra_pairs", "Pairs of a LAN device and a destination in the table.")?,
            pairs_evicted: counter(r, "qantra_pairs_evicted_total", "Pairs that made room for newer ones.")?,
            findings: counters(r, "qantra_findings_total", "Findings of all detectors.", &["class"])?,
            decisions: counters(r, "qantra_decisions_total", "Decisions made.", &["action", "class", "origin"])?,
            decisions_active: gauge(r, "qantra_decisions_active", "Decisions in force.")?,
            decisions_refused: counters(
                r,
                "qantra_decisions_refused_total",
                "Decisions that could not be put into effect.",
                &["reason"],
            )?,
            decision_seconds: histogram(
                r,
                "qantra_decision_seconds",
                "From the first finding to the entry in the kernel's map.",
                ENFORCE_BUCKETS,
            )?,
            simulation: gauge(r, "qantra_simulation", "1 while decisions are made and not enforced.")?,
            kernel_packets: counters(
                r,
                "qantra_kernel_packets_total",
                "Packets the kernel half saw.",
                &["iface", "action", "reason"],
            )?,
            kernel_lost: counters(
                r,
                "qantra_kernel_lost_total",
                "Events and packets' sources that the kernel half could not tell of.",
                &["what"],
            )?,
            kernel_bytes: counters(
                r,
                "qantra_kernel_bytes_total",
                "Bytes of the packets the kernel half saw.",
                &["iface", "action", "reason"],
            )?,
            kernel_hook: gauges(
                r,
                "qantra_kernel_hook",
                "1 for the rung of the hook ladder the interface stands on.",
                &["iface", "hook"],
            )?,
            interface_changes: counters(
                r,
                "qantra_interface_changes_total",
                "Interfaces that came (attached, failed) or went (detached) while the daemon ran.",
                &["iface", "change"],
            )?,
            feeds: FeedMetrics::declare(r)?,
            rules: Arc::new(RuleMetrics::declare(r)?),
            learn: LearnMetrics::declare(r)?,
            fail_open: counters(
                r,
                "qantra_fail_open_total",
                "What went on unchecked because a plane was missing, late or broken.",
                &["plane"],
            )?,
            model_seconds: histograms(
                r,
                "qantra_model_inference_seconds",
                "Latency of one inference or batch.",
                INFERENCE_BUCKETS,
                &["model"],
            )?,
            model_late: counters(r, "qantra_model_late_total", "Inferences that missed their deadline.", &["model"])?,
            model_scored: counters(r, "qantra_model_scored_total", "Feature vectors scored.", &["model"])?,
            model_info: gauges(r, "qantra_model_info", "1 for each model that is loaded.", &["model", "version"])?,
            model_drift: floats(
                r,
                "qantra_model_drift_psi",
                "Population stability index of a feature, live against training.",
                &["role", "feature"],
            )?,
            model_compared: gauges(
                r,
                "qantra_model_compared",
                "Requests that two versions of the models judged, since their comparison began.",
                &["result"],
            )?,
            model_unflagged: counters(
                r,
                "qantra_model_unflagged_total",
                "Sampled requests that the gate did not flag, by what the judge says of them.",
                &["judge"],
            )?,
            model_shift: float(
                r,
                "qantra_model_confidence_shift",
                "Mean difference of confidence of two versions of the models that are compared.",
            )?,
            model_resident: gauge(r, "qantra_model_resident_bytes", "Memory because of models.")?,
            model_changes: counters(
                r,
                "qantra_model_changes_total",
                "Changes of models that were asked for.",
                &["verb", "result"],
            )?,
            model_rollbacks: counter(
                r,
                "qantra_model_rollbacks_total",
                "Promoted models that went back by themselves.",
            )?,
            store_writes: counter(r, "qantra_store_writes_total", "Rows committed to the store.")?,
            store_lost: counter(r, "qantra_store_lost_total", "Rows that could not be written to the store.")?,
            reloads: counters(r, "qantra_reloads_total", "Configuration reloads.", &["result"])?,
            registry,
        };
        metrics.declare_process()?;
        Ok(metrics)
    }

    /// What is known of the process itself; named as Prometheus' client libraries name it.
    fn declare_process(&self) -> Result<(), prometheus::Error> {
        let info =
            GaugeVec::new(Opts::new("qantra_build_info", "1, with the version that runs."), &["version", "arch"])?;
        info.with_label_values(&[env!("CARGO_PKG_VERSION"), std::env::consts::ARCH]).set(1.0);
        self.registry.register(Box::new(info))?;
        let resident = PullingGauge::new(
            "process_resident_memory_bytes",
            "Resident memory of the daemon.",
            Box::new(|| resident_bytes().unwrap_or(0) as f64),
        )?;
        self.registry.register(Box::new(resident))?;
        let start = prometheus::Gauge::new("process_start_time_seconds", "When the process began, Unix time.")?;
        start.set(crate::clock::Now::read().unix_ms as f64 / 1_000.0);
        self.registry.register(Box::new(start))
    }

    /// The handles of one site, by its configured name; `-` is for requests that no site claims.
    #[must_use]
    pub fn site(&self, name: &str) -> SiteMetrics {
        let class = |status| self.requests.with_label_values(&[name, status]);
        SiteMetrics {
            by_class: [class("1xx"), class("2xx"), class("3xx"), class("4xx"), class("5xx")],
            seconds: self.request_seconds.with_label_values(&[name]),
        }
    }

    /// Requests answered since start, over all sites.
    #[must_use]
    pub fn requests_total(&self) -> u64 {
        use prometheus::core::Collector as _;
        let families = self.requests.collect();
        let counts =
            families.iter().flat_map(|family| family.get_metric()).map(|metric| metric.get_counter().get_value());
        counts.sum::<f64>() as u64
    }

    /// The handles of one model, by its name in the manifest.
    #[must_use]
    pub fn model(&self, name: &str) -> ModelMetrics {
        ModelMetrics {
            seconds: self.model_seconds.with_label_values(&[name]),
            late: self.model_late.with_label_values(&[name]),
            scored: self.model_scored.with_label_values(&[name]),
        }
    }

    /// Other models are in force, each with name and version. Names come from files, so those that are gone take their
    /// labels with them.
    pub fn models_changed(&self, old: &[(String, String)], fresh: &[(String, String)]) {
        for (name, version) in old.iter().filter(|model| !fresh.contains(model)) {
            // Nothing to remove is fine.
            let _ = self.model_info.remove_label_values(&[name.as_str(), version.as_str()]);
            if !fresh.iter().any(|(kept, _)| kept == name) {
                let _ = self.model_seconds.remove_label_values(&[name.as_str()]);
                let _ = self.model_late.remove_label_values(&[name.as_str()]);
                let _ = self.model_scored.remove_label_values(&[name.as_str()]);
            }
        }
        for (name, version) in fresh {
            self.model_info.with_label_values(&[name.as_str(), version.as_str()]).set(1);
        }
    }

    /// The counter of requests that a decision with this action acted on.
    #[must_use]
    pub fn answers(&self, action: Action) -> IntCounter {
        self.answers.with_label_values(&[action.as_str()])
    }

    /// The counter of findings of one class.
    #[must_use]
    pub fn findings(&self, class: AttackClass) -> IntCounter {
        self.findings.with_label_values(&[class.as_str()])
    }

    /// The counter of decisions; a person's decision has the class `none`.
    #[must_use]
    pub fn decisions(&self, action: Action, class: Option<AttackClass>, origin: Origin) -> IntCounter {
        self.decisions.with_label_values(&[action.as_str(), class.map_or("none", AttackClass::as_str), origin.as_str()])
    }

    /// The counter of what the named queue shed when it was full.
    #[must_use]
    pub fn queue_dropped(&self, queue: &str) -> IntCounter {
        self.queue_dropped.with_label_values(&[queue])
    }

    /// The counter of what went on unchecked because a plane (`model`, `kernel`, …) was missing, late or broken.
    #[must_use]
    pub fn fail_open(&self, plane: &str) -> IntCounter {
        self.fail_open.with_label_values(&[plane])
    }

    /// Everything, in Prometheus' text form.
    ///
    /// # Errors
    /// A metric cannot be written: a mistake in this file.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// Resident memory of this process, in bytes; `None` where `/proc` is hidden.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let metric = IntCounter::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, prometheus::Error> {
    let metric = IntCounterVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let metric = IntGauge::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, prometheus::Error> {
    let metric = IntGaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn float(registry: &Registry, name: &str, help: &str) -> Result<Gauge, prometheus::Error> {
    let metric = Gauge::new(name, help)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn floats(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> Result<GaugeVec, prometheus::Error> {
    let metric = GaugeVec::new(Opts::new(name, help), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, prometheus::Error> {
    let metric = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec()))?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histograms(
    registry: &Registry,
    name: &str,
    help: &str,
    buckets: &[f64],
    labels: &[&str],
) -> Result<HistogramVec, prometheus::Error> {
    let metric = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels)?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One of everything, so that every family has a row.
    fn touched() -> Metrics {
        let metrics = Metrics::new().unwrap();
        metrics.site("shop").request(200, 0.01);
        metrics.model("request").seconds.observe(1e-5);
        metrics.answers(Action::Block).inc();
        metrics.findings(AttackClass::Sqli).inc();
        metrics.decisions(Action::Block, None, Origin::Cli).inc();
        metrics.queue_dropped("store").inc();
        metrics.fail_open("model").inc();
        metrics.protocol_violations.with_label_values(&["cl_te"]).inc();
        metrics.decisions_refused.with_label_values(&["protected"]).inc();
        metrics.kernel_packets.with_label_values(&["eth0", "drop", "banned"]).inc();
        metrics.kernel_bytes.with_label_values(&["eth0", "drop", "banned"]).inc();
        metrics.kernel_hook.with_label_values(&["eth0", "tcx"]).set(1);
        metrics.model_info.with_label_values(&["request", "1"]).set(1);
        metrics.reloads.with_label_values(&["ok"]).inc();
        metrics.feeds.fetches.with_label_values(&["drop", "fresh"]).inc();
        metrics
    }

    #[test]
    fn names_and_labels_follow_the_conventions() {
        for family in touched().registry.gather() {
            let name = family.name();
            match family.get_field_type() {
                prometheus::proto::MetricType::COUNTER => assert!(name.ends_with("_total"), "{name}"),
                prometheus::proto::MetricType::HISTOGRAM => assert!(name.ends_with("_seconds"), "{name}"),
                _ => assert!(!name.ends_with("_total"), "{name}"),
            }
            assert!(name.starts_with("qantra_") || name.starts_with("process_"), "{name}");
            for metric in family.get_metric() {
                for label in metric.get_label() {
                    let known = [
                        "site", "status", "action", "reason", "queue", "class", "origin", "iface", "hook", "plane",
                        "model", "version", "result", "arch", "feed",
                    ];
                    assert!(known.contains(&label.name()), "{name} has the label {}", label.name());
                }
            }
        }
    }

    #[test]
    fn odd_statuses_are_counted_somewhere() {
        let metrics = Metrics::new().unwrap();
        let site = metrics.site("shop");
        for status in [0, 99, 200, 999, u16::MAX] {
            site.request(status, 0.0);
        }
        assert!(metrics.text().unwrap().contains("qantra_request_duration_seconds_count{site=\"shop\"} 5"));
    }

    #[test]
    fn resident_memory_is_read() {
        assert!(resident_bytes().unwrap() > 100_000);
    }
}
