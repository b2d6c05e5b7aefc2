//! Enters: one Rust file. Leaves: breaches of what every module keeps: an opening `//!`, a telling name, a bounded
//! length, no `unsafe` outside its places, no bare `allow`.

use super::{
    Breach, Source,
    rust::{line_of, words},
};

/// Longest file, in lines; about 400 is what we aim for.
const LINES_MAX: usize = 600;

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] =
    ["utils", "util", "helpers", "helper", "common", "manager", "managers", "misc", "miscellaneous"];

/// Where `unsafe` may stand: the kernel half, the types it shares, their only user; and in the tests what moves them into
/// namespaces and the programs that Qantra's are measured against.
const UNSAFE_PLACES: [&str; 6] = [
    "qantra-ebpf/src/",
    "qantra-common/src/",
    "qantra-user/src/xdp/",
    "tests/support/netns.rs",
    "tests/kernel_check/isolation.rs",
    "tests/support/program.rs",
];

pub(super) fn check(source: &Source, code: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    breaches.extend(opening(source));
    breaches.extend(names(source, code));
    let lines = source.text.lines().count();
    if lines > LINES_MAX {
        let message = format!("{lines} lines, and {LINES_MAX} is the most: divide it by what it does");
        breaches.push(source.breach(0, "length", message));
    }
    if !UNSAFE_PLACES.iter().any(|place| source.path.starts_with(place)) {
        breaches.extend(words(code, "unsafe").map(|at| {
            let message = format!("`unsafe` may stand only in {}", UNSAFE_PLACES.join(", "));
            source.breach(line_of(code, at), "unsafe", message)
        }));
    }
    for bare in ["#[allow(", "#![allow("] {
        breaches.extend(code.match_indices(bare).map(|(at, _)| {
            source.breach(
                line_of(code, at),
                "allow",
                "write `expect(lint, reason = \"…\")`: it tells when it is needless",
            )
        }));
    }
    breaches
}

fn opening(source: &Source) -> Option<Breach> {
    let first = source.text.lines().next().unwrap_or_default();
    let Some(said) = first.strip_prefix("//!") else {
        return Some(source.breach(1, "opening", "begin with `//!`: what enters, what leaves, what it must never do"));
    };
    let said = said.trim().to_lowercase();
    let placeholder = said.is_empty() || said == "stub" || said.contains("comes with its stage") || said == "todo";
    placeholder.then(|| source.breach(1, "opening", "the opening `//!` is a placeholder: say what the module does"))
}

fn names(source: &Source, code: &str) -> Vec<Breach> {
    let message = |name: &str| format!("`{name}` says nothing: name the module after what it holds");
    let stem = source.path.trim_end_matches(".rs");
    let file = stem.split('/').filter(|part| EMPTY_NAMES.contains(part));
    let mut breaches: Vec<Breach> = file.map(|name| source.breach(0, "name", message(name))).collect();
    for name in EMPTY_NAMES {
        let declared = format!("mod {name} {{");
        breaches.extend(words(code, &declared).map(|at| source.breach(line_of(code, at), "name", message(name))));
    }
    breaches
}
