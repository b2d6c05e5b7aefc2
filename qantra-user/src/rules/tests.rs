//! Rule sets of small made-up Core Rule Sets, and of the real ones where they are.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
};

use qantra_seclang::{Connection, EngineMode, Host, NoCollections, NoLookups, Scratch, SharedRules};

use super::{Patch, PatchAllows, PatchError, PatchFile, RuleSets, RulesError};
use crate::config::{Config, SiteIndex, parse};

const SITE: &str = "hosts = [\"NAME.example\"]\n[[site.target]]\naddress = \"127.0.0.1:8080\"\n";

/// A configuration with these sites, each with the lines of its `[site.inspect]`.
fn config(inspect: &str, sites: &[(&str, &str)]) -> Config {
    let mut text = format!("[[listen]]\naddress = \"127.0.0.1:80\"\n[inspect]\n{inspect}\n");
    for (name, own) in sites {
        let site = SITE.replace("NAME", name);
        text.push_str(&format!("[[site]]\nname = \"{name}\"\n{site}[site.inspect]\n{own}\n"));
    }
    parse(&text, Path::new("qantra.toml")).unwrap_or_else(|errors| panic!("{errors}\n{text}"))
}

/// A folder with a Core Rule Set of three rules that counts as the real ones do.
fn small_crs(dir: &Path) {
    fs::create_dir_all(dir.join("rules")).unwrap();
    fs::write(dir.join("crs-setup.conf"), "SecDefaultAction \"phase:2,log,pass\"\n").unwrap();
    let rules = r#"
SecRule &TX:blocking_paranoia_level "@eq 0" "id:901120,phase:1,pass,nolog,setvar:'tx.blocking_paranoia_level=1'"
SecRule &TX:inbound_anomaly_score_threshold "@eq 0" "id:901100,phase:1,pass,nolog,setvar:'tx.inbound_anomaly_score_threshold=5'"
SecRule TX:CRS_EXCLUSIONS_SHOP "@eq 1" "id:9002000,phase:1,pass,nolog,ctl:ruleRemoveById=942100"
SecRule ARGS|REQUEST_COOKIES|REQUEST_HEADERS "@contains attack" "id:942100,phase:2,pass,tag:'attack-sqli',msg:'SQL',setvar:'tx.score=+5'"
SecRule TX:blocking_paranoia_level "@ge 2" "id:942200,phase:2,pass,nolog,chain"
SecRule ARGS "@contains odd" "setvar:'tx.score=+5'"
SecRule TX:score "@ge %{tx.inbound_anomaly_score_threshold}" "id:949110,phase:2,deny,status:403"
"#;
    fs::write(dir.join("rules/REQUEST-949.conf"), rules).unwrap();
    fs::write(dir.join("rules/REQUEST-903.9009-SHOP-EXCLUSION-RULES.conf"), "").unwrap();
}

fn inspect(dir: &Path) -> String {
    fs::create_dir_all(dir.join("own")).unwrap();
    format!("ruleset = \"crs\"\ncrs_dir = \"{0}/crs\"\nrules_dir = \"{0}/own\"\n", dir.display())
}

