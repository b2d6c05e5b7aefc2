//! Enters: what rules matched in a request. Leaves: counts of it, by kind of attack and by place: what the request models
//! weigh beside the fields. It must never know a rule by its number: releases of a rule set renumber, tags stay.

use super::RuleReport;

/// Kinds of attack that the Core Rule Set tags its rules with. Matters of form and of reputation are not among them: they
/// tell programs from browsers, not attacks from the rest.
pub const ATTACK_TAGS: [&str; 12] = [
    "sqli",
    "xss",
    "rce",
    "lfi",
    "rfi",
    "injection-php",
    "injection-generic",
    "injection-java",
    "fixation",
    "ssrf",
    "ssti",
    "generic",
];
/// Where a rule found what it looks for: the first part of a field's name.
pub const SIGN_PLACES: [&str; 6] = ["args", "path", "cookie", "header", "body", "other"];
/// A report holds no more matches than this, so no more fields.
const FIELDS_MAX: usize = 16;
/// Counts stop here: more of the same says nothing new.
const COUNT_MAX: u8 = 8;

/// Counts of rules that matched in one request and name an attack.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RuleSigns {
    /// Rules by their tag, in the order of [`ATTACK_TAGS`].
    pub attacks: [u8; ATTACK_TAGS.len()],
    /// Rules by place, in the order of [`SIGN_PLACES`].
    pub places: [u8; SIGN_PLACES.len()],
    /// What they add up to by their severity, as the Core Rule Set counts.
    pub score: u16,
    /// The same of the one field that has most: several rules that agree about a field say more than as many about several.
    pub field_score: u16,
    /// How many kinds of attack they name in that field.
    pub field_kinds: u8,
}

impl RuleSigns {
    /// Counts a report's matches. Rules of a higher paranoia level than 1 do not count: models learnt from that one, and
    /// on most sites it is the only one that runs.
    #[must_use]
    pub fn of(report: &RuleReport) -> Self {
        let mut signs = Self::default();
        let mut of_field: [(&str, u16, u32); FIELDS_MAX] = [("", 0, 0); FIELDS_MAX];
        for found in &report.matches {
            let tag = |prefix| found.tags.iter().filter_map(move |tag| tag.strip_prefix(prefix));
            let kind = tag("attack-").find_map(|tag| ATTACK_TAGS.iter().position(|known| *known == tag));
            let Some(kind) = kind.filter(|_| found.phase < 3 && tag("paranoia-level/").all(|level| level == "1"))
            else {
                continue;
            };
            let score = match found.severity {
                Some(0..=2) => 5,
                Some(3) => 4,
                Some(4) => 3,
                Some(5) => 2,
                _ => 0,
            };
            signs.score = signs.score.saturating_add(score);
            if let Some(own) = of_field.iter_mut().find(|own| own.0 == found.field || own.2 == 0) {
                *own = (&found.field, own.1.saturating_add(score), own.2 | 1 << kind);
                if own.1 > signs.field_score {
                    (signs.field_score, signs.field_kinds) = (own.1, own.2.count_ones() as u8);
                }
            }
            let place = match found.field.split('.').next().unwrap_or_default() {
                "args" | "query" | "form" => 0,
                "path" => 1,
                "cookie" => 2,
                "header" => 3,
                "body" | "multipart" | "xml" => 4,
                _ => 5,
            };
            for count in [&mut signs.attacks[kind], &mut signs.places[place]] {
                *count = (*count + 1).min(COUNT_MAX);
            }
        }
        signs
    }

    /// Whether no rule that names an attack matched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::RuleMatch;

    fn found(field: &str, severity: u8, tags: &[&str]) -> RuleMatch {
        RuleMatch {
            id: 1,
            phase: 2,
            message: String::new(),
            severity: Some(severity),
            tags: tags.iter().map(ToString::to_string).collect(),
            field: field.into(),
            value: String::new(),
        }
    }

    #[test]
    fn only_rules_that_name_an_attack_count() {
        let report = |matches| RuleReport { matches, ..RuleReport::default() };
        let matches = vec![
            found("query.id", 2, &["attack-sqli", "paranoia-level/1"]),
            found("query.id", 2, &["attack-sqli", "paranoia-level/2"]),
            found("header.accept", 4, &["attack-protocol", "paranoia-level/1"]),
            found("cookie.a", 4, &["OWASP_CRS", "attack-xss"]),
        ];
        let signs = RuleSigns::of(&report(matches));
        assert_eq!((&signs.attacks[..3], &signs.places[..4], signs.score), (&[1, 1, 0][..], &[1, 0, 1, 0][..], 8));
        assert_eq!((signs.field_score, signs.field_kinds), (5, 1));
        let both = [
            ("query.id", "attack-sqli"),
            ("query.q", "attack-xss"),
            ("query.q", "attack-sqli"),
            ("query.id", "attack-sqli"),
        ];
        let signs = RuleSigns::of(&report(both.iter().map(|(field, tag)| found(field, 3, &[*tag])).collect()));
        assert_eq!((signs.score, signs.field_score, signs.field_kinds), (16, 8, 2));
        assert!(RuleSigns::of(&report(vec![found("path", 2, &["attack-protocol"])])).is_empty());
        let many = RuleSigns::of(&report(vec![found("path", 2, &["attack-lfi"]); 200]));
        assert_eq!((many.attacks[3], many.places[1], many.score), (COUNT_MAX, COUNT_MAX, 1000));
    }
}
