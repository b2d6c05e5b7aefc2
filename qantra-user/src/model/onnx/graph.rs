//! Enters: the graph of an ONNX file. Leaves: its operators, once each is known, is fed only by what stands before it, and
//! all data is within limits. That order is what makes a cycle impossible.

use std::collections::HashSet;

use super::{
    OnnxLimits, OnnxRefusal, OnnxSummary, at_most, forbidden, malformed, shown, tensor, trees,
    wire::{Fields, Malformed, Value},
    wrong,
};

/// Operator sets that may be imported.
pub(super) const DOMAINS: [&str; 3] = ["", "ai.onnx", "ai.onnx.ml"];

/// Operators whose output is no larger than their inputs and weights make it, and that cost no more than that. What
/// repeats (`Loop`, `Scan`), branches (`If`), makes tensors from numbers (`Expand`, `Tile`, `Range`, `ConstantOfShape`,
/// `Pad`, `Resize`), reads text or draws random numbers is not among them.
const OPERATORS: [&str; 64] = [
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "AveragePool",
    "BatchNormalization",
    "Cast",
    "Clip",
    "Concat",
    "Constant",
    "Conv",
    "Div",
    "Equal",
    "Erf",
    "Exp",
    "Flatten",
    "Floor",
    "Gather",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "LayerNormalization",
    "LeakyRelu",
    "Less",
    "LessOrEqual",
    "Log",
    "LogSoftmax",
    "MatMul",
    "Max",
    "MaxPool",
    "Min",
    "Mul",
    "Neg",
    "Not",
    "Or",
    "Pow",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceSum",
    "Relu",
    "Reshape",
    "Shape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Sum",
    "Tanh",
    "Transpose",
    "Unsqueeze",
    "Where",
    "Elu",
    "Gelu",
    "Reciprocal",
    "DequantizeLinear",
    "QuantizeLinear",
    "MatMulInteger",
];
/// The same of `ai.onnx.ml`.
const ML_OPERATORS: [&str; 7] = [
    "LinearClassifier",
    "LinearRegressor",
    "Normalizer",
    "Scaler",
    "TreeEnsembleClassifier",
    "TreeEnsembleRegressor",
    "ZipMap",
];

/// What is known of a graph while it is read.
pub(super) struct Graph<'a> {
    limits: &'a OnnxLimits,
    /// Values that nodes may read: inputs, initializers, outputs of earlier nodes.
    known: HashSet<&'a str>,
    operators: Vec<String>,
    elements: u64,
}

impl<'a> Graph<'a> {
    pub(super) fn check(message: &'a [u8], limits: &'a OnnxLimits) -> Result<OnnxSummary, OnnxRefusal> {
        let mut graph = Self { limits, known: HashSet::new(), operators: Vec::new(), elements: 0 };
        let (mut nodes, mut outputs) = (Vec::new(), Vec::new());
        let bad = |Malformed| malformed("graph");
        for field in Fields::of(message) {
            let (number, value) = field.map_err(bad)?;
            match number {
                1 => {
                    at_most(|| "graph".into(), "nodes", nodes.len() as u64 + 1, limits.nodes as u64)?;
                    nodes.push(value.bytes().map_err(bad)?);
                }
                5 => {
                    let tensor = tensor::check(value.bytes().map_err(bad)?, limits)?;
                    graph.count(tensor.elements)?;
                    // Old files list initializers among the inputs, so that one may be known already.
                    if !graph.known.contains(tensor.name) {
                        graph.define(tensor.name, || "initializer".into())?;
                    }
                }
                11 => {
                    graph.known.insert(name_of(value)?);
                    at_most(|| "graph".into(), "values", graph.known.len() as u64, graph.values_max())?;
                }
                12 => {
                    at_most(|| "graph".into(), "outputs", outputs.len() as u64 + 1, limits.parts as u64)?;
                    outputs.push(name_of(value)?);
                }
                15 => return Err(forbidden("graph", "sparse initializers are")),
                2 | 10 | 13 | 14 | 16 => {}
                other => return Err(forbidden("graph", format!("field {other} is"))),
            }
        }
        for (index, node) in nodes.into_iter().enumerate() {
            graph.node(index, node)?;
        }
        if graph.operators.is_empty() {
            return Err(wrong("graph", "has no node"));
        }
        match outputs.iter().find(|name| !graph.known.contains(*name)) {
            Some(name) => Err(wrong("graph", format!("nothing makes its output `{}`", shown(name)))),
            None if outputs.is_empty() => Err(wrong("graph", "has no output")),
            None => Ok(OnnxSummary { operators: graph.operators, elements: graph.elements }),
        }
    }

