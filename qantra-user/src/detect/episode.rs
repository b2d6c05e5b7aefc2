//! Enters: the moments at which a source is over a detector's line. Leaves: which of them are worth a finding, so that
//! one attack is one finding and not a thousand.

use super::{AttackClass, Severity};
use crate::flow::MINUTE_MS;

/// The behaviour detectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after the class it finds")]
pub enum Detector {
    RequestFlood,
    ContentScan,
    Crawling,
    BruteForce,
    CredentialStuffing,
    /// One account, many failing sources.
    SpreadBruteForce,
    SlowHttp,
    PortScan,
    HostSweep,
    SynFlood,
    UdpFlood,
    IcmpFlood,
    /// The source models; its class is what they say.
    SourceModel,
}

impl Detector {
    const COUNT: usize = 13;

    /// Its name in findings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestFlood => "request_flood",
            Self::ContentScan => "content_scan",
            Self::Crawling => "crawling",
            Self::BruteForce => "brute_force",
            Self::CredentialStuffing => "credential_stuffing",
            Self::SpreadBruteForce => "spread_brute_force",
            Self::SlowHttp => "slow_http",
            Self::PortScan => "port_scan",
            Self::HostSweep => "host_sweep",
            Self::SynFlood => "syn_flood",
            Self::UdpFlood => "udp_flood",
            Self::IcmpFlood => "icmp_flood",
            Self::SourceModel => "source_model",
        }
    }

    /// The table of the configuration that its thresholds are in.
    #[must_use]
    pub const fn section(self) -> &'static str {
        match self {
            Self::Crawling => "crawl",
            Self::CredentialStuffing | Self::SpreadBruteForce => "brute_force",
            Self::SynFlood | Self::UdpFlood | Self::IcmpFlood => "flood",
            _ => self.name(),
        }
    }

    /// What its findings are called.
    #[must_use]
    pub const fn class(self) -> AttackClass {
        match self {
            Self::RequestFlood => AttackClass::RequestFlood,
            Self::ContentScan => AttackClass::ContentScan,
            Self::BruteForce | Self::SpreadBruteForce => AttackClass::BruteForce,
            Self::CredentialStuffing => AttackClass::CredentialStuffing,
            Self::Crawling => AttackClass::Crawling,
            Self::SlowHttp => AttackClass::SlowHttp,
            Self::PortScan => AttackClass::PortScan,
            Self::HostSweep => AttackClass::HostSweep,
            Self::SynFlood => AttackClass::SynFlood,
            Self::UdpFlood => AttackClass::UdpFlood,
            Self::IcmpFlood => AttackClass::IcmpFlood,
            Self::SourceModel => AttackClass::Anomaly,
        }
    }

    /// Taking what anybody may read is low, looking around is medium, breaking in and putting down is high.
    #[must_use]
    pub const fn severity(self) -> Severity {
        match self {
            Self::Crawling => Severity::Low,
            Self::ContentScan | Self::PortScan | Self::HostSweep => Severity::Medium,
            _ => Severity::High,
        }
    }
}

/// One measured value beside its line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) value: u32,
    /// 0: never crossed.
    pub(super) threshold: u32,
    pub(super) window_ms: u64,
}

impl Line {
    pub(super) const fn new(name: &'static str, value: u32, threshold: u32, window_ms: u64) -> Self {
        Self { name, value, threshold, window_ms }
    }

    pub(super) const fn is_crossed(&self) -> bool {
        self.threshold > 0 && self.value >= self.threshold
    }

    /// How far over, from 1.
    fn ratio(&self) -> f64 {
        f64::from(self.value) / f64::from(self.threshold.max(1))
    }
}

/// The line that is crossed the furthest.
pub(super) fn furthest(lines: &[Line]) -> Option<&Line> {
    lines.iter().filter(|line| line.is_crossed()).max_by(|a, b| a.ratio().total_cmp(&b.ratio()))
}

/// How sure a crossing makes: 0.85 on the line, 0.925 at twice the threshold, never above 0.99.
pub(super) fn confidence_of(line: &Line) -> f32 {
    (1.0 - 0.15 / line.ratio()).clamp(0.85, 0.99) as f32
}

/// An episode ends when its source was below the line for a twelfth of the window, a minute at least.
const QUIET_MIN_MS: u64 = MINUTE_MS;
/// An attack that goes on is told again after a twelfth of the window, five minutes at least.
const REMIND_MIN_MS: u64 = 5 * MINUTE_MS;

/// Seconds since boot plus one; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
struct Episode {
    told: u32,
    over: u32,
    told_unsure: u32,
}

/// One source's running episodes. 156 bytes.
#[derive(Debug, Clone, Default)]
pub struct Episodes([Episode; Detector::COUNT]);

impl Episodes {
    /// Notes that a source is over a detector's line and says whether that is worth a finding. What is not sure is
    /// told apart, so that it never keeps a sure finding quiet.
    pub(super) fn is_news(&mut self, detector: Detector, at_ms: u64, window_ms: u64, sure: bool) -> bool {
        let episode = &mut self.0[detector as usize];
        let at = u32::try_from(at_ms / 1_000 + 1).unwrap_or(u32::MAX);
        let passed_ms = |since: u32| u64::from(at.saturating_sub(since)) * 1_000;
        let remind_ms = REMIND_MIN_MS.max(window_ms / 12);
        if !sure {
            let recently = |since: u32| since != 0 && passed_ms(since) < remind_ms;
            let new = !recently(episode.told) && !recently(episode.told_unsure);
            if new {
                episode.told_unsure = at;
            }
            return new;
        }
        let quiet_ms = passed_ms(episode.over);
        let new =
            episode.told == 0 || quiet_ms > QUIET_MIN_MS.max(window_ms / 12) || passed_ms(episode.told) >= remind_ms;
        episode.over = episode.over.max(at);
        if new {
            episode.told = at;
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::{DAY_MS, TEN_SECONDS_MS};

    #[test]
    fn one_attack_is_told_once_then_as_a_reminder_then_as_a_new_one() {
        // (seconds, window, news?, why)
        let table = [
            (100, TEN_SECONDS_MS, true, "the first crossing"),
            (101, TEN_SECONDS_MS, false, "the same attack"),
            (159, DAY_MS, false, "another window of the same attack"),
            (210, TEN_SECONDS_MS, false, "below the line for less than a minute"),
            (280, TEN_SECONDS_MS, true, "a minute of quiet before"),
            (330, TEN_SECONDS_MS, false, "goes on"),
            (380, TEN_SECONDS_MS, false, "goes on"),
            (430, TEN_SECONDS_MS, false, "goes on"),
            (480, TEN_SECONDS_MS, false, "goes on"),
            (530, TEN_SECONDS_MS, false, "goes on"),
            (580, TEN_SECONDS_MS, true, "a reminder after five minutes"),
            (20, TEN_SECONDS_MS, false, "a clock that steps back is no new attack"),
            (2_000, DAY_MS, false, "less than two hours of quiet on the day's window"),
            (2_001 + 7_200, DAY_MS, true, "more than two hours of it"),
        ];
        let mut episodes = Episodes::default();
        for (second, window_ms, expected, why) in table {
            let news = episodes.is_news(Detector::ContentScan, second * 1_000, window_ms, true);
            assert_eq!(news, expected, "at {second} s: {why}");
        }
        assert!(
            episodes.is_news(Detector::PortScan, 101_000, TEN_SECONDS_MS, true),
            "detectors have episodes of their own"
        );
    }
}
