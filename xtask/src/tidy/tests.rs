//! A small tidy tree, and one planted breach of each kind: every rule must be able to fail.

use std::{fs, path::Path};

use tempfile::TempDir;

use super::check;

const MANIFEST: &str = "[package]\nname = \"qantra-user\"\n[lints]\nworkspace = true\n";

/// A tree without a breach.
fn tidy_tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("Cargo.toml", "[workspace]\nmembers = [\"qantra-user\"]\n[workspace.lints.rust]\nunsafe_code = \"deny\"\n"),
        ("qantra-user/Cargo.toml", MANIFEST),
        ("ARCHITECTURE.md", "| `qantra-user/src/flow/` | flows |\n`xdp/` and `clock.rs`; `/metrics` is served.\n"),
        ("qantra-user/src/clock.rs", "//! Clocks.\npub fn boot_ns() -> u64 { 0 }\n"),
        ("qantra-user/src/flow/mod.rs", "//! Flows.\nuse std::net::{IpAddr, SocketAddr};\nuse crate::clock::Now;\n"),
        ("qantra-user/src/detect/mod.rs", "//! Findings.\nuse crate::{clock::Now, flow::{Flow, decide}};\n"),
        ("qantra-user/src/xdp/mod.rs", "//! The kernel.\nuse aya::Ebpf;\nfn f() { unsafe {} }\n"),
        ("qantra-user/src/proxy/mod.rs", "//! The proxy.\nuse pingora::proxy;\n"),
        ("qantra-user/src/model/mod.rs", "//! Models.\nuse ort::session::Session;\n"),
        ("qantra-user/src/app.rs", "//! Joins stages.\nuse crate::{detect, enforce, proxy, xdp};\n"),
    ] {
        plant(tree.path(), file, text);
    }
    tree
}

