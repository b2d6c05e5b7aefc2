//! Enters: one source's HTTP flow after a request or connection. Leaves: the line it crossed, if any.

use super::episode::{Line, furthest};
use crate::{
    config::{BruteForceConfig, ContentScanConfig, CrawlConfig, RequestFloodConfig, SlowHttpConfig},
    flow::{DAY_MS, HOUR_MS, HttpFlow, MINUTE_MS, TEN_MINUTES_MS, TEN_SECONDS_MS},
};

pub(super) fn request_flood(flow: &HttpFlow, at_ms: u64, config: &RequestFloodConfig) -> Option<Line> {
    let lines = [
        Line::new("requests_per_10s", flow.requests_10s(at_ms), config.requests_per_10s, TEN_SECONDS_MS),
        Line::new("requests_per_10min", flow.requests_10min(at_ms), config.requests_per_10min, TEN_MINUTES_MS),
    ];
    furthest(&lines).copied()
}

/// Many distinct missing paths, and most of what the source asked for: a crawler on old links, or a page with dead
/// images, asks for more that is there than for what is not.
pub(super) fn content_scan(flow: &HttpFlow, at_ms: u64, config: &ContentScanConfig) -> Option<Line> {
    let windows = [
        (
            Line::new("missing_paths_per_10s", flow.missing_paths_10s(at_ms), config.paths_per_10s, TEN_SECONDS_MS),
            flow.missing_10s(at_ms),
            flow.requests_10s(at_ms),
        ),
        (
            Line::new(
                "missing_paths_per_10min",
                flow.missing_paths_10min(at_ms),
                config.paths_per_10min,
                TEN_MINUTES_MS,
            ),
            flow.missing_10min(at_ms),
            flow.requests_10min(at_ms),
        ),
        (
            Line::new("missing_paths_per_day", flow.missing_paths_day(at_ms), config.paths_per_day, DAY_MS),
            flow.missing_day(at_ms),
            flow.requests_day(at_ms),
        ),
    ];
    let mostly_errors =
        |missing: u32, requests: u32| f64::from(missing) >= f64::from(config.error_share) * f64::from(requests.max(1));
    let crossed = windows.map(|(line, missing, requests)| Line {
        threshold: if mostly_errors(missing, requests) { line.threshold } else { 0 },
        ..line
    });
    furthest(&crossed).copied()
}

/// Of so many requests of a crawler each is for another path; a reader comes back, and pages share their parts.
const NEW_PATH_SHARE: f64 = 0.6;
/// From here on the estimate of paths says no more than "very many".
const PATHS_SATURATED: u32 = 1_000;

pub(super) fn crawling(flow: &HttpFlow, at_ms: u64, config: &CrawlConfig) -> Option<Line> {
    let paths = flow.paths_10min(at_ms);
    let line = Line::new("paths_per_10min", paths, config.paths_per_10min, TEN_MINUTES_MS);
    let mostly_new =
        || paths >= PATHS_SATURATED || f64::from(paths) >= NEW_PATH_SHARE * f64::from(flow.requests_10min(at_ms));
    (line.is_crossed() && mostly_new()).then_some(line)
}

/// How many times the failures a login may have, a path outside the configured login paths may answer 401: programs
/// with an expired token ask a few times.
const UNAUTHORISED_FACTOR: u32 = 3;

pub(super) fn brute_force(flow: &HttpFlow, at_ms: u64, config: &BruteForceConfig) -> Option<Line> {
    let unauthorised = |threshold: u32| threshold.saturating_mul(UNAUTHORISED_FACTOR);
    let lines = [
        Line::new("login_failures_per_min", flow.login_failures_min(at_ms), config.failures_per_min, MINUTE_MS),
        Line::new("login_failures_per_hour", flow.login_failures_hour(at_ms), config.failures_per_hour, HOUR_MS),
        Line::new("login_failures_per_day", flow.login_failures_day(at_ms), config.failures_per_day, DAY_MS),
        Line::new("login_posts_per_min", flow.login_posts_min(at_ms), config.posts_per_min, MINUTE_MS),
        Line::new(
            "unauthorised_per_min",
            flow.unauthorised_min(at_ms),
            unauthorised(config.failures_per_min),
            MINUTE_MS,
        ),
        Line::new(
            "unauthorised_per_hour",
            flow.unauthorised_hour(at_ms),
            unauthorised(config.failures_per_hour),
            HOUR_MS,
        ),
    ];
    furthest(&lines).copied()
}

/// How many times the accounts it takes when the answers do not say whether a login failed: an office behind one
/// address logs in too.
const UNCLEAR_FACTOR: u32 = 4;

pub(super) fn credential_stuffing(flow: &HttpFlow, at_ms: u64, config: &BruteForceConfig) -> Option<Line> {
    // An application that says no in clear words says yes by everything else.
    let says_no = flow.login_failures_hour(at_ms) > 0;
    let unclear = if says_no { 0 } else { config.accounts_per_hour.saturating_mul(UNCLEAR_FACTOR) };
    let lines = [
        Line::new("accounts_failed_per_hour", flow.accounts_failed_hour(at_ms), config.accounts_per_hour, HOUR_MS),
        Line::new("accounts_tried_per_hour", flow.accounts_unclear_hour(at_ms), unclear, HOUR_MS),
    ];
    furthest(&lines).copied()
}

pub(super) fn slow_http(flow: &HttpFlow, at_ms: u64, config: &SlowHttpConfig) -> Option<Line> {
    let lines = [
        Line::new(
            "unanswered_connections_per_10s",
            flow.unanswered_10s(at_ms),
            config.unanswered_per_10s,
            TEN_SECONDS_MS,
        ),
        Line::new(
            "unanswered_connections_per_10min",
            flow.unanswered_10min(at_ms),
            config.unanswered_per_10min,
            TEN_MINUTES_MS,
        ),
    ];
    furthest(&lines).copied()
}