/// The rule that ends a request for a site, if one does.
fn ending(sets: &RuleSets, site: u16, target: &str, header: Option<(&str, &str)>) -> Option<u64> {
    let site = sets.site(SiteIndex(site)).unwrap();
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let connection = Connection { client: local, client_port: 1, server: local, server_port: 80, unique_id: "1" };
    let mut host = Host { now_s: 1_000, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
    let mut scratch = Scratch::new();
    let mut transaction = site.rules.transaction(&mut scratch, &connection);
    transaction.set_engine(site.engine);
    transaction.set_web_application(site.name.as_bytes());
    transaction.request_line(b"GET", target.as_bytes(), b"HTTP/1.1");
    transaction.request_header(b"Host", b"a.example");
    transaction.request_header(b"User-Agent", b"Mozilla/5.0");
    transaction.request_header(b"Accept", b"*/*");
    if let Some((name, value)) = header {
        transaction.request_header(name.as_bytes(), value.as_bytes());
    }
    let ended = transaction.request_headers(&mut host).or_else(|| transaction.finish_request(&mut host));
    ended.map(|ended| ended.rule_id)
}

fn same(a: &SharedRules, b: &SharedRules) -> bool {
    std::sync::Arc::ptr_eq(a, b)
}

#[test]
fn without_rules_there_is_no_set() {
    let sets = RuleSets::load(&config("", &[("a", "")])).unwrap();
    assert!(sets.sets().is_empty() && sets.site(SiteIndex(0)).is_none() && sets.site(SiteIndex(9)).is_none());
}

#[test]
fn sites_with_equal_settings_share_a_set() {
    let dir = tempfile::tempdir().unwrap();
    small_crs(&dir.path().join("crs"));
    let sites = [
        ("a", ""),
        ("b", "engine = \"detect\""),
        ("c", "paranoia = 2"),
        ("d", "engine = \"off\""),
        ("e", "paranoia = 2"),
    ];
    let sets = RuleSets::load(&config(&inspect(dir.path()), &sites)).unwrap();
    let of = |at| sets.site(SiteIndex(at)).unwrap();
    assert_eq!(sets.sets().len(), 2);
    assert!(same(&of(0).rules, &of(1).rules) && same(&of(2).rules, &of(4).rules) && !same(&of(0).rules, &of(2).rules));
    assert_eq!((of(0).engine, of(1).engine), (EngineMode::On, EngineMode::DetectionOnly));
    assert!(sets.site(SiteIndex(3)).is_none());
    assert_eq!(sets.sets()[1].sites, [SiteIndex(2), SiteIndex(4)]);
    assert!(sets.files().iter().any(|file| file.path.ends_with("rules/REQUEST-949.conf") && file.modified_unix_ms > 0));
    let odd = |site| ending(&sets, site, "/?q=odd", None);
    assert_eq!((odd(0), odd(2)), (None, Some(949_110)), "paranoia 2 is where it was asked for");
    assert_eq!(ending(&sets, 0, "/?q=attack", None), Some(949_110));
    assert_eq!(ending(&sets, 1, "/?q=attack", None), None, "a site that detects refuses nothing");
}

#[test]
fn thresholds_packages_and_exclusions_reach_the_rules() {
    let dir = tempfile::tempdir().unwrap();
    small_crs(&dir.path().join("crs"));
    let exclude = |keys: &str| format!("[[site.inspect.exclude]]\n{keys}");
    let sites = [
        ("threshold", "inbound_threshold = 6".to_owned()),
        ("package", "plugins = [\"shop\"]".to_owned()),
        ("rule", exclude("rules = [942100]")),
        ("tag", exclude("tags = [\"attack-sqli\"]")),
        ("field", exclude("rules = [\"942000-942999\"]\nparameters = [\"q\"]\nheaders = [\"X-Note\"]")),
        ("path", exclude("tags = [\"attack-sqli\"]\npath = \"/free/\"")),
        ("path-field", exclude("rules = [942100]\npath = \"/free/\"\nparameters = [\"q\"]")),
    ];
    let sites: Vec<(&str, &str)> = sites.iter().map(|(name, own)| (*name, own.as_str())).collect();
    let sets = RuleSets::load(&config(&inspect(dir.path()), &sites)).unwrap();
    let refused = |site, target, header| ending(&sets, site, target, header).is_some();
    for site in 0..=4 {
        assert!(!refused(site, "/?q=attack", None), "{}", sites[usize::from(site)].0);
    }
    assert!(refused(4, "/?p=attack", None) && refused(4, "/", Some(("Cookie", "a=attack"))));
    assert!(!refused(4, "/", Some(("X-Note", "attack"))) && refused(4, "/", Some(("X-Other", "attack"))));
    assert!(refused(5, "/?q=attack", None) && !refused(5, "/free/x?q=attack", None));
    assert!(refused(5, "/free/../x?q=attack", None) && refused(5, "/free/%2e%2e/x?q=attack", None));
    assert!(!refused(6, "/free/x?q=attack", None) && refused(6, "/free/x?p=attack", None));
}

#[test]
fn own_rules_stand_before_or_after() {
    let dir = tempfile::tempdir().unwrap();
    small_crs(&dir.path().join("crs"));
    let inspect = inspect(dir.path());
    let own = dir.path().join("own");
    fs::write(
        own.join("before-scores.conf"),
        "SecRule ARGS:w \"@streq 5\" \"id:10,phase:2,pass,setvar:tx.score=+5\"\n",
    )
    .unwrap();
    fs::write(
        own.join("shop.conf"),
        "SecRule WEBAPPID \"@streq a\" \"id:11,phase:1,deny,chain\"\nSecRule ARGS:a \"@streq 1\"\n",
    )
    .unwrap();
    fs::write(own.join(".shop.conf"), "left behind by an editor").unwrap();
    fs::write(own.join("notes.txt"), "not read").unwrap();
    let sets = RuleSets::load(&config(&inspect, &[("a", ""), ("b", "")])).unwrap();
    assert_eq!(ending(&sets, 0, "/?w=5", None), Some(949_110), "a score that is added before counts");
    assert_eq!((ending(&sets, 0, "/?a=1", None), ending(&sets, 1, "/?a=1", None)), (Some(11), None));
    let alone = inspect.replace("\"crs\"", "\"none\"");
    let sets = RuleSets::load(&config(&alone, &[("a", "")])).unwrap();
    assert_eq!((ending(&sets, 0, "/?a=1", None), ending(&sets, 0, "/?q=attack", None)), (Some(11), None));
}

#[test]
fn the_files_own_mode_is_kept_when_it_is_stricter() {
    let dir = tempfile::tempdir().unwrap();
    let text = inspect(dir.path()).replace("\"crs\"", "\"none\"");
    fs::write(dir.path().join("own/a.conf"), "SecRuleEngine DetectionOnly\n").unwrap();
    let sets = RuleSets::load(&config(&text, &[("a", "")])).unwrap();
    assert_eq!(sets.site(SiteIndex(0)).unwrap().engine, EngineMode::DetectionOnly);
}

#[test]
fn what_is_wrong_is_named() {
    let dir = tempfile::tempdir().unwrap();
    small_crs(&dir.path().join("crs"));
    let own = dir.path().join("own");
    let load = |text: &str, own: &str| RuleSets::load(&config(text, &[("a", own)])).unwrap_err();
    let text = inspect(dir.path());
    let said = |error: RulesError| error.to_string().replace(&dir.path().display().to_string(), "");
    fs::write(own.join("a.conf"), "\nSecRule ARGS \"@rx (\" \"id:1\"\n").unwrap();
    let error = load(&text, "");
    assert_eq!(error.position(), (own.join("a.conf"), Some(2)));
    assert!(said(error).starts_with("/own/a.conf:2: pattern `(` does not compile"));
    fs::write(own.join("a.conf"), "SecRul ARGS \"@rx a\" \"id:1\"\n").unwrap();
    assert!(said(load(&text, "")).starts_with("/own/a.conf:1: unknown directive `SecRul`"));
    fs::remove_file(own.join("a.conf")).unwrap();
    fs::create_dir(own.join("a.conf")).unwrap();
    assert_eq!(said(load(&text, "")), "/own/a.conf: cannot be read: it is no file");
    fs::remove_dir(own.join("a.conf")).unwrap();
    assert_eq!(
        said(load(&text, "plugins = [\"wordpress\"]")),
        "no plugin or exclusion package `wordpress` in /crs: there are shop"
    );
    fs::remove_file(dir.path().join("crs/crs-setup.conf")).unwrap();
    assert!(said(load(&text, "")).starts_with("/crs: the Core Rule Set has no crs-setup.conf"));
}

fn patch(path: &str, parameter: &str, allows: PatchAllows) -> Patch {
    Patch {
        id: 0,
        site: Some("a".into()),
        path: path.into(),
        parameter: parameter.into(),
        allows,
        expires_unix_s: None,
        created_unix_s: 1,
        created_by: "root".into(),
        comment: "say \"why\" it's there".into(),
    }
}

#[test]
fn patches_refuse_what_they_say_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let text = inspect(dir.path()).replace("\"crs\"", "\"none\"");
    let own = dir.path().join("own");
    let mut file = PatchFile::open(&own).unwrap();
    let only = |pattern: &str| PatchAllows::Only(pattern.into());
    let all_but = |class: &str| PatchAllows::AllBut(class.into());
    let until = Patch { expires_unix_s: Some(1_001), ..patch("/until", "p", only("a")) };
    let past = Patch { expires_unix_s: Some(999), ..patch("/past", "p", only("a")) };
    let everywhere = Patch { site: None, ..patch("/all/*", "p", only("a|b\"|\\\"c|%\\{d")) };
    for one in [patch("/x", "id", only("[0-9]+")), until, past, everywhere] {
        file.add(one).unwrap();
    }
    for class in ["sqli", "xss", "traversal", "rce", "rfi", "ssrf", "ssti"] {
        file.add(patch(&format!("/{class}"), "p", all_but(class))).unwrap();
    }
    let config = config(&text, &[("a", ""), ("b", "")]);
    // Tried before it is written.
    let sets = RuleSets::load_with(&config, &[file.draft()]).unwrap();
    assert_eq!(ending(&sets, 0, "/x?id=1a", None), Some(70_200_000));
    assert!(RuleSets::load(&config).unwrap().sets().is_empty(), "nothing is written yet");
    file.save().unwrap();
    let sets = RuleSets::load(&config).unwrap();
    let refused = |target: &str| ending(&sets, 0, target, None).is_some();
    assert!(!refused("/x?id=12") && !refused("/x?other=a") && !refused("/y?id=a") && refused("/x?id=1%27"));
    assert!(refused("/./x?id=a") && refused("/%78?ID=a") && ending(&sets, 1, "/x?id=a", None).is_none());
    assert!(refused("/until?p=b") && !refused("/past?p=b"), "a patch ends by itself");
    assert!(
        !refused("/all/z?p=b%22") && !refused("/all/?p=%22c") && !refused("/all/?p=%25{d") && refused("/all/z?p=c")
    );
    assert!(ending(&sets, 1, "/all/z?p=c", None).is_some());
    for (class, bad, good) in [
        ("sqli", "1%27%20or%201=1--", "it%27s%20me"),
        ("xss", "%3Cscript%3Ealert(1)%3C/script%3E", "a%20%3C%20b"),
        ("traversal", "..%2f..%2fetc/passwd", "docs/a..b.txt"),
        ("traversal", "php://filter/x", "php-notes"),
        ("rce", "a;id", "a%20b-c.d"),
        ("rfi", "http://evil.example/x", "page.php"),
        ("ssrf", "//169.254.169.254/", "1/2"),
        ("ssti", "{{7*7}}", "{a}"),
    ] {
        assert!(refused(&format!("/{class}?p={bad}")), "{class} {bad}");
        assert!(!refused(&format!("/{class}?p={good}")), "{class} {good}");
    }
}

