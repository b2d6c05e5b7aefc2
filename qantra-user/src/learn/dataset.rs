//! Enters: the text of data sets. Leaves: checked samples, and the text again. JSON lines: a header, then one sample a
//! line. Data sets come from strangers: each line is checked, sizes are bounded, and no box has more than its share.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, BufRead, Read as _, Write},
};

use serde::{Deserialize, Serialize};

use super::sample::{Label, Sample};

/// The format's name and version.
const FORMAT: &str = "qantra-dataset";
const VERSION: u32 = 1;
/// Longest line.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// Most samples of a file.
pub const SAMPLES_MAX: usize = 100_000;
/// Most samples of one box in a merged set, so that one cannot outvote the others.
pub const ORIGIN_SAMPLES_MAX: usize = 10_000;

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    /// `qantra-dataset`.
    pub format: String,
    /// 1.
    pub version: u32,
    /// Hash of the feature schema of who wrote it. Samples are text, so another one's can be used.
    pub schema: String,
    /// How many samples follow.
    pub samples: usize,
    /// How many of them are malicious.
    pub malicious: usize,
    /// How many are benign.
    pub benign: usize,
    /// How many come from which box.
    pub origins: BTreeMap<String, usize>,
}

/// A data set is not taken.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A line is wrong.
    #[error("line {line}: {reason}")]
    Line {
        /// Which, from 1 on.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// What was read is not what the header says: cut off, or put together by hand.
    #[error("the header says {said} samples, {found} were read, or its counts differ: the file is cut off or changed")]
    Counts {
        /// What the header says.
        said: usize,
        /// What was read.
        found: usize,
    },
}

/// Samples, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dataset {
    samples: Vec<Sample>,
    by_key: HashMap<String, usize>,
}

/// What a merge did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Merged {
    /// Samples that are new.
    pub added: u64,
    /// Samples that were there.
    pub known: u64,
    /// Samples whose label was the other one: neither is kept.
    pub conflicts: u64,
    /// Samples beyond the share of their box.
    pub over_share: u64,
}

impl Dataset {
    /// The samples.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Reads a data set: all of it or nothing.
    ///
    /// # Errors
    /// [`DatasetError`], with the line.
    pub fn read(mut text: impl BufRead) -> Result<(Header, Self), DatasetError> {
        let wrong = |line: usize, reason: String| DatasetError::Line { line, reason };
        let mut buffer = Vec::new();
        let header: Header = match next_line(&mut text, &mut buffer, 1)? {
            Some(line) => serde_json::from_slice(line).map_err(|error| wrong(1, format!("no header: {error}")))?,
            None => return Err(wrong(1, "the file is empty".into())),
        };
        if header.format != FORMAT || header.version != VERSION {
            let reason =
                format!("is `{}` {}, this version reads `{FORMAT}` {VERSION}", clean(&header.format), header.version);
            return Err(wrong(1, reason));
        }
        let mut set = Self::default();
        let mut number = 1;
        let mut found = 0;
        while let Some(line) = next_line(&mut text, &mut buffer, number + 1)? {
            number += 1;
            let sample: Sample =
                serde_json::from_slice(line).map_err(|error| wrong(number, clean(&error.to_string())))?;
            sample.check().map_err(|reason| wrong(number, reason))?;
            found += 1;
            if found > SAMPLES_MAX {
                return Err(wrong(number, format!("more than {SAMPLES_MAX} samples")));
            }
            if !set.insert(sample) {
                return Err(wrong(number, "the same field and text was there before".into()));
            }
        }
        if set.header(&header.schema) != header {
            return Err(DatasetError::Counts { said: header.samples, found });
        }
        Ok((header, set))
    }

    /// Writes it.
    ///
    /// # Errors
    /// The writer fails.
    pub fn write(&self, schema: &str, mut to: impl Write) -> Result<(), DatasetError> {
        write_line(&mut to, &self.header(schema))?;
        for sample in &self.samples {
            write_line(&mut to, sample)?;
        }
        Ok(to.flush()?)
    }

    /// The header that this set has.
    #[must_use]
    pub fn header(&self, schema: &str) -> Header {
        let malicious = self.samples.iter().filter(|sample| sample.label == Label::Malicious).count();
        let mut origins = BTreeMap::new();
        for sample in &self.samples {
            *origins.entry(sample.origin.clone()).or_default() += 1;
        }
        Header {
            format: FORMAT.into(),
            version: VERSION,
            schema: schema.into(),
            samples: self.samples.len(),
            malicious,
            benign: self.samples.len() - malicious,
            origins,
        }
    }

    /// Adds a sample; false when its field and text were there.
    pub fn insert(&mut self, sample: Sample) -> bool {
        let fresh = self.samples.len();
        let is_new = *self.by_key.entry(sample.key()).or_insert(fresh) == fresh;
        if is_new {
            self.samples.push(sample);
        }
        is_new
    }

    /// Pools several sets: each field and text once, no more of a box than its share, and nothing that boxes disagree on.
    #[must_use]
    pub fn merge(sets: Vec<Self>) -> (Self, Merged) {
        let mut merged = Merged::default();
        let mut labels: HashMap<String, Option<Label>> = HashMap::new();
        for sample in sets.iter().flat_map(Self::samples) {
            let label = labels.entry(sample.key()).or_insert(Some(sample.label));
            if label.is_some_and(|label| label != sample.label) {
                *label = None;
            }
        }
        let mut set = Self::default();
        let mut origins: HashMap<String, usize> = HashMap::new();
        for sample in sets.into_iter().flat_map(|set| set.samples) {
            if labels.get(&sample.key()) == Some(&None) {
                merged.conflicts += 1;
            } else if set.by_key.contains_key(&sample.key()) {
                merged.known += 1;
            } else {
                let own = origins.entry(sample.origin.clone()).or_default();
                if *own >= ORIGIN_SAMPLES_MAX || set.samples.len() >= SAMPLES_MAX {
                    merged.over_share += 1;
                } else {
                    *own += 1;
                    merged.added += 1;
                    set.insert(sample);
                }
            }
        }
        (set, merged)
    }
}

