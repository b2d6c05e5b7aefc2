//! Writes ONNX files for tests: whole ones, and such as no exporter would write.

/// A message that grows field by field.
#[derive(Debug, Clone, Default)]
pub(in crate::model) struct Message(pub(in crate::model) Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(in crate::model) fn number(mut self, field: u64, number: u64) -> Self {
        self.varint(field << 3);
        self.varint(number);
        self
    }

    pub(in crate::model) fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(in crate::model) fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub(in crate::model) fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }
}

/// A float tensor with all its data.
pub(in crate::model) fn tensor(name: &str, dims: &[u64], data: &[f32]) -> Message {
    let raw: Vec<u8> = data.iter().flat_map(|number| number.to_le_bytes()).collect();
    dims.iter().fold(Message::default(), |tensor, dim| tensor.number(1, *dim)).number(2, 1).text(8, name).bytes(9, &raw)
}

/// A node without attributes.
pub(in crate::model) fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Message {
    let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
    outputs.iter().fold(node, |node, output| node.text(2, output)).text(4, operator)
}

/// A classifier's file: from `x i32 [n, width]` to `y f32 [n, classes]`.
pub(in crate::model) fn classifier(nodes: &[Message], initializers: &[Message], classes: u64) -> Vec<u8> {
    let graph = nodes.iter().fold(Message::default(), |graph, node| graph.message(1, node)).text(2, "g");
    let graph = initializers.iter().fold(graph, |graph, tensor| graph.message(5, tensor));
    model(&graph.message(11, &wide_input()).message(12, &value("y", 1, classes)))
}

fn wide_input() -> Message {
    let shape = Message::default()
        .message(1, &Message::default().text(2, "n"))
        .message(1, &Message::default().text(2, "width"));
    let tensor = Message::default().number(1, 6).message(2, &shape);
    Message::default().text(1, "x").message(2, &Message::default().message(1, &tensor))
}

/// An input or output of a type: `[n, columns]`.
pub(in crate::model) fn value(name: &str, element: u64, columns: u64) -> Message {
    let shape = Message::default()
        .message(1, &Message::default().text(2, "n"))
        .message(1, &Message::default().number(1, columns));
    let tensor = Message::default().number(1, element).message(2, &shape);
    Message::default().text(1, name).message(2, &Message::default().message(1, &tensor))
}

/// A graph from `x [n, columns]` to `y [n, outputs]`.
pub(in crate::model) fn graph(nodes: &[Message], initializers: &[Message], columns: u64, outputs: u64) -> Message {
    let graph = nodes.iter().fold(Message::default(), |graph, node| graph.message(1, node)).text(2, "g");
    let graph = initializers.iter().fold(graph, |graph, tensor| graph.message(5, tensor));
    graph.message(11, &value("x", 1, columns)).message(12, &value("y", 1, outputs))
}

/// A whole file.
pub(in crate::model) fn model(graph: &Message) -> Vec<u8> {
    let opset = |domain: &str, version| Message::default().text(1, domain).number(2, version);
    Message::default().number(1, 8).message(7, graph).message(8, &opset("", 17)).message(8, &opset("ai.onnx.ml", 3)).0
}

/// A node of integers.
pub(in crate::model) fn integers(name: &str, numbers: &[u64]) -> Message {
    numbers.iter().fold(Message::default().text(1, name).number(20, 7), |list, number| list.number(8, *number))
}

/// A node's id and its children; without children it is a leaf.
pub(in crate::model) type TreeNode = (u64, Option<(u64, u64)>);

/// An ensemble of one tree.
pub(in crate::model) fn trees(nodes: &[TreeNode]) -> Message {
    let list = |name, of: &dyn Fn(&TreeNode) -> u64| integers(name, &nodes.iter().map(of).collect::<Vec<_>>());
    let modes = nodes.iter().fold(Message::default().text(1, "nodes_modes"), |modes, (_, children)| {
        modes.text(9, if children.is_some() { "BRANCH_LEQ" } else { "LEAF" })
    });
    node("TreeEnsembleRegressor", &["x"], &["y"])
        .text(7, "ai.onnx.ml")
        .message(5, &list("nodes_treeids", &|_| 0))
        .message(5, &list("nodes_nodeids", &|(id, _)| *id))
        .message(5, &list("nodes_truenodeids", &|(_, children)| children.map_or(0, |(yes, _)| yes)))
        .message(5, &list("nodes_falsenodeids", &|(_, children)| children.map_or(0, |(_, no)| no)))
        .message(5, &modes)
}
