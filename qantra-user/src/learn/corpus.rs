//! Enters: labelled requests and samples. Leaves: a [`Corpus`] to train on: each field's bytes once, and who sent it.
//! Texts are kept, not their n-grams, which would take thirty times the memory. What is beyond the limits is left out and
//! counted.

use std::collections::HashMap;

use foldhash::fast::FixedState;

use super::sample::{Label, Sample, Voucher};
use crate::inspect::{FieldKind, Fields, RequestView};

/// Most bytes of all fields together.
const BYTES_MAX: usize = 96 << 20;
/// Most distinct fields.
const FIELDS_MAX: usize = 1_500_000;
/// How much of a field is kept.
const FIELD_BYTES_MAX: usize = 1_024;

/// One distinct field.
#[derive(Debug, Clone, Copy)]
struct Entry {
    start: u32,
    length: u16,
    kind: FieldKind,
    is_benign: bool,
}

/// Something with a label: a field, or a request of which at least one field is an attack.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bag {
    first: u32,
    count: u32,
    /// Who vouches: an index into the groups.
    pub(super) group: u32,
    pub(super) is_malicious: bool,
}

/// Where samples come from: what is capped together, and held out together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Group {
    /// Its key, which decides whether it is held out.
    pub(super) key: u64,
    /// Whether the administrator chose it: a file named on the command line, or his own labels.
    pub(super) is_trusted: bool,
}

/// What to train on.
#[derive(Debug, Default)]
pub struct Corpus {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    members: Vec<u32>,
    bags: Vec<Bag>,
    groups: Vec<Group>,
    group_of: HashMap<u64, u32>,
    known: HashMap<u64, u32, FixedState>,
    left_out: u64,
}

impl Corpus {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sample. Who sent it counts as one group, whichever box it was.
    pub fn add_sample(&mut self, sample: &Sample) {
        let is_malicious = sample.label == Label::Malicious;
        let is_trusted = sample.by == Voucher::Person;
        let group = self.group(&(sample.origin.as_str(), sample.source.as_str()), is_trusted);
        let first = self.members.len();
        if let Some(entry) = self.field(sample.kind, sample.text.as_bytes(), !is_malicious) {
            self.members.push(entry);
            self.bag(first, group, is_malicious);
        }
    }

    /// Adds a whole request of a file that the administrator named.
    pub fn add_request(&mut self, request: &RequestView<'_>, source: &str, is_malicious: bool, fields: &mut Fields) {
        fields.read(request);
        let group = self.group(&source, true);
        let first = self.members.len();
        for field in fields.iter() {
            let before = self.entries.len();
            let Some(entry) = self.field(field.kind, field.value, !is_malicious) else { continue };
            // What is benign is so each time; once is enough.
            if is_malicious || self.entries.len() > before {
                self.members.push(entry);
            }
        }
        if is_malicious {
            self.bag(first, group, true);
        } else {
            for member in first..self.members.len() {
                self.bags.push(Bag { first: member as u32, count: 1, group, is_malicious: false });
            }
        }
    }

    /// Things with a label.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bags.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bags.is_empty()
    }

    /// Fields that had no room.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }

    pub(super) fn bags(&self) -> &[Bag] {
        &self.bags
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The fields of a bag. Of a malicious request those that benign ones have as well are never the attack.
    pub(super) fn fields(&self, bag: &Bag) -> impl Iterator<Item = (FieldKind, &[u8])> {
        let members = &self.members[bag.first as usize..(bag.first + bag.count) as usize];
        let is_alone = bag.count == 1;
        let entries = members.iter().map(|entry| self.entries[*entry as usize]);
        let is_malicious = bag.is_malicious;
        entries.filter(move |entry| !is_malicious || is_alone || !entry.is_benign).map(|entry| {
            let start = entry.start as usize;
            (entry.kind, &self.bytes[start..start + usize::from(entry.length)])
        })
    }

    fn bag(&mut self, first: usize, group: u32, is_malicious: bool) {
        let count = (self.members.len() - first) as u32;
        if count > 0 {
            self.bags.push(Bag { first: first as u32, count, group, is_malicious });
        }
    }

    fn group(&mut self, name: &impl std::hash::Hash, is_trusted: bool) -> u32 {
        use std::hash::BuildHasher as _;
        // The seed is fixed, so that the same data train the same model.
        let key = foldhash::quality::FixedState::with_seed(1).hash_one((name, is_trusted));
        let fresh = self.groups.len() as u32;
        let group = *self.group_of.entry(key).or_insert(fresh);
        if group == fresh {
            self.groups.push(Group { key, is_trusted });
        }
        group
    }

    /// The place of a field's text, made when it is new.
    fn field(&mut self, kind: FieldKind, value: &[u8], is_benign: bool) -> Option<u32> {
        use std::hash::BuildHasher as _;
        let value = &value[..value.len().min(FIELD_BYTES_MAX)];
        let hash = self.known.hasher().hash_one((kind, value));
        if let Some(known) = self.known.get(&hash) {
            let entry = &mut self.entries[*known as usize];
            let start = entry.start as usize;
            if entry.kind == kind && self.bytes[start..start + usize::from(entry.length)] == *value {
                entry.is_benign |= is_benign;
                return Some(*known);
            }
        }
        if self.entries.len() >= FIELDS_MAX || self.bytes.len() + value.len() > BYTES_MAX {
            self.left_out += 1;
            return None;
        }
        let place = self.entries.len() as u32;
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(value);
        self.entries.push(Entry { start, length: value.len() as u16, kind, is_benign });
        self.known.insert(hash, place);
        Some(place)
    }
}
