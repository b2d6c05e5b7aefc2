//! Enters: a variable that is computed when it is asked for. Leaves: its names and values. Time is the host's.

use std::io::Write as _;

use super::{
    Host, Transaction,
    scratch::{Matched, TxValue},
};
use crate::{collections::Instance, rule::Select, store::Span, variable::Variable};

impl Transaction<'_, '_> {
    pub(super) fn dynamic(
        &mut self,
        variable: Variable,
        select: &Select,
        host: &mut Host<'_>,
        out: &mut Vec<(Span, Span)>,
    ) {
        match variable {
            Variable::Tx => self.tx_values(select, out),
            Variable::MatchedVar => out.push((Span::EMPTY, self.s.last.value)),
            Variable::MatchedVarName => {
                let name = self.name_of(self.s.last);
                out.push((Span::EMPTY, name));
            }
            Variable::MatchedVars | Variable::MatchedVarsNames => {
                for at in 0..self.s.matched.len() {
                    let matched = self.s.matched[at];
                    let name = self.name_of(matched);
                    let value = if variable == Variable::MatchedVars { matched.value } else { name };
                    if select.takes(self.s.store.get(name)) || select.takes(self.s.store.get(matched.key)) {
                        out.push((name, value));
                    }
                }
            }
            Variable::Env => {
                let all = self.s.env.iter().filter(|(name, _)| select.takes(self.s.store.get(*name)));
                out.extend(all.copied());
            }
            _ if variable.is_persistent() => self.persistent(variable, select, host, out),
            _ => {
                let mut text = std::mem::take(&mut self.s.spare_single);
                text.clear();
                self.single(variable, host, &mut text);
                let span = self.s.store.keep(&text);
                self.s.spare_single = text;
                out.push((Span::EMPTY, span));
            }
        }
    }

    fn tx_values(&mut self, select: &Select, out: &mut Vec<(Span, Span)>) {
        let names = &self.rules.names.names;
        for (slot, name) in names.iter().enumerate() {
            let value = self.s.tx[slot];
            if value != TxValue::Unset && select.takes(name) {
                let key = self.s.store.keep(name);
                out.push((key, self.tx_span(value)));
            }
        }
        for at in 0..self.s.more_tx.len() {
            let (key, value) = self.s.more_tx[at];
            if value != TxValue::Unset && select.takes(self.s.store.get(key)) {
                out.push((key, self.tx_span(value)));
            }
        }
    }

    fn name_of(&mut self, matched: Matched) -> Span {
        let start = self.s.store.arena.len();
        self.s.store.arena.extend_from_slice(matched.variable.name().as_bytes());
        if matched.key.len() > 0 {
            self.s.store.arena.push(b':');
            self.s.store.arena.extend_from_within(matched.key.start as usize..matched.key.end as usize);
        }
        self.s.store.since(start)
    }

    fn persistent(&mut self, collection: Variable, select: &Select, host: &mut Host<'_>, out: &mut Vec<(Span, Span)>) {
        let Some(key) = self.opened(collection) else { return };
        let key = self.s.store.get(key).to_vec();
        let of = Instance { collection, key: &key };
        if let Select::Key(name) = select {
            let start = self.s.store.arena.len();
            if host.collections.get(of, name, host.now_s, &mut self.s.store.arena) {
                let value = self.s.store.since(start);
                let name = self.s.store.keep(name);
                out.push((name, value));
            }
            return;
        }
        let store = &mut self.s.store;
        host.collections.each(of, host.now_s, &mut |name, value| {
            if select.takes(name) {
                let name = store.keep(name);
                out.push((name, store.keep(value)));
            }
        });
    }

    pub(super) fn single(&self, variable: Variable, host: &Host<'_>, text: &mut Vec<u8>) {
        let second_of_day = host.now_s % 86_400;
        let days = host.now_s / 86_400;
        let (year, month, day) = civil(days);
        let mut write = |number: u64| {
            let _ = write!(text, "{number}");
        };
        match variable {
            Variable::HighestSeverity => write(u64::from(self.s.highest_severity)),
            Variable::Duration => write(host.elapsed_ms.saturating_mul(1000)),
            Variable::TimeEpoch => write(host.now_s),
            Variable::TimeDay => write(day),
            // January is 0, as in C's `tm`.
            Variable::TimeMon => write(month - 1),
            Variable::TimeYear => write(year),
            Variable::TimeHour => write(second_of_day / 3600),
            Variable::TimeMin => write(second_of_day / 60 % 60),
            Variable::TimeSec => write(second_of_day % 60),
            // 1970 began on a Thursday.
            Variable::TimeWday => write((days + 4) % 7),
            Variable::Time => {
                let (hour, minute) = (second_of_day / 3600, second_of_day / 60 % 60);
                let _ = write!(text, "{hour:02}:{minute:02}:{:02}", second_of_day % 60);
            }
            Variable::ModsecBuild => text.extend_from_slice(b"030000100"),
            Variable::SessionId | Variable::UserId => {
                let of = if variable == Variable::SessionId { Variable::Session } else { Variable::User };
                let key = self.opened(of).unwrap_or(Span::EMPTY);
                text.extend_from_slice(self.s.store.get(key));
            }
            _ => {}
        }
    }
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
fn civil(days: u64) -> (u64, u64, u64) {
    // Years that begin in March have the odd day at their end.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates() {
        for (days, date) in [(0, (1970, 1, 1)), (11_016, (2000, 2, 29)), (20_454, (2026, 1, 1))] {
            assert_eq!(civil(days), date);
        }
    }
}
