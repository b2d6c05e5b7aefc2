//! Enters: what the patterns of all rules need. Leaves: one automaton that tells, in one pass over a value, which rules can
//! match it at all. It must never leave out a rule that could match.

use aho_corasick::{Anchored, MatchKind, automaton::Automaton as _, dfa::DFA};
use foldhash::HashMap;

use crate::{bytes::ByteSet, regex::Requirement};

/// The number of one requirement; `None`: no test spares the operator.
pub(crate) type Slot = Option<u16>;

/// How much of a literal the automaton looks for.
const LITERAL_MAX: usize = 8;

/// Collects requirements while rules are compiled.
#[derive(Debug, Default)]
pub(crate) struct FilterBuilder {
    known: HashMap<Requirement, u16>,
    literals: HashMap<Vec<u8>, Vec<u16>>,
    bytes: Vec<(ByteSet, u16)>,
}

impl FilterBuilder {
    /// The slot of a requirement, shared by all who ask for the same.
    pub(crate) fn slot(&mut self, requirement: &Requirement) -> Slot {
        if matches!(requirement, Requirement::Nothing) {
            return None;
        }
        if let Some(slot) = self.known.get(requirement) {
            return Some(*slot);
        }
        let slot = u16::try_from(self.known.len()).ok()?;
        match requirement {
            Requirement::Literals(literals) => {
                for literal in literals {
                    // A beginning is needed as much as the whole, and many strings share theirs.
                    let begin = &literal[..literal.len().min(LITERAL_MAX)];
                    let slots = self.literals.entry(begin.to_ascii_lowercase()).or_default();
                    if slots.last() != Some(&slot) {
                        slots.push(slot);
                    }
                }
            }
            Requirement::Bytes(set) => self.bytes.push((*set, slot)),
            Requirement::Nothing => {}
        }
        self.known.insert(requirement.clone(), slot);
        Some(slot)
    }

    /// Builds the automaton.
    pub(crate) fn build(self) -> Result<Filter, String> {
        let mut literals: Vec<(Vec<u8>, Vec<u16>)> = self.literals.into_iter().collect();
        literals.sort();
        let mut starts = Vec::with_capacity(literals.len() + 1);
        let mut slots = Vec::new();
        for (_, of_literal) in &literals {
            starts.push(u32::try_from(slots.len()).unwrap_or(u32::MAX));
            slots.extend_from_slice(of_literal);
        }
        starts.push(u32::try_from(slots.len()).unwrap_or(u32::MAX));
        let automaton = if literals.is_empty() {
            None
        } else {
            let built = DFA::builder()
                .match_kind(MatchKind::Standard)
                .ascii_case_insensitive(true)
                .prefilter(false)
                .build(literals.iter().map(|(text, _)| text))
                .map_err(|error| error.to_string())?;
            Some(built)
        };
        let present = literals.iter().fold(ByteSet::EMPTY, |set, (text, _)| {
            let first = text.first().copied().unwrap_or_default();
            set.with(&[first.to_ascii_lowercase(), first.to_ascii_uppercase()])
        });
        Ok(Filter {
            automaton,
            firsts: present,
            starts,
            slots,
            bytes: self.bytes,
            words: self.known.len().div_ceil(64).max(1),
        })
    }
}

/// The automaton of a rule set.
#[derive(Debug)]
pub(crate) struct Filter {
    automaton: Option<DFA>,
    /// The bytes that literals begin with.
    firsts: ByteSet,
    /// Where each literal's slots begin.
    starts: Vec<u32>,
    slots: Vec<u16>,
    bytes: Vec<(ByteSet, u16)>,
    /// How many words hold one bit for every slot.
    pub(crate) words: usize,
}

impl Filter {
    /// Sets the bits of the requirements that a text meets.
    pub(crate) fn scan(&self, text: &[u8], present: &ByteSet, bits: &mut [u64]) {
        self.set_bytes(present, bits);
        let Some(automaton) = self.automaton.as_ref().filter(|_| self.firsts.meets(present)) else { return };
        let Ok(mut state) = automaton.start_state(Anchored::No) else { return };
        for byte in text {
            state = automaton.next_state(Anchored::No, state, *byte);
            if automaton.is_special(state) && automaton.is_match(state) {
                for at in 0..automaton.match_len(state) {
                    let literal = automaton.match_pattern(state, at).as_usize();
                    for slot in &self.slots[self.starts[literal] as usize..self.starts[literal + 1] as usize] {
                        set_bit(bits, *slot);
                    }
                }
            }
        }
    }

    /// Sets the bits of the requirements that speak of bytes, and no others, anew.
    pub(crate) fn set_bytes(&self, present: &ByteSet, bits: &mut [u64]) {
        for (set, slot) in &self.bytes {
            let word = &mut bits[usize::from(slot >> 6)];
            let bit = 1 << (slot & 63);
            *word = if set.meets(present) { *word | bit } else { *word & !bit };
        }
    }

    /// About how many bytes it holds.
    pub(crate) fn memory(&self) -> usize {
        self.automaton.as_ref().map_or(0, |automaton| automaton.memory_usage())
            + self.slots.len() * 2
            + self.starts.len() * 4
    }
}

fn set_bit(bits: &mut [u64], slot: u16) {
    if let Some(word) = bits.get_mut(usize::from(slot >> 6)) {
        *word |= 1 << (slot & 63);
    }
}

/// Whether a slot's bit is set.
pub(crate) fn has_bit(bits: &[u64], slot: impl Into<u32>) -> bool {
    let slot = slot.into();
    bits.get((slot >> 6) as usize).is_some_and(|word| word >> (slot & 63) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pass_tells_which_requirements_are_met() {
        let mut builder = FilterBuilder::default();
        let literals = |texts: &[&str]| Requirement::Literals(texts.iter().map(|t| t.as_bytes().to_vec()).collect());
        let union = builder.slot(&literals(&["union", "select"])).expect("slot");
        let ion = builder.slot(&literals(&["ion"])).expect("slot");
        let signs = builder.slot(&Requirement::Bytes(ByteSet::of(b";|"))).expect("slot");
        assert_eq!(builder.slot(&literals(&["ion"])), Some(ion));
        assert_eq!(builder.slot(&Requirement::Nothing), None);
        let filter = builder.build().expect("builds");
        let met = |text: &[u8]| {
            let mut bits = vec![0; filter.words];
            filter.scan(text, &ByteSet::present(text), &mut bits);
            [union, ion, signs].map(|slot| has_bit(&bits, slot))
        };
        assert_eq!(met(b"1 UNION x"), [true, true, false]);
        assert_eq!(met(b"lion;"), [false, true, true]);
        assert_eq!(met(b"plain"), [false, false, false]);
    }
}
