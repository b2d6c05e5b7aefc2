//! Enters: what rules said of requests that some rule matched. Leaves: the newest of them by id, and which rules match most,
//! for people who ask, and over a restart. Parts have a lock each, chosen by source and by rule: nothing here is shared by all, and requests that
//! no rule matches never come here.

use std::{cmp::Reverse, collections::VecDeque, hash::BuildHasher as _, net::IpAddr};

use hashbrown::{Equivalent, HashMap};
use parking_lot::Mutex;
use prometheus::IntCounter;
use serde::{Deserialize, Serialize};

use crate::{
    api::{RuleCount, RuleOutcome, RuledQuery, RuledRequest},
    detect::RuleEvidence,
    metrics::Metrics,
};

/// Parts with a lock each. By source: who floods the journal drives out a sixteenth of it.
const SHARDS: usize = 16;
/// Requests that a part keeps which were refused, or would have been.
const ENDED_MAX: usize = 128;
/// Those that went on.
const PASSED_MAX: usize = 32;
/// Rules with their values that are kept of a request.
const RULES_MAX: usize = 8;
/// Pairs of site and rule that a part counts.
const COUNTED_MAX: usize = 256;

/// The newest requests of some sources.
#[derive(Default)]
struct Requests {
    ended: VecDeque<RuledRequest>,
    passed: VecDeque<RuledRequest>,
}

/// A rule of a site.
#[derive(PartialEq, Eq, Hash)]
struct OfSite {
    rule: u64,
    site: String,
}

#[derive(PartialEq, Eq, Hash)]
struct OfSiteRef<'a> {
    rule: u64,
    site: &'a str,
}

impl Equivalent<OfSite> for OfSiteRef<'_> {
    fn equivalent(&self, key: &OfSite) -> bool {
        self.rule == key.rule && self.site == key.site
    }
}

/// What outlives a daemon; requests are the oldest first.
#[derive(Serialize, Deserialize)]
struct Saved {
    requests: Vec<RuledRequest>,
    counts: Vec<RuleCount>,
}

type Counts = HashMap<OfSite, RuleCount, foldhash::fast::RandomState>;

/// What is remembered of rules that matched.
pub(in crate::app) struct RuleJournal {
    requests: [Mutex<Requests>; SHARDS],
    counts: [Mutex<Counts>; SHARDS],
    hash: foldhash::fast::RandomState,
    requests_forgotten: IntCounter,
    rules_forgotten: IntCounter,
}

impl RuleJournal {
    pub(in crate::app) fn new(metrics: &Metrics) -> Self {
        let forgotten = |table: &str| metrics.rules.forgotten.with_label_values(&[table]);
        Self {
            requests: std::array::from_fn(|_| Mutex::default()),
            counts: std::array::from_fn(|_| Mutex::default()),
            hash: foldhash::fast::RandomState::default(),
            requests_forgotten: forgotten("requests"),
            rules_forgotten: forgotten("rules"),
        }
    }

    /// Remembers a request, and counts its rules.
    pub(super) fn note(&self, mut ruled: RuledRequest) {
        let refused = ruled.outcome == RuleOutcome::Refused;
        for (place, found) in ruled.rules.iter().enumerate() {
            // The same rule may have matched several times: the request counts once.
            if !ruled.rules.iter().take(place).any(|before| before.id == found.id) {
                self.count(&ruled.site, found, refused, ruled.at_unix_ms);
            }
        }
        ruled.rules.truncate(RULES_MAX);
        self.keep(ruled);
    }

    fn keep(&self, ruled: RuledRequest) {
        let mut requests = self.shard_of(ruled.source).lock();
        let (list, most) = match ruled.outcome {
            RuleOutcome::Passed => (&mut requests.passed, PASSED_MAX),
            _ => (&mut requests.ended, ENDED_MAX),
        };
        if list.len() >= most {
            list.pop_front();
            self.requests_forgotten.inc();
        }
        list.push_back(ruled);
    }