    fn node(&mut self, index: usize, message: &'a [u8]) -> Result<(), OnnxRefusal> {
        let bad = |Malformed| malformed(format!("node {index}"));
        let (mut inputs, mut outputs, mut attributes) = (Vec::new(), Vec::new(), Vec::new());
        let (mut operator, mut domain) = ("", "");
        for field in Fields::of(message) {
            let (number, value) = field.map_err(bad)?;
            let list = match number {
                1 => &mut inputs,
                2 => &mut outputs,
                4 => {
                    operator = value.text().map_err(bad)?;
                    continue;
                }
                5 => {
                    let count = attributes.len() as u64 + 1;
                    at_most(|| format!("node {index}"), "attributes", count, self.limits.parts as u64)?;
                    attributes.push(value.bytes().map_err(bad)?);
                    continue;
                }
                7 => {
                    domain = value.text().map_err(bad)?;
                    continue;
                }
                3 | 6 | 9 => continue,
                other => return Err(forbidden(format!("node {index}"), format!("field {other} is"))),
            };
            at_most(|| format!("node {index}"), "inputs or outputs", list.len() as u64 + 1, self.limits.parts as u64)?;
            list.push(value.text().map_err(bad)?);
        }
        let place = || format!("node {index} ({})", shown(operator));
        let known: &[&str] = if domain == "ai.onnx.ml" { &ML_OPERATORS } else { &OPERATORS };
        if !DOMAINS.contains(&domain) || !known.contains(&operator) {
            let full =
                if domain.is_empty() { shown(operator) } else { format!("{}.{}", shown(domain), shown(operator)) };
            return Err(forbidden(format!("node {index}"), format!("operator `{full}` is")));
        }
        // An empty name stands for an input that is left out.
        if let Some(input) = inputs.iter().find(|input| !input.is_empty() && !self.known.contains(*input)) {
            let what = format!("reads `{}`, which nothing before it makes: a cycle or a missing value", shown(input));
            return Err(wrong(place(), what));
        }
        for output in outputs.into_iter().filter(|output| !output.is_empty()) {
            self.define(output, place)?;
        }
        self.attributes(&place(), &attributes)?;
        if operator.starts_with("TreeEnsemble") {
            trees::check(&place(), &attributes, self.limits)?;
        }
        self.operators.push(operator.to_owned());
        Ok(())
    }

    /// Looks at each attribute: no graphs, no references, and data that is counted.
    fn attributes(&mut self, place: &str, attributes: &[&'a [u8]]) -> Result<(), OnnxRefusal> {
        let bad = |Malformed| malformed(format!("{place}, attribute"));
        for attribute in attributes {
            for field in Fields::of(attribute) {
                let (number, value) = field.map_err(bad)?;
                match number {
                    5 => {
                        let tensor = tensor::check(value.bytes().map_err(bad)?, self.limits)?;
                        self.count(tensor.elements)?;
                    }
                    7 => self.count(value.fixed_count(4).map_err(bad)? as u64)?,
                    8 => {
                        for number in value.varints().map_err(bad)? {
                            number.map_err(bad)?;
                            self.count(1)?;
                        }
                    }
                    9 => {
                        let length = value.bytes().map_err(bad)?.len() as u64;
                        at_most(|| place.to_owned(), "bytes of text", length, self.limits.name_bytes as u64)?;
                        self.count(1)?;
                    }
                    1..=4 | 13 | 20 => {}
                    6 | 11 => return Err(forbidden(place, "a graph inside a node is")),
                    other => return Err(forbidden(place, format!("field {other} of an attribute is"))),
                }
            }
        }
        Ok(())
    }

    fn define(&mut self, name: &'a str, place: impl Fn() -> String) -> Result<(), OnnxRefusal> {
        at_most(&place, "bytes of name", name.len() as u64, self.limits.name_bytes as u64)?;
        at_most(&place, "values in the graph", self.known.len() as u64 + 1, self.values_max())?;
        if name.is_empty() {
            return Err(wrong(place(), "has no name"));
        }
        if !self.known.insert(name) {
            return Err(wrong(place(), format!("makes `{}`, which is made before", shown(name))));
        }
        Ok(())
    }

    const fn values_max(&self) -> u64 {
        (self.limits.nodes * self.limits.parts) as u64
    }

    fn count(&mut self, elements: u64) -> Result<(), OnnxRefusal> {
        self.elements = self.elements.saturating_add(elements);
        at_most(|| "graph".into(), "elements in all", self.elements, self.limits.elements)
    }
}

/// The name of an input or output.
fn name_of(value: Value<'_>) -> Result<&str, OnnxRefusal> {
    let bad = |Malformed| malformed("input or output");
    let mut name = "";
    for field in Fields::of(value.bytes().map_err(bad)?) {
        if let (1, value) = field.map_err(bad)? {
            name = value.text().map_err(bad)?;
        }
    }
    if name.is_empty() { Err(wrong("graph", "an input or output has no name")) } else { Ok(name) }
}
