//! Enters: the bytes of an ONNX file from anybody. Leaves: what is in it, or the first thing that is not allowed, with its
//! place and the limit. It runs before ONNX Runtime sees a byte, in time linear in the file; it must never allocate more
//! than some times the file's size, follow a reference out of the file, or panic.
//!
//! What is allowed is what models of a sensor need: straight graphs of arithmetic, table look-ups and tree ensembles.
//! No loops, branches, functions, custom operators, sparse tensors or data outside the file.

mod graph;
mod tensor;
mod trees;
mod wire;

#[cfg(test)]
pub(in crate::model) mod build;
#[cfg(test)]
mod tests;

use graph::Graph;
use wire::{Fields, Malformed};

/// What a file may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnnxLimits {
    /// Bytes of the file.
    pub file_bytes: usize,
    /// Nodes of the graph.
    pub nodes: usize,
    /// Inputs, outputs, attributes or dimensions of one thing.
    pub parts: usize,
    /// Elements of one tensor.
    pub tensor_elements: u64,
    /// Elements of all tensors and attributes together.
    pub elements: u64,
    /// Nodes of all trees of an ensemble.
    pub tree_nodes: usize,
    /// Edges from a tree's root to its farthest leaf.
    pub tree_depth: usize,
    /// Bytes of a name.
    pub name_bytes: usize,
}

impl OnnxLimits {
    /// The limits of the daemon: ten times what the shipped models need.
    pub const DAEMON: Self = Self {
        file_bytes: 16 << 20,
        nodes: 256,
        parts: 64,
        tensor_elements: 4 << 20,
        elements: 8 << 20,
        tree_nodes: 500_000,
        tree_depth: 64,
        name_bytes: 256,
    };
}

/// What was found in a file that is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxSummary {
    /// Operators in the order of the graph.
    pub operators: Vec<String>,
    /// Elements of all tensors and attributes together.
    pub elements: u64,
}

/// Why a file is refused: what is wrong, where, and the limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnnxRefusal {
    /// The file is larger than allowed.
    #[error("{found} bytes, the limit is {limit}")]
    FileSize {
        /// Its size.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A message is no protobuf, or not of ONNX.
    #[error("{place}: not a valid ONNX message")]
    Malformed {
        /// Where.
        place: String,
    },
    /// There is more of something than allowed.
    #[error("{place}: {found} {what}, the limit is {limit}")]
    TooMuch {
        /// Where.
        place: String,
        /// Of what.
        what: &'static str,
        /// How much.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// Something that no model here needs.
    #[error("{place}: {what} not allowed")]
    Forbidden {
        /// Where.
        place: String,
        /// What.
        what: String,
    },
    /// A part contradicts another.
    #[error("{place}: {what}")]
    Wrong {
        /// Where.
        place: String,
        /// What.
        what: String,
    },
}

/// Versions of the file format that are read.
const IR_VERSIONS: std::ops::RangeInclusive<u64> = 3..=13;

/// Checks a file.
///
/// # Errors
/// [`OnnxRefusal`], for the first thing that is not allowed.
pub(super) fn check(bytes: &[u8], limits: &OnnxLimits) -> Result<OnnxSummary, OnnxRefusal> {
    if bytes.len() > limits.file_bytes {
        return Err(OnnxRefusal::FileSize { found: bytes.len(), limit: limits.file_bytes });
    }
    let (mut graph, mut version) = (None, None);
    for field in Fields::of(bytes) {
        let (number, value) = field.map_err(|Malformed| malformed("file"))?;
        match number {
            1 => version = Some(value.varint().map_err(|Malformed| malformed("ir_version"))?),
            // A second one would be merged into the first: nobody writes that for a good reason.
            7 if graph.is_some() => return Err(wrong("file", "has two graphs")),
            7 => graph = Some(value.bytes().map_err(|Malformed| malformed("graph"))?),
            8 => domain(value)?,
            20 => return Err(forbidden("file", "training information is")),
            25 => return Err(forbidden("file", "functions are")),
            2..=6 | 14 | 26 => {}
            other => return Err(forbidden("file", format!("field {other} is"))),
        }
    }
    match version {
        Some(version) if IR_VERSIONS.contains(&version) => {}
        Some(version) => {
            let (first, last) = (IR_VERSIONS.start(), IR_VERSIONS.end());
            return Err(wrong("file", format!("is of format version {version}, read are {first} to {last}")));
        }
        None => return Err(wrong("file", "says no format version; it is no ONNX model")),
    }
    let graph = graph.ok_or_else(|| wrong("file", "has no graph"))?;
    Graph::check(graph, limits)
}

/// An operator set that the file imports.
fn domain(value: wire::Value<'_>) -> Result<(), OnnxRefusal> {
    let bad = |Malformed| malformed("opset_import");
    for field in Fields::of(value.bytes().map_err(bad)?) {
        let (number, value) = field.map_err(bad)?;
        if number == 1 {
            let domain = value.text().map_err(bad)?;
            if !graph::DOMAINS.contains(&domain) {
                return Err(forbidden("opset_import", format!("operator domain `{}` is", shown(domain))));
            }
        }
    }
    Ok(())
}

fn malformed(place: impl Into<String>) -> OnnxRefusal {
    OnnxRefusal::Malformed { place: place.into() }
}

fn forbidden(place: impl Into<String>, what: impl Into<String>) -> OnnxRefusal {
    OnnxRefusal::Forbidden { place: place.into(), what: what.into() }
}

fn wrong(place: impl Into<String>, what: impl Into<String>) -> OnnxRefusal {
    OnnxRefusal::Wrong { place: place.into(), what: what.into() }
}

fn at_most(place: impl Fn() -> String, what: &'static str, found: u64, limit: u64) -> Result<(), OnnxRefusal> {
    if found > limit { Err(OnnxRefusal::TooMuch { place: place(), what, found, limit }) } else { Ok(()) }
}

/// A name from the file as it may be printed: short, and without control characters.
fn shown(name: &str) -> String {
    name.chars().map(|letter| if letter.is_control() { '?' } else { letter }).take(60).collect()
}
