//! Enters: fields of honest requests. Leaves: what a parameter usually is: its types, its shapes, its common values, each
//! known only when as many sources as the quorum have sent it. What is known lowers a score; what is unknown is no
//! evidence at all.

use serde::{Deserialize, Serialize};

use super::{shape::ValueType, sketch::FieldSketch};
use crate::flow::{DAY_MS, Worth};

/// Most shapes and most values that are kept of one parameter.
const SHAPES_MAX: usize = 12;
const VALUES_MAX: usize = 12;
/// How far what is known lowers the log-odds of an attack. A type that has no room for an attack and a value that many
/// have sent settle it, as far as a model can be sure; a shape is a hint, since words alone can be an attack.
const KNOWN_VALUE: f32 = 6.0;
const KNOWN_NARROW_TYPE: f32 = 6.0;
const KNOWN_WORD: f32 = 3.0;
const KNOWN_SHAPE: f32 = 2.0;

/// Distinct sources: one bit for each source's hash. Two sources may share a bit, one source never has two, so the count
/// errs towards too few.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Sources(u64);

impl Sources {
    fn add(&mut self, source: u64) {
        // The lower bits choose places in other tables.
        self.0 |= 1 << (source >> 58);
    }

    const fn count(self) -> u32 {
        self.0.count_ones()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Shape {
    characters: u32,
    length: u8,
    sources: Sources,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Value {
    hash: u64,
    sources: Sources,
}

/// One parameter of one endpoint.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    types: [Sources; ValueType::COUNT],
    shapes: Vec<Shape>,
    values: Vec<Value>,
    touched_ms: u64,
}

impl Worth for Parameter {
    /// What a quorum vouched for outlives by a week what merely came by.
    fn worth(&self, _now_ms: u64) -> i64 {
        let most = self.types.iter().map(|sources| sources.count()).max().unwrap_or(0);
        self.touched_ms as i64 + i64::from(most.min(8)) * DAY_MS as i64
    }
}

impl Parameter {
    /// Learns one value of one source. Returns whether something had no room.
    pub fn learn(&mut self, field: &FieldSketch, source: u64, now_ms: u64) -> bool {
        self.touched_ms = now_ms;
        self.types[field.value_type as usize].add(source);
        let shape = |shape: &Shape| (shape.characters, shape.length) == (field.characters, field.length);
        let fresh = Shape { characters: field.characters, length: field.length, sources: Sources::default() };
        let has_shape = slot(&mut self.shapes, SHAPES_MAX, shape, fresh, |shape| &mut shape.sources, source);
        let fresh = Value { hash: field.value, sources: Sources::default() };
        let same = |value: &Value| value.hash == field.value;
        slot(&mut self.values, VALUES_MAX, same, fresh, |value| &mut value.sources, source);
        !has_shape
    }

    /// Forgets what no quorum vouched for, so that few sources cannot gather one over months.
    pub fn forget(&mut self, sources_min: u32) {
        for sources in &mut self.types {
            if sources.count() < sources_min {
                *sources = Sources::default();
            }
        }
        self.shapes.retain(|shape| shape.sources.count() >= sources_min);
        self.values.retain(|value| value.sources.count() >= sources_min);
    }

    /// What a quorum vouches for; `None` when that is nothing.
    #[must_use]
    pub fn known(&self, sources_min: u32) -> Option<KnownParameter> {
        let is_known = |sources: Sources| sources.count() >= sources_min;
        let types = (0..ValueType::COUNT).filter(|at| is_known(self.types[*at])).fold(0, |types, at| types | 1 << at);
        let shapes = self.shapes.iter().filter(|shape| is_known(shape.sources));
        let values = self.values.iter().filter(|value| is_known(value.sources));
        let known = KnownParameter {
            types,
            shapes: shapes.map(|shape| (shape.characters, shape.length)).collect(),
            values: values.map(|value| value.hash).collect(),
        };
        (types != 0).then_some(known)
    }

    /// Whether a stored one keeps to the limits.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.shapes.len() <= SHAPES_MAX && self.values.len() <= VALUES_MAX
    }
}

/// Adds a source to the slot that fits. Without one, a newcomer takes a free place or that of something that a single
/// source sent: whoever sends ever new things displaces nobody but himself and others like him.
fn slot<T>(
    slots: &mut Vec<T>,
    limit: usize,
    fits: impl Fn(&T) -> bool,
    mut fresh: T,
    sources: impl Fn(&mut T) -> &mut Sources,
    source: u64,
) -> bool {
    if let Some(known) = slots.iter_mut().find(|slot| fits(slot)) {
        sources(known).add(source);
        return true;
    }
    sources(&mut fresh).add(source);
    if slots.len() < limit {
        slots.push(fresh);
        return true;
    }
    for lone in slots {
        if sources(lone).count() <= 1 {
            *lone = fresh;
            return true;
        }
    }
    false
}

/// What is known of a parameter: small, immutable, for those who judge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownParameter {
    types: u8,
    shapes: Box<[(u32, u8)]>,
    values: Box<[u64]>,
}

