//! Enters: one file of the daemon. Leaves: imports that its stage may not have. The table below is the architecture:
//! a stage knows the nouns of the stages before it, and only `app` joins them.

use super::{
    Breach, Source,
    rust::{line_of, paths},
};

const DAEMON: &str = "qantra-user/src/";

/// A module of the daemon and the modules it may import from.
struct Stage {
    name: &'static str,
    may_import: &'static [&'static str],
    pure: bool,
}

const fn stage(name: &'static str, may_import: &'static [&'static str]) -> Stage {
    Stage { name, may_import, pure: false }
}

const fn pure(name: &'static str, may_import: &'static [&'static str]) -> Stage {
    Stage { name, may_import, pure: true }
}

/// In the order of the data. `app`, `cli`, `lib` and `main` are not in it: they stand above the stages.
const STAGES: [Stage; 22] = [
    stage("clock", &[]),
    stage("netlink", &[]),
    // Thresholds and policies are written in the nouns of `detect` and `decide`.
    stage("config", &["clock", "decide", "detect"]),
    stage("metrics", &["clock", "config", "decide", "detect"]),
    // It implements the trait that `enforce` declares, and fills the Observations of `flow`.
    stage("xdp", &["clock", "config", "decide", "enforce", "flow", "metrics", "netlink"]),
    // The ladder's last rung: the same traits, by netlink.
    stage("nft", &["clock", "config", "decide", "enforce", "netlink"]),
    stage("collect", &["clock", "config", "flow", "metrics", "xdp"]),
    // Who talks to whom, without a look at packets.
    stage("conntrack", &["clock", "flow", "metrics"]),
    // Packets from a file, counted as the kernel half would: what models learn from.
    pure("capture", &["config", "flow"]),
    pure("flow", &["clock", "config", "inspect"]),
    pure("inspect", &["clock", "config"]),
    pure("features", &["clock", "config", "flow", "inspect"]),
    // What the box learns of its own sites, from hashes and shapes of fields.
    pure("learn", &["clock", "config", "features", "flow", "inspect"]),
    // Its classifier answers in the nouns of `detect`: attack classes, and findings about single requests.
    stage("model", &["clock", "config", "detect", "features", "flow", "inspect", "learn", "metrics"]),
    pure("detect", &["clock", "config", "features", "flow", "inspect", "model"]),
    pure("decide", &["clock", "config", "detect", "flow"]),
    stage("enforce", &["clock", "config", "decide", "metrics"]),
    // Reads rule files and compiles them; running them is `inspect`'s.
    stage("rules", &["clock", "config"]),
    // What it asks of the rest is its own trait `Judge`.
    stage("proxy", &["clock", "config", "decide", "flow", "inspect", "metrics"]),
    stage("store", &["clock", "config", "decide", "detect", "enforce", "learn", "metrics"]),
    // What it asks of the daemon is a trait of its own.
    stage("api", &["clock", "config", "decide", "detect", "enforce", "intel", "learn", "metrics", "model", "store"]),
    stage("intel", &["clock", "config", "enforce", "metrics"]),
];

/// Folders of other stages that are pure as well.
const PURE_PARTS: [&str; 1] = ["intel/list/"];

/// Modules above the stages.
const ABOVE: [&str; 4] = ["app", "cli", "lib", "main"];

/// Crates that live in exactly one folder, so that they can be replaced there.
const HOMES: [(&str, &str); 15] = [
    ("aya", "xdp"),
    ("aya_log", "xdp"),
    ("aya_obj", "xdp"),
    ("libbpf_sys", "xdp"),
    ("pingora", "proxy"),
    ("pingora_cache", "proxy"),
    ("pingora_core", "proxy"),
    ("pingora_error", "proxy"),
    ("pingora_http", "proxy"),
    ("pingora_load_balancing", "proxy"),
    ("pingora_proxy", "proxy"),
    ("pingora_timeout", "proxy"),
    ("netlink_packet_netfilter", "nft"),
    ("ort", "model"),
    ("ort_sys", "model"),
];

/// What does input, output or time, and so has no place in a pure module.
const IMPURE: [(&str, &str); 26] = [
    ("axum", "IO"),
    ("chrono", "a clock"),
    ("hyper", "IO"),
    ("hyper_util", "IO"),
    ("libc", "IO"),
    ("mio", "IO"),
    ("nix", "IO"),
    ("notify", "IO"),
    ("rusqlite", "IO"),
    ("rustix", "IO"),
    ("socket2", "a socket"),
    ("std::env", "the world outside"),
    ("std::fs", "IO"),
    ("std::net::TcpListener", "a socket"),
    ("std::net::TcpStream", "a socket"),
    ("std::net::ToSocketAddrs", "a socket"),
    ("std::net::UdpSocket", "a socket"),
    ("std::os::unix::net", "a socket"),
    ("std::process", "the world outside"),
    ("std::thread", "a thread"),
    ("std::time::Instant", "a clock: take `now: Now` as an argument"),
    ("std::time::SystemTime", "a clock: take `now: Now` as an argument"),
    ("std::time::UNIX_EPOCH", "a clock: take `now: Now` as an argument"),
    ("tokio", "IO"),
    ("tracing", "a log: count it, or hand it on"),
    ("crate::clock::boot_ns", "a clock: take `now: Now` as an argument"),
];

pub(super) fn check(source: &Source, code: &str) -> Vec<Breach> {
    let Some(path) = source.path.strip_prefix(DAEMON) else { return Vec::new() };
    // Tests stand above the stages, in modules of files of their own as in those that `code` has lost.
    if path.ends_with("/tests.rs") || path.ends_with("_tests.rs") {
        return Vec::new();
    }
    let module = path.split('/').next().unwrap_or_default().trim_end_matches(".rs");
    let mut breaches = homes(source, code, module);
    if ABOVE.contains(&module) {
        return breaches;
    }
    let Some(stage) = STAGES.iter().find(|stage| stage.name == module) else {
        let message = format!("`{module}` is in no place of the architecture: add it to the table in tidy/stages.rs");
        breaches.push(source.breach(0, "stage", message));
        return breaches;
    };
    breaches.extend(imports(source, code, path, stage));
    if stage.pure || PURE_PARTS.iter().any(|part| path.starts_with(part)) {
        breaches.extend(purity(source, code, stage));
    }
    breaches
}

fn homes(source: &Source, code: &str, module: &str) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (at, path) in paths(code) {
        let root = path.split("::").next().unwrap_or_default();
        if let Some((name, home)) = HOMES.iter().find(|(name, home)| *name == root && *home != module) {
            let message = format!("`{name}` may be used only in {DAEMON}{home}/");
            breaches.push(source.breach(line_of(code, at), "home", message));
        }
    }
    breaches
}

fn imports(source: &Source, code: &str, file: &str, stage: &Stage) -> Vec<Breach> {
    // How many `super::` lead from this file's module to the crate's root.
    let depth = file.trim_end_matches(".rs").split('/').filter(|part| *part != "mod").count();
    let to_root = "super::".repeat(depth);
    let mut breaches = Vec::new();
    for (at, path) in paths(code) {
        let from_root = path.strip_prefix("crate::").or_else(|| path.strip_prefix(&to_root));
        let Some(module) = from_root.and_then(|rest| rest.split("::").next()) else { continue };
        let known = STAGES.iter().any(|stage| stage.name == module) || ABOVE.contains(&module);
        if known && module != stage.name && !stage.may_import.contains(&module) {
            let only = if stage.may_import.is_empty() { "nothing".to_owned() } else { stage.may_import.join(", ") };
            let message = format!("`{}` may not import `{module}`, only {only}: `app` joins stages", stage.name);
            breaches.push(source.breach(line_of(code, at), "stage", message));
        }
    }
    breaches
}

fn purity(source: &Source, code: &str, stage: &Stage) -> Vec<Breach> {
    let mut breaches = Vec::new();
    for (at, path) in paths(code) {
        let within = |what: &str| path.strip_prefix(what).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let clock_read = path.ends_with("Now::read").then_some("a clock: take `now: Now` as an argument");
        let impure = IMPURE.iter().find(|(what, _)| within(what)).map(|(_, why)| *why).or(clock_read);
        if let Some(why) = impure {
            let message = format!("`{}` is pure, and `{path}` is {why}", stage.name);
            breaches.push(source.breach(line_of(code, at), "pure", message));
        }
    }
    breaches
}