fn plant(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// The breaches of a tidy tree with one more file, as `rule line`.
fn planted(file: &str, text: &str) -> Vec<String> {
    let tree = tidy_tree();
    plant(tree.path(), file, text);
    let breaches = check(tree.path()).unwrap();
    assert!(breaches.iter().all(|breach| breach.file == Path::new(file)), "{breaches:?}");
    breaches.iter().map(|breach| format!("{} {}", breach.rule, breach.line)).collect()
}

#[test]
fn a_tidy_tree_has_no_breach() {
    assert_eq!(check(tidy_tree().path()).unwrap(), []);
}

#[test]
fn every_rule_can_fail() {
    let detect = "qantra-user/src/detect/scan.rs";
    let cases: [(&str, &str, &[&str]); 38] = [
        // Pure folders.
        (detect, "//! x\nuse tokio::sync::mpsc;\n", &["pure 2"]),
        (detect, "//! x\n\nfn f() { std::net::TcpStream::connect(a) }\n", &["pure 3"]),
        (detect, "//! x\nuse std::net::{IpAddr, UdpSocket};\n", &["pure 2"]),
        (detect, "//! x\nuse std::time::Instant;\n", &["pure 2"]),
        (detect, "//! x\nuse std::{fs, time::Duration};\n", &["pure 2"]),
        (
            detect,
            "//! x\nuse std::{\n    net::{IpAddr as A, TcpStream},\n    time::{Duration, Instant},\n};\n",
            &["pure 2", "pure 2"],
        ),
        (detect, "//! x\nlet now = Now::read();\n", &["pure 2"]),
        (detect, "//! x\nlet now = crate::clock::boot_ns();\n", &["pure 2"]),
        (detect, "//! x\nuse rustix::time;\n", &["pure 2"]),
        // Homes.
        (detect, "//! x\nuse aya::maps::HashMap;\n", &["home 2"]),
        (detect, "//! x\nlet map: aya::maps::Map;\n", &["home 2"]),
        ("qantra-user/src/enforce/bans.rs", "//! x\nuse libbpf_sys as bpf;\n", &["home 2"]),
        ("qantra-user/src/api/mod.rs", "//! x\nuse pingora_core::Error;\n", &["home 2"]),
        ("qantra-user/src/app.rs", "//! x\nuse pingora::prelude::*;\n", &["home 2"]),
        ("qantra-user/src/features/http.rs", "//! x\nuse ort::value::Tensor;\n", &["home 2"]),
        // Only app joins stages.
        (detect, "//! x\nuse crate::enforce::Bans;\n", &["stage 2"]),
        (detect, "//! x\nuse crate::{\n    flow::Flow,\n    proxy::{Judge, decide},\n};\n", &["stage 2"]),
        (detect, "//! x\nuse super::super::store::Store;\n", &["stage 2"]),
        ("qantra-user/src/flow/mod.rs", "//! x\nuse super::app::App;\n", &["stage 2"]),
        ("qantra-user/src/proxy/filters.rs", "//! x\nuse crate::xdp::Plane;\n", &["stage 2"]),
        ("qantra-user/src/sidecar.rs", "//! x\n", &["stage 0"]),
        // Modules.
        (detect, "use crate::flow::Flow;\n", &["opening 1"]),
        (detect, "//! stub\n", &["opening 1"]),
        (detect, "//! Comes with its stage.\n", &["opening 1"]),
        ("qantra-user/src/detect/utils.rs", "//! x\n", &["name 0"]),
        ("qantra-user/src/detect/misc/scan.rs", "//! x\n", &["name 0"]),
        ("qantra-user/src/proxy/manager.rs", "//! x\n", &["name 0"]),
        ("qantra-user/src/flow/common.rs", "//! x\n", &["name 0"]),
        (detect, "//! x\nmod helpers {\n}\n", &["name 2"]),
        (detect, "//! x\nfn f() {\n    unsafe { g() }\n}\n", &["unsafe 3"]),
        (detect, "//! x\n#[allow(dead_code)]\nfn f() {}\n", &["allow 2"]),
        (detect, "//! x\n#![allow(clippy::all)]\n", &["allow 2"]),
        // Manifests.
        ("qantra-user/Cargo.toml", "[package]\nname = \"qantra-user\"\n", &["lints 0"]),
        ("qantra-user/Cargo.toml", "[package]\nname = \"x\"\n[lints]\nworkspace = false\n", &["lints 0"]),
        ("extra/Cargo.toml", MANIFEST, &["lints 0"]),
        ("Cargo.toml", "[workspace]\nmembers = [\"qantra-user\"]\n", &["lints 0"]),
        // Documents.
        ("ARCHITECTURE.md", "x\n`qantra-user/src/gone.rs`\n", &["map 2"]),
        ("ARCHITECTURE.md", "`intel/` and `detect/`\n", &["map 1"]),
    ];
    for (file, text, expected) in cases {
        assert_eq!(planted(file, text), expected, "{file}: {text}");
    }
}

#[test]
fn a_long_file_is_refused() {
    let text = format!("//! x\n{}", "// y\n".repeat(600));
    assert_eq!(planted("qantra-user/src/detect/scan.rs", &text), ["length 0"]);
    let text = format!("//! x\n{}", "// y\n".repeat(599));
    assert_eq!(planted("qantra-user/src/detect/scan.rs", &text), [""; 0]);
}

#[test]
fn a_path_of_one_machine_is_refused() {
    // Put together, so that this file itself is tidy.
    let home = format!("see {}{}\n", "/home", "/somebody/notes");
    assert_eq!(planted("README.md", &home), ["machine 1"]);
    let run = format!("//! x\nconst DIR: &str = \"{}{}\";\n", "/tmp", "/x");
    assert_eq!(planted("qantra-user/src/detect/scan.rs", &run), ["machine 2"]);
    let elsewhere = format!("{}{} and https://example.org{}{}\n", "/var/tmp", "/x", "/home", "/x");
    assert_eq!(planted("README.md", &elsewhere), [""; 0]);
}

#[test]
fn a_missing_map_is_refused() {
    let tree = tidy_tree();
    fs::remove_file(tree.path().join("ARCHITECTURE.md")).unwrap();
    let breaches = check(tree.path()).unwrap();
    assert_eq!(breaches.iter().map(|breach| breach.rule).collect::<Vec<_>>(), ["map"]);
}

#[test]
fn what_only_looks_like_a_breach_is_none() {
    let detect = "qantra-user/src/detect/scan.rs";
    for text in [
        "//! x\n// use tokio::net; unsafe { } #[allow(x)]\n",
        "//! x\n/* unsafe /* nested */ use aya::x; */\n",
        "//! x\nconst A: &str = \"unsafe \\\" use aya::maps;\";\n",
        "//! x\nconst A: &str = r#\"use tokio::x; \" unsafe\"#;\n",
        "//! x\nfn f<'a>(x: &'a str) -> char { '\"' }\nconst B: &str = \"unsafe\";\n",
        "//! x\nuse std::net::{IpAddr, Ipv6Addr};\nuse std::time::Duration;\n",
        "//! x\nfn f(time: u64, port: u16) { let import = time; port }\n",
        "//! x\nuse super::Finding;\nuse crate::detect::Severity;\n",
        "//! x\n#[cfg(test)]\nmod tests {\n    use std::time::Instant;\n    fn f() { std::fs::read(x); }\n}\n",
        "//! x\n#[expect(dead_code, reason = \"unsafe\")]\nfn f() {}\n",
    ] {
        assert_eq!(planted(detect, text), [""; 0], "{text}");
    }
}