#[test]
fn patches_are_read_back_and_their_ids_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join("own");
    assert_eq!(PatchFile::read(&own).unwrap().patches(), []);
    let mut file = PatchFile::open(&own).unwrap();
    for pattern in ["a", "b", "c"] {
        file.add(patch("/x", "p", PatchAllows::Only(pattern.into()))).unwrap();
    }
    file.save().unwrap();
    drop(file);
    let mut file = PatchFile::open(&own).unwrap();
    assert_eq!(file.patches().iter().map(|patch| patch.id - 70_200_000).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(file.remove(70_200_001).unwrap().allows, PatchAllows::Only("b".into()));
    assert!(matches!(file.remove(5), Err(PatchError::NoSuch(5))));
    assert_eq!(file.add(patch("/y", "p", PatchAllows::Only("d".into()))).unwrap().id, 70_200_001);
    let path = file.path().to_owned();
    drop(file);
    fs::write(&path, "# qantra-patch {\"id\": 1}\n").unwrap();
    let said = PatchFile::read(&own).unwrap_err().to_string();
    assert!(said.contains("qantra-patches.conf:1: is no patch of qantra's"), "{said}");
}

proptest::proptest! {
    /// Whatever a person types: it is refused, or makes one rule that loads.
    #[test]
    fn no_patch_becomes_another_rule(
        path in "/[ -~]{0,12}",
        parameter in "[ -~]{1,12}",
        site in "[ -~]{1,6}",
        pattern in "([ -~]|\\\\|\"|%\\{){1,16}",
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut file = PatchFile::open(dir.path()).unwrap();
        let typed = Patch { site: Some(site), ..patch(&path, &parameter, PatchAllows::Only(pattern)) };
        if file.add(typed).is_ok() {
            let text = file.draft().text.unwrap();
            match qantra_seclang::RuleSet::from_text(&text) {
                Ok(rules) => proptest::prop_assert_eq!(rules.ids().collect::<Vec<_>>(), [70_200_000]),
                Err(error) => {
                    let is_pattern = matches!(error.reason, qantra_seclang::Reason::Pattern { .. });
                    proptest::prop_assert!(is_pattern, "{}\n{}", error, text);
                }
            }
        }
    }
}