impl KnownParameter {
    /// By how much a value's log-odds are lowered; 0 when nothing of it is known.
    #[must_use]
    pub fn lowers(&self, field: &FieldSketch) -> f32 {
        if self.values.contains(&field.value) {
            return KNOWN_VALUE;
        }
        if self.types & 1 << field.value_type as u8 != 0 {
            match field.value_type {
                ValueType::Integer | ValueType::Number | ValueType::Uuid | ValueType::Hex | ValueType::Date => {
                    return KNOWN_NARROW_TYPE;
                }
                ValueType::Word | ValueType::Email => return KNOWN_WORD,
                ValueType::Text => {}
            }
        }
        let fits = |(characters, length): &(u32, u8)| field.characters & !characters == 0 && field.length <= *length;
        if self.shapes.iter().any(fits) { KNOWN_SHAPE } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{inspect::FieldKind, learn::Sketcher};

    const QUORUM: u32 = 8;

    fn field(value: &str) -> FieldSketch {
        Sketcher::new(1).field(1, 1, FieldKind::Value, "query.q", value.as_bytes())
    }

    fn source(number: u64) -> u64 {
        Sketcher::new(1).text(&number.to_string())
    }

    fn learnt(values: &[&str], sources: u64) -> Parameter {
        let mut parameter = Parameter::default();
        for number in 0..sources {
            for value in values {
                parameter.learn(&field(value), source(number), number);
            }
        }
        parameter
    }

    #[test]
    fn what_many_have_sent_lowers_the_score_of_what_is_like_it() {
        let known = learnt(&["O'Brien", "Smith"], 40).known(QUORUM).unwrap();
        assert_eq!(known.lowers(&field("O'Brien")), KNOWN_VALUE);
        assert_eq!(known.lowers(&field("D'Arcy")), KNOWN_SHAPE, "letters and one quote, no longer than was seen");
        assert_eq!(
            known.lowers(&field("x' or 1=1--")),
            0.0,
            "blanks, digits, `=` and `-` were never seen with a quote"
        );
        assert_eq!(known.lowers(&field("O'Brien-and-much-much-longer-than-that")), 0.0);
        let ids = learnt(&["1", "22", "333"], 40).known(QUORUM).unwrap();
        assert_eq!(ids.lowers(&field("987654321")), KNOWN_NARROW_TYPE);
        assert_eq!(ids.lowers(&field("1 or 1=1")), 0.0);
    }

    #[test]
    fn few_sources_make_nothing_known_however_much_they_send() {
        let mut parameter = Parameter::default();
        for round in 0..10_000 {
            for number in 0..u64::from(QUORUM) - 1 {
                parameter.learn(&field("x' or 1=1--"), source(number), round);
            }
        }
        assert_eq!(parameter.known(QUORUM), None);
        assert!(parameter.known(1).unwrap().lowers(&field("x' or 1=1--")) > 0.0, "the test must be able to fail");
    }

    #[test]
    fn few_sources_do_not_gather_a_quorum_over_time_nor_push_out_what_is_known() {
        let mut parameter = learnt(&["O'Brien"], 40);
        for week in 0..40 {
            for number in 0..1_000 {
                let value = format!("{}{number}'--", ";".repeat(number % 60));
                parameter.learn(&field(&value), source(1_000 + week), week);
            }
            parameter.forget(QUORUM);
        }
        let known = parameter.known(QUORUM).unwrap();
        assert_eq!(known.lowers(&field("O'Brien")), KNOWN_VALUE);
        assert_eq!(known.lowers(&field(";;;5'--")), 0.0);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_limits_and_never_raises(values in proptest::collection::vec(".{0,40}", 1..200)) {
            let mut parameter = Parameter::default();
            for (number, value) in values.iter().enumerate() {
                parameter.learn(&field(value), source(number as u64 % 20), 0);
            }
            prop_assert!(parameter.is_sound());
            if let Some(known) = parameter.known(4) {
                for value in &values {
                    prop_assert!((0.0..=KNOWN_VALUE).contains(&known.lowers(&field(value))));
                }
            }
        }
    }
}