    fn count(&self, site: &str, found: &RuleEvidence, refused: bool, at_unix_ms: u64) {
        let at = self.shard_of_rule(found.id);
        let mut counts = self.counts[at].lock();
        let key = OfSiteRef { rule: found.id, site };
        if let Some(known) = counts.get_mut(&key) {
            known.requests += 1;
            known.refused += u64::from(refused);
            known.last_unix_ms = at_unix_ms;
            known.field.clone_from(&found.field);
            return;
        }
        if counts.len() >= COUNTED_MAX {
            // The rarest makes room; of those, the one that is longest ago.
            let rarest = counts.values().min_by_key(|count| (count.requests, count.last_unix_ms));
            let rarest = rarest.map(|count| OfSite { rule: count.rule, site: count.site.clone() });
            if let Some(rarest) = rarest {
                counts.remove(&rarest);
                self.rules_forgotten.inc();
            }
        }
        let count = RuleCount {
            site: site.to_owned(),
            rule: found.id,
            message: found.message.clone(),
            requests: 1,
            refused: u64::from(refused),
            field: found.field.clone(),
            last_unix_ms: at_unix_ms,
        };
        counts.insert(OfSite { rule: found.id, site: site.to_owned() }, count);
    }

    /// Takes over what a daemon before this one had saved.
    ///
    /// # Errors
    /// It is no journal, or one of another version.
    pub(in crate::app) fn restore(&self, saved: &[u8]) -> Result<(), serde_json::Error> {
        let saved: Saved = serde_json::from_slice(saved)?;
        for ruled in saved.requests {
            self.keep(ruled);
        }
        for count in saved.counts {
            let at = self.shard_of_rule(count.rule);
            let mut counts = self.counts[at].lock();
            if counts.len() < COUNTED_MAX {
                counts.insert(OfSite { rule: count.rule, site: count.site.clone() }, count);
            }
        }
        Ok(())
    }

