//! One file each with one thing wrong, and what is said about it.

use std::path::Path;

use super::{Config, parse};

const SITE: &str =
    "[[site]]\nname = \"shop\"\nhosts = [\"shop.example\"]\n[[site.target]]\naddress = \"127.0.0.1:8080\"\n";
const LISTEN: &str = "[[listen]]\naddress = \"0.0.0.0:80\"\n";

fn problems(text: &str) -> String {
    match parse(text, Path::new("qantra.toml")) {
        Ok(_) => "fine".into(),
        Err(errors) => errors.to_string(),
    }
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(parse("", Path::new("qantra.toml")).unwrap(), Config::default());
}

#[test]
fn a_site_with_a_listener_is_fine() {
    let config = parse(&format!("{LISTEN}{SITE}"), Path::new("qantra.toml")).unwrap();
    assert_eq!(config.sites[0].targets[0].weight, 1);
}

#[test]
fn addresses_need_no_prefix_length() {
    let text = "[protect]\nnetworks = [\"192.0.2.1\", \"::ffff:192.0.2.2\", \"2001:db8::1/64\"]\n";
    let config = parse(text, Path::new("qantra.toml")).unwrap();
    let nets: Vec<String> = config.protect.networks.iter().map(ToString::to_string).collect();
    assert_eq!(nets, ["192.0.2.1/32", "192.0.2.2/32", "2001:db8::/64"]);
}

#[test]
fn form() {
    let cases = [
        "[daemon]\nsimulaton = true\n",
        "[proxi]\nthreads = 2\n",
        "[zzz]\n",
        "[daemon\n",
        "[daemon]\nsimulation = \"yes\"\n",
        "[kernel]\nbans_max = -1\n",
        "[[interface]]\nname = \"eth0\"\n",
        "[[interface]]\nname = \"eth0\"\nrole = \"wam\"\n",
        "[protect]\nnetworks = [\"10.0.0.0/8\",\n  \"not-a-net\"]\n",
        "[metrics]\nlisten = \"9464\"\n",
        "[daemon]\nlog = \"info\"\nlog = \"debug\"\n",
        "[[policy.rule]]\nclasses = [\"sqlli\"]\naction = \"block\"\n",
        "[inspect]\nruleset = \"crs4\"\n",
        "[[inspect.exclude]]\nrules = [0]\n",
        "[[inspect.exclude]]\nrules = [\"942199-942100\"]\n",
    ];
    let said: Vec<String> = cases.iter().map(|text| format!("{text}  => {}\n", problems(text))).collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn meaning() {
    let two = SITE.replace("shop.example", "SHOP.example");
    let cases = [
        format!("{LISTEN}{SITE}{two}"),
        format!("{LISTEN}{LISTEN}{SITE}"),
        format!("{LISTEN}tls = true\n{SITE}"),
        format!("{LISTEN}proxy_protocol = true\n{SITE}"),
        format!("{LISTEN}[[site]]\nname = \"a b\"\nhosts = [\"http://x/\", \"*\"]\ntarget = []\n"),
        format!("{LISTEN}{SITE}[site.tls]\ncertificate = \"/nonexistent/c.pem\"\nkey = \"/dev/null\"\n"),
        LISTEN.to_owned(),
        SITE.to_owned(),
        "[[interface]]\nname = \"eth0\"\nrole = \"wan\"\n[[interface]]\nname = \"eth0\"\nrole = \"lan\"\n".to_owned(),
        "[[interface]]\nname = \"a-very-long-interface\"\nrole = \"wan\"\n".to_owned(),
        "[detect.content_scan]\nerror_share = nan\npaths_per_10s = 0\n".to_owned(),
        "[policy]\nconfidence = 1.5\nduration_s = 0\nipv6_prefix = 8\n".to_owned(),
        "[[policy.rule]]\nsites = [\"shop\"]\naction = \"forward\"\n".to_owned(),
        "[proxy]\ntrusted_proxies = [\"0.0.0.0/0\"]\nthreads = 0\ninspect_body_bytes = 65537\n".to_owned(),
        "[models]\nbatch_max = 64\nqueue_max = 8\n".to_owned(),
        "[daemon]\nlog = \"qantra=loud\"\n".to_owned(),
        format!("{LISTEN}{SITE}[inspect]\nruleset = \"crs\"\ncrs_dir = \"/nonexistent/crs\"\n"),
        format!("{LISTEN}{SITE}[site.inspect]\nruleset = \"crs\"\ncrs_dir = \"/nonexistent/crs\"\nparanoia = 5\n"),
        "[inspect]\nrules_dir = \"/nonexistent/rules\"\nparanoia = 3\ndetection_paranoia = 2\n".to_owned(),
        "[inspect]\nplugins = [\"../x\"]\nresponse_types = [\"html\"]\nrequest_body_bytes_max = 1\n".to_owned(),
        "[[inspect.exclude]]\npath = \"a\\\"b\"\ntags = [\"a,b\"]\n[[inspect.exclude]]\npath = \"/x\"\n".to_owned(),
    ];
    let said: Vec<String> =
        cases.iter().map(|text| format!("{text}  => {}\n", problems(text).replace('\n', "\n     "))).collect();
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn hostile_text_reaches_no_terminal() {
    let said = problems("[daemon]\n\"\\u001b[31m\" = 1\n");
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn the_schema_knows_the_keys_as_they_are_written() {
    let schema = super::json_schema();
    for key in ["daemon", "interface", "listen", "site", "policy"] {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    assert_eq!(schema["additionalProperties"], false);
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "[\\[\\]a-z=\"\\.\\n0-9{}, ]{0,200}") {
        let _ = parse(&text, Path::new("qantra.toml"));
    }
}
