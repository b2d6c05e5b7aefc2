//! Enters: the weights of a gate. Leaves: an ONNX file that says the same: `ids [n, width]` → sum of their weights. The
//! messages are those of onnx.proto (ONNX 1.x, IR version 9), as far as this needs them.

use prost::Message;

use crate::features::http::{CLASSIFIER_IDS, GRAM_BUCKETS};

const FLOAT: i32 = 1;
const INT32: i32 = 6;
const INT64: i32 = 7;
const ATTRIBUTE_INT: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct Model {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    node: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<Tensor>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(int32, tag = "20")]
    kind: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int64, repeated, tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<Type>,
}

#[derive(Clone, PartialEq, Message)]
struct Type {
    #[prost(message, optional, tag = "1")]
    tensor: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    element: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<Shape>,
}

#[derive(Clone, PartialEq, Message)]
struct Shape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Dimension>,
}

#[derive(Clone, PartialEq, Message)]
struct Dimension {
    #[prost(int64, optional, tag = "1")]
    value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    param: Option<String>,
}

/// The gate as an ONNX file. Weights of n-grams alone: ids beyond them, the padding among them, weigh nothing.
#[must_use]
pub fn gate_onnx(weights: &[f32]) -> Vec<u8> {
    let mut table = weights.to_vec();
    table.resize(GRAM_BUCKETS, 0.0);
    table.resize(CLASSIFIER_IDS, 0.0);
    let raw = table.iter().flat_map(|weight| weight.to_le_bytes()).collect();
    let keep = Attribute { name: "keepdims".into(), i: Some(0), kind: ATTRIBUTE_INT };
    let node = |kind: &str, input: [&str; 2], output: &str, attribute: Vec<Attribute>| Node {
        input: input.map(str::to_owned).to_vec(),
        output: vec![output.to_owned()],
        op_type: kind.to_owned(),
        attribute,
    };
    let tensor = |name: &str, data_type: i32, dims: &[i64], raw_data: Vec<u8>| Tensor {
        dims: dims.to_vec(),
        data_type,
        name: name.to_owned(),
        raw_data,
    };
    let named = |name: &str| Dimension { value: None, param: Some(name.to_owned()) };
    let one = Dimension { value: Some(1), param: None };
    let value = |name: &str, element: i32, dim: Vec<Dimension>| ValueInfo {
        name: name.to_owned(),
        kind: Some(Type { tensor: Some(TensorType { element, shape: Some(Shape { dim }) }) }),
    };
    let graph = Graph {
        node: vec![
            node("Gather", ["table", "ids"], "weights", Vec::new()),
            node("ReduceSum", ["weights", "axis"], "sum", vec![keep]),
        ],
        name: "request-gate".into(),
        initializer: vec![
            tensor("table", FLOAT, &[table.len() as i64, 1], raw),
            tensor("axis", INT64, &[1], 1_i64.to_le_bytes().to_vec()),
        ],
        input: vec![value("ids", INT32, vec![named("n"), named("width")])],
        output: vec![value("sum", FLOAT, vec![named("n"), one])],
    };
    let opset_import = vec![OperatorSet { domain: String::new(), version: 17 }];
    Model { ir_version: 9, producer_name: "qantra".into(), graph: Some(graph), opset_import }.encode_to_vec()
}