    /// All of it, for [`RuleJournal::restore`]: some MB at most.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub(in crate::app) fn save(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut requests = self.all(|_| true);
        requests.sort_by_key(|ruled| ruled.at_unix_ms);
        serde_json::to_vec(&Saved { requests, counts: self.top(None) })
    }

    /// What rules said of a request and of its response, by the request's id.
    pub(in crate::app) fn find(&self, id: &str) -> Vec<RuledRequest> {
        let mut found = self.all(|ruled| ruled.request.id == id);
        found.sort_by_key(|ruled| (ruled.at_unix_ms, ruled.is_response));
        found
    }

    /// Newest first.
    pub(in crate::app) fn recent(&self, query: &RuledQuery) -> Vec<RuledRequest> {
        let mut found = self.all(|ruled| query.asks_for(ruled));
        found.sort_by(|a, b| (b.at_unix_ms, &b.request.id).cmp(&(a.at_unix_ms, &a.request.id)));
        found.truncate(query.limit());
        found
    }

    /// The rules that match most, those first.
    pub(in crate::app) fn top(&self, site: Option<&str>) -> Vec<RuleCount> {
        let mut all = Vec::new();
        for counts in &self.counts {
            let counts = counts.lock();
            all.extend(counts.values().filter(|count| site.is_none_or(|site| site == count.site)).cloned());
        }
        all.sort_by(|a, b| (Reverse(a.requests), a.rule, &a.site).cmp(&(Reverse(b.requests), b.rule, &b.site)));
        all
    }

    fn all(&self, wanted: impl Fn(&RuledRequest) -> bool) -> Vec<RuledRequest> {
        let mut all = Vec::new();
        for requests in &self.requests {
            let requests = requests.lock();
            all.extend(requests.ended.iter().chain(&requests.passed).filter(|ruled| wanted(ruled)).cloned());
        }
        all
    }

    fn shard_of_rule(&self, rule: u64) -> usize {
        self.hash.hash_one(rule) as usize % SHARDS
    }

    fn shard_of(&self, source: IpAddr) -> &Mutex<Requests> {
        &self.requests[self.hash.hash_one(source) as usize % SHARDS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::RequestRef;

    fn ruled(n: u32, source: [u8; 4], outcome: RuleOutcome, rules: &[u64]) -> RuledRequest {
        let evidence = |id: &u64| RuleEvidence {
            id: *id,
            message: format!("rule {id}"),
            field: "args.q".to_owned(),
            value: "x".to_owned(),
        };
        RuledRequest {
            at_unix_ms: u64::from(n),
            request: RequestRef { id: format!("r{n}"), method: "GET".to_owned(), path: "/".to_owned() },
            is_response: false,
            site: "shop".to_owned(),
            source: IpAddr::from(source),
            outcome,
            status: None,
            ended_by: None,
            score: 5,
            threshold: 5,
            class: None,
            confidence: 0.5,
            ruleset: "own".to_owned(),
            rules: rules.iter().map(evidence).collect(),
            rule_ids: rules.to_vec(),
            decision: None,
        }
    }

    fn journal() -> RuleJournal {
        RuleJournal::new(&Metrics::new().unwrap())
    }

    #[test]
    fn a_refusal_is_found_by_its_id_and_one_source_drives_out_only_its_own_part() {
        let journal = journal();
        for n in 0..200 {
            journal.note(ruled(n, [10, 0, (n / 100) as u8, (n % 100) as u8], RuleOutcome::Refused, &[1]));
        }
        for n in 1_000..11_000 {
            journal.note(ruled(n, [203, 0, 113, 7], RuleOutcome::Refused, &[2]));
            journal.note(ruled(n + 100_000, [203, 0, 113, 7], RuleOutcome::Passed, &[2]));
        }
        let kept = (0..200).filter(|n| !journal.find(&format!("r{n}")).is_empty()).count();
        assert!(kept > 150, "{kept} of 200 are left after 10,000 by one source");
        let all = journal.all(|_| true).len();
        assert!(all <= SHARDS * (ENDED_MAX + PASSED_MAX), "{all}");
        assert_eq!(journal.requests_forgotten.get(), 20_200 - all as u64, "what is gone is counted");
        assert_eq!(journal.find("r10999")[0].rule_ids, [2]);
        assert!(journal.find("r1000").is_empty());
        let query =
            RuledQuery { rule: Some(2), outcome: Some(RuleOutcome::Passed), limit: Some(3), ..RuledQuery::default() };
        let newest: Vec<String> = journal.recent(&query).into_iter().map(|ruled| ruled.request.id).collect();
        assert_eq!(newest, ["r110999", "r110998", "r110997"]);
    }

    #[test]
    fn what_is_saved_is_found_by_the_next_daemon() {
        let before = journal();
        for n in 0..2_000 {
            before.note(ruled(n, [10, 0, (n / 100) as u8, (n % 100) as u8], RuleOutcome::Refused, &[1, 2]));
        }
        let after = journal();
        after.restore(&before.save().unwrap()).unwrap();
        assert_eq!(after.find("r1999"), before.find("r1999"));
        assert_eq!(after.top(None), before.top(None));
        // It is spread over other parts, and what does not fit there is forgotten: the oldest.
        let (kept, all) = (after.recent(&RuledQuery::default()), before.recent(&RuledQuery::default()));
        assert_eq!(kept, all);
        assert!(after.restore(b"{\"requests\": 7}").is_err());
        assert_eq!(after.top(None), before.top(None), "what cannot be read changes nothing");
    }

    #[test]
    fn rules_are_counted_once_a_request_and_the_rarest_makes_room() {
        let journal = journal();
        for n in 0..5 {
            journal.note(ruled(n, [10, 0, 0, 1], RuleOutcome::Refused, &[942_100, 942_100, 949]));
        }
        journal.note(ruled(9, [10, 0, 0, 1], RuleOutcome::Passed, &[942_100]));
        let top = journal.top(Some("shop"));
        assert_eq!((top[0].rule, top[0].requests, top[0].refused, top[0].last_unix_ms), (942_100, 6, 5, 9));
        assert_eq!((top[1].rule, top[1].requests), (949, 5));
        assert!(journal.top(Some("blog")).is_empty());
        for id in 0..20_000 {
            journal.note(ruled(10, [10, 0, 0, 1], RuleOutcome::Passed, &[1_000_000 + id]));
        }
        let top = journal.top(None);
        assert!(top.len() <= SHARDS * COUNTED_MAX, "{}", top.len());
        assert_eq!(top[0].rule, 942_100, "what matches often stays");
        assert_eq!(journal.rules_forgotten.get() as usize, 20_002 - top.len());
    }
}
