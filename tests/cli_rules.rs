//! `qantra rules` by the real binary, with own rules and a made-up Core Rule Set: no daemon, nothing installed.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::{fs, path::Path};

use qantra_tests::binary::command;

const SITES: &str = r#"
[daemon]
control_socket = "DIR/control.sock"
[[listen]]
address = "127.0.0.1:18080"
[inspect]
rules_dir = "DIR/rules"
[[site]]
name = "shop"
hosts = ["shop.example"]
[[site.target]]
address = "127.0.0.1:8080"
[[site]]
name = "blog"
hosts = ["*"]
[[site.target]]
address = "127.0.0.1:8081"
[site.inspect]
engine = "detect"
[[site.inspect.exclude]]
rules = [7]
path = "/free/"
parameters = ["q"]
"#;

const RULES: &str = r#"
SecRule ARGS "@contains attack" \
    "id:7,phase:2,deny,status:403,t:none,t:lowercase,msg:'an attack',severity:CRITICAL,tag:'attack-generic'"
SecRule ARGS:pin "!@rx ^[0-9]{4}$" "id:8,phase:2,deny,msg:'no PIN',chain"
SecRule REQUEST_METHOD "@streq GET"
"#;

/// A folder with a configuration and rules.
struct Box(tempfile::TempDir);

impl Box {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("rules")).unwrap();
        fs::write(dir.path().join("rules/own.conf"), RULES).unwrap();
        fs::write(dir.path().join("qantra.toml"), SITES.replace("DIR", &dir.path().display().to_string())).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// What came of a command, without what differs from one run to the next.
    fn run(&self, arguments: &[&str]) -> String {
        let config = self.path().join("qantra.toml");
        let mut all = vec!["-c", config.to_str().unwrap()];
        all.extend(arguments);
        let output = command(&all).output().unwrap();
        qantra_tests::binary::transcript(&output).replace(&self.path().display().to_string(), "DIR")
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        let config = self.path().join("qantra.toml");
        let mut all = vec!["-c", config.to_str().unwrap(), "-o", "json"];
        all.extend(arguments);
        serde_json::from_slice(&command(&all).output().unwrap().stdout).unwrap()
    }
}

#[test]
fn rules_are_listed_and_explained() {
    let dir = Box::new();
    insta::assert_snapshot!("list", dir.run(&["rules", "list", "-o", "raw"]));
    insta::assert_snapshot!("explain", dir.run(&["rules", "explain", "7"]));
    insta::assert_snapshot!("explain_chain", dir.run(&["rules", "explain", "8", "-o", "json"]));
    let tested = dir.json(&["rules", "test"]);
    assert_eq!((&tested["ok"], tested["sets"].as_array().unwrap().len()), (&true.into(), 2));
    assert_eq!(tested["files"][0]["path"], format!("{}/rules/own.conf", dir.path().display()));
}

#[test]
fn a_request_is_told_why() {
    let dir = Box::new();
    insta::assert_snapshot!("why", dir.run(&["rules", "why", "/?q=ATTACK", "--site", "shop"]));
    insta::assert_snapshot!("why_detect", dir.run(&["rules", "why", "http://x.example/?q=attack"]));
    insta::assert_snapshot!("why_excluded", dir.run(&["rules", "why", "/free/x?q=attack"]));
    insta::assert_snapshot!("why_masked", dir.run(&["rules", "why", "/?pin=hunter2", "-o", "json"]));
    let raw = dir.path().join("request");
    fs::write(
        &raw,
        "POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\n\r\n{\"a\":[\"an attack\"]}",
    )
    .unwrap();
    let why = dir.json(&["rules", "why", raw.to_str().unwrap()]);
    assert_eq!((&why["site"], &why["refused"], &why["status"]), (&"shop".into(), &true.into(), &403.into()));
}

#[test]
fn broken_rules_are_told_by_file_and_line() {
    let dir = Box::new();
    let bad = dir.path().join("new.conf");
    fs::write(&bad, "\nSecRule ARGS \"@rx (\" \"id:9\"\n").unwrap();
    insta::assert_snapshot!("bad_draft", dir.run(&["rules", "test", bad.to_str().unwrap()]));
    fs::copy(&bad, dir.path().join("rules/bad.conf")).unwrap();
    insta::assert_snapshot!("bad", dir.run(&["rules", "test", "-o", "json"]));
    insta::assert_snapshot!("bad_config_check", dir.run(&["config", "check"]));
    insta::assert_snapshot!(
        "bad_patch",
        dir.run(&["rules", "patch", "add", "--path", "/x", "--param", "p", "--allow", "a"])
    );
    assert!(!dir.path().join("rules/qantra-patches.conf").exists(), "nothing is written beside broken rules");
}

#[test]
fn patches_come_and_go() {
    let dir = Box::new();
    let add = ["rules", "patch", "add", "--site", "shop", "--path", "/item", "--param", "id", "--allow", "[0-9]+"];
    let added = dir.run(&add);
    assert!(
        added.starts_with(
            "exit code 0\n--- stdout\npatch 70200000 added: id on /item of site shop may only be [0-9]+\n"
        ),
        "{added}"
    );
    assert!(added.contains("warning: the daemon was not told"), "{added}");
    let class = ["rules", "patch", "add", "--path", "/s*", "--param", "q", "--deny-class", "sqli", "--ttl", "1d"];
    assert!(dir.run(&class).starts_with("exit code 0\n"));
    let list = dir.json(&["rules", "patch", "list"]);
    assert_eq!((&list[0]["id"], &list[1]["allows"]["all_but"]), (&70_200_000.into(), &"sqli".into()));
    let refused = |target: &str, site: &str| dir.json(&["rules", "why", target, "--site", site])["refused"] == true;
    assert!(refused("/item?id=1x", "shop") && !refused("/item?id=1", "shop") && !refused("/item?id=1x", "blog"));
    assert!(refused("/search?q=1' or 1=1--", "blog"));
    assert!(dir.run(&["rules", "patch", "remove", "70200000"]).contains("patch 70200000 removed"));
    assert!(!refused("/item?id=1x", "shop") && refused("/search?q=1' or 1=1--", "shop"));
    insta::assert_snapshot!(
        "patch_mistakes",
        [
            dir.run(&["rules", "patch", "remove", "70200000"]),
            dir.run(&["rules", "patch", "add", "--path", "x", "--param", "p", "--allow", "a"]),
            dir.run(&["rules", "patch", "add", "--path", "/x", "--param", "p", "--allow", "("]),
            dir.run(&["rules", "patch", "add", "--site", "none", "--path", "/x", "--param", "p", "--allow", "a"]),
        ]
        .join("\n")
    );
}