/// The real ones, where they are: Debian's package, and a release beside the checkout.
#[test]
fn real_core_rule_sets_load_with_every_setting() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/crs");
    for crs in [Path::new("/usr/share/modsecurity-crs"), &beside] {
        if !crs.join("rules").is_dir() {
            continue;
        }
        let inspect = format!("ruleset = \"crs\"\ncrs_dir = \"{}\"\n", crs.display());
        let strict =
            "paranoia = 2\ninbound_threshold = 1000\n[[site.inspect.exclude]]\npath = \"/free\"\nrules = [942100]\n";
        let sets = RuleSets::load(&config(&inspect, &[("a", ""), ("b", strict)])).unwrap();
        assert!(sets.sets()[0].summary().rules > 150, "{:?}", sets.sets()[0].summary());
        let attack = "/?id=1'%20UNION%20SELECT%20password%20FROM%20users--";
        assert_eq!(ending(&sets, 0, attack, None), Some(949_110), "{}", crs.display());
        assert_eq!(ending(&sets, 0, "/index.html?page=2", None), None, "{}", crs.display());
        assert_eq!(ending(&sets, 1, attack, None), None, "a score of 1000 is out of reach");
        assert!(sets.sets()[1].rules.ids().count() > sets.sets()[0].rules.ids().count(), "paranoia 2 has more rules");
    }
}