impl FromIterator<Sample> for Dataset {
    fn from_iter<T: IntoIterator<Item = Sample>>(samples: T) -> Self {
        let mut set = Self::default();
        for sample in samples {
            set.insert(sample);
        }
        set
    }
}

fn write_line(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, value)?;
    to.write_all(b"\n")
}

/// The next line that is not blank.
fn next_line<'a>(
    text: &mut impl BufRead,
    buffer: &'a mut Vec<u8>,
    number: usize,
) -> Result<Option<&'a [u8]>, DatasetError> {
    buffer.clear();
    if text.take(LINE_BYTES_MAX + 1).read_until(b'\n', buffer)? == 0 {
        return Ok(None);
    }
    if buffer.len() as u64 > LINE_BYTES_MAX {
        let reason = format!("longer than {LINE_BYTES_MAX} bytes");
        return Err(DatasetError::Line { line: number, reason });
    }
    Ok(Some(buffer.trim_ascii_end()))
}

/// Text of strangers, fit for one line of an error.
fn clean(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{inspect::FieldKind, learn::Voucher};

    fn sample(text: &str, label: Label, origin: u64) -> Sample {
        Sample {
            label,
            class: None,
            kind: FieldKind::Value,
            name: "query.q".into(),
            text: text.into(),
            source: "0123456789abcdef".into(),
            origin: super::super::sample::id(origin),
            labelled_unix_ms: 1,
            by: Voucher::Person,
        }
    }

    fn written(set: &Dataset) -> Vec<u8> {
        let mut text = Vec::new();
        set.write("schema", &mut text).unwrap();
        text
    }

    fn error(text: &str) -> String {
        Dataset::read(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let good = String::from_utf8(written(&[sample("a", Label::Benign, 1)].into_iter().collect())).unwrap();
        let (header, row) = good.split_once('\n').unwrap();
        assert_eq!(error(""), "line 1: the file is empty");
        assert!(error("hello\n").starts_with("line 1: no header: "));
        assert_eq!(
            error(&good.replace("\"version\":1", "\"version\":2")),
            "line 1: is `qantra-dataset` 2, this version reads `qantra-dataset` 1"
        );
        assert!(
            error(&good.replace("benign\",\"kind", "harmless\",\"kind"))
                .starts_with("line 2: unknown variant `harmless`")
        );
        assert_eq!(
            error(&good.replace("query.q", "query q")),
            "line 2: `name` is longer than 200 bytes or not printable"
        );
        assert_eq!(error(&format!("{header}\n{row}{row}")), "line 3: the same field and text was there before");
        assert!(error(&format!("{header}\n")).starts_with("the header says 1 samples, 0 were read"), "cut off");
        assert!(error(&format!("{header}\n{}", "x".repeat(20_000))).starts_with("line 2: longer than 16384 bytes"));
    }

    #[test]
    fn boxes_pool_what_they_agree_on_and_none_outvotes_the_others() {
        let own: Dataset = [sample("a", Label::Benign, 1), sample("b", Label::Malicious, 1)].into_iter().collect();
        let other: Dataset =
            [sample("b", Label::Malicious, 2), sample("a", Label::Malicious, 2), sample("c", Label::Benign, 2)]
                .into_iter()
                .collect();
        let loud: Dataset =
            (0..ORIGIN_SAMPLES_MAX + 5).map(|n| sample(&format!("loud {n}"), Label::Benign, 3)).collect();
        let (merged, report) = Dataset::merge(vec![own, other, loud]);
        let texts: Vec<&str> = merged.samples().iter().take(2).map(|sample| sample.text.as_str()).collect();
        assert_eq!(texts, ["b", "c"], "of `a` they disagree");
        let added = 2 + ORIGIN_SAMPLES_MAX as u64;
        assert_eq!(report, Merged { added, known: 1, conflicts: 2, over_share: 5 });
    }

    fn any_sample() -> impl Strategy<Value = Sample> {
        let kind = proptest::sample::select(FieldKind::ALL.to_vec());
        let text = proptest::string::string_regex("(?s).{1,200}").unwrap();
        (kind, text, any::<bool>(), any::<u64>(), any::<u64>(), "[!-~]{0,60}").prop_map(
            |(kind, text, bad, source, at, name)| Sample {
                label: if bad { Label::Malicious } else { Label::Benign },
                class: bad.then(|| "sqli".into()),
                kind,
                name,
                text,
                source: super::super::sample::id(source),
                origin: super::super::sample::id(source % 3),
                labelled_unix_ms: at >> 12,
                by: if source % 2 == 0 { Voucher::Person } else { Voucher::Quorum },
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(samples in proptest::collection::vec(any_sample(), 0..40)) {
            let set: Dataset = samples.into_iter().collect();
            let (header, back) = Dataset::read(&written(&set)[..]).unwrap();
            prop_assert_eq!(header, set.header("schema"));
            prop_assert_eq!(back, set);
        }

        #[test]
        fn no_bytes_are_too_odd(
            samples in proptest::collection::vec(any_sample(), 1..5),
            at in any::<proptest::sample::Index>(),
            noise in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut text = written(&samples.into_iter().collect());
            let at = at.index(text.len());
            text.splice(at..(at + noise.len()).min(text.len()), noise);
            if let Ok((header, set)) = Dataset::read(&text[..]) {
                prop_assert!(set.samples().len() == header.samples);
            }
        }
    }
}
