//! Enters: the attributes of a tree ensemble. Leaves: nothing, once every tree ends. ONNX Runtime walks trees by
//! recursion when it loads them and in a loop when it runs them: a deep one could overflow its stack, a round one
//! would never end.

use std::collections::HashMap;

use super::{
    OnnxLimits, OnnxRefusal, at_most, malformed, shown,
    wire::{Fields, Malformed, Value},
    wrong,
};

/// The lists that describe trees, by name.
#[derive(Default)]
struct Lists<'a> {
    tree: Vec<u64>,
    node: Vec<u64>,
    yes: Vec<u64>,
    no: Vec<u64>,
    modes: Vec<&'a [u8]>,
}

pub(super) fn check(place: &str, attributes: &[&[u8]], limits: &OnnxLimits) -> Result<(), OnnxRefusal> {
    let lists = read(place, attributes, limits)?;
    let count = lists.node.len();
    if [lists.tree.len(), lists.yes.len(), lists.no.len(), lists.modes.len()] != [count; 4] || count == 0 {
        return Err(wrong(place, "the lists of its trees have different lengths, or none"));
    }
    let mut index = HashMap::with_capacity(count);
    for (at, key) in lists.tree.iter().zip(&lists.node).enumerate() {
        if index.insert(key, at).is_some() {
            return Err(wrong(place, format!("tree {} has node {} twice", key.0, key.1)));
        }
    }
    // Every node has one parent at most, so walking down from the roots sees each once; what is left is on a cycle.
    let mut is_child = vec![false; count];
    let mut children = vec![None; count];
    for (at, children) in children.iter_mut().enumerate() {
        if lists.modes[at] == b"LEAF" {
            continue;
        }
        let child = |id: u64| index.get(&(&lists.tree[at], &id)).copied();
        let (Some(yes), Some(no)) = (child(lists.yes[at]), child(lists.no[at])) else {
            return Err(wrong(place, format!("tree {} node {}: a child is missing", lists.tree[at], lists.node[at])));
        };
        for one in [yes, no] {
            if std::mem::replace(&mut is_child[one], true) {
                let what = format!("tree {} node {} has two parents", lists.tree[one], lists.node[one]);
                return Err(wrong(place, what));
            }
        }
        *children = Some([yes, no]);
    }
    let mut open: Vec<(usize, usize)> = (0..count).filter(|at| !is_child[*at]).map(|at| (at, 0)).collect();
    let mut seen = 0;
    while let Some((at, depth)) = open.pop() {
        seen += 1;
        at_most(|| place.to_owned(), "levels of a tree", depth as u64, limits.tree_depth as u64)?;
        open.extend(children[at].into_iter().flatten().map(|child| (child, depth + 1)));
    }
    if seen < count { Err(wrong(place, "a tree has a cycle")) } else { Ok(()) }
}

fn read<'a>(place: &str, attributes: &[&'a [u8]], limits: &OnnxLimits) -> Result<Lists<'a>, OnnxRefusal> {
    let bad = |Malformed| malformed(format!("{place}, attribute"));
    let mut lists = Lists::default();
    for attribute in attributes {
        // The name may stand behind the data.
        let mut name = "";
        for field in Fields::of(attribute) {
            if let (1, value) = field.map_err(bad)? {
                name = value.text().map_err(bad)?;
            }
        }
        let numbers = match name {
            "nodes_treeids" => &mut lists.tree,
            "nodes_nodeids" => &mut lists.node,
            "nodes_truenodeids" => &mut lists.yes,
            "nodes_falsenodeids" => &mut lists.no,
            "nodes_modes" => {
                fill(place, name, attribute, limits, 9, &mut lists.modes, |value, list| {
                    list.push(value.bytes()?);
                    Ok(())
                })?;
                continue;
            }
            _ => continue,
        };
        fill(place, name, attribute, limits, 8, numbers, |value, list| {
            for number in value.varints()? {
                list.push(number?);
            }
            Ok(())
        })?;
    }
    Ok(lists)
}

fn fill<'a, T>(
    place: &str,
    name: &str,
    attribute: &'a [u8],
    limits: &OnnxLimits,
    number: u64,
    list: &mut Vec<T>,
    add: impl Fn(Value<'a>, &mut Vec<T>) -> Result<(), Malformed>,
) -> Result<(), OnnxRefusal> {
    if !list.is_empty() {
        return Err(wrong(place, format!("has `{}` twice", shown(name))));
    }
    let bad = |Malformed| malformed(format!("{place}, attribute `{}`", shown(name)));
    for field in Fields::of(attribute) {
        let (found, value) = field.map_err(bad)?;
        if found == number {
            add(value, list).map_err(bad)?;
            at_most(|| place.to_owned(), "tree nodes", list.len() as u64, limits.tree_nodes as u64)?;
        }
    }
    Ok(())
}
