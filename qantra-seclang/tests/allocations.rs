//! A warm scratch allocates nothing: the allocator counts while requests of every kind pass through all of CRS. CRS is looked
//! for at `../shared/crs` or `QANTRA_CRS`; without it a few rules of every kind stand in, and the test says so.
//!
//! Only the readers of XML and multipart bodies allocate, a few times for each element with attributes and each part.

#![expect(clippy::expect_used, clippy::print_stdout, reason = "a test ends and says why")]

use std::{
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
};

use qantra_seclang::{
    Connection, Host, NoCollections, NoLookups, Options, RECOMMENDED, RuleSet, Scratch, StdFiles, Transaction,
};

const ON: &str = "SecRuleEngine On\nSecRequestBodyAccess On\nSecResponseBodyAccess On\n";

const FEW: &str = r#"
    SecAction "id:1,phase:1,pass,nolog,setvar:tx.limit=5,setvar:'tx.name_%{REQUEST_METHOD}=1'"
    SecRule ARGS|REQUEST_COOKIES "@rx (?i)union\s+(\w+)" "id:2,phase:2,pass,capture,t:none,t:urlDecodeUni,msg:'%{TX.1} in %{MATCHED_VAR_NAME}',setvar:tx.score=+%{tx.limit}"
    SecRule ARGS_NAMES|FILES "@pm select from php" "id:3,phase:2,pass,t:none,t:lowercase"
    SecRule REQUEST_HEADERS:User-Agent "!@within %{REQUEST_METHOD}" "id:4,phase:1,pass,nolog"
    SecRule &ARGS "@gt %{tx.limit}" "id:5,phase:2,pass,nolog"
    SecRule TX:score "@ge 5" "id:6,phase:2,deny,status:403""#;

fn rules(level: u8) -> RuleSet {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/crs");
    let crs = std::env::var_os("QANTRA_CRS").map_or_else(beside, PathBuf::from);
    if !crs.join("rules").is_dir() {
        println!("no CRS beside the checkout: set QANTRA_CRS; a few rules stand in");
        return RuleSet::from_text(&format!("{ON}{RECOMMENDED}{FEW}")).expect("loads");
    }
    let before = format!(
        "{ON}{RECOMMENDED}\nSecAction \"id:900000,phase:1,pass,nolog,setvar:tx.blocking_paranoia_level={level}\""
    );
    let names = ["crs-setup.conf.example", "rules/*.conf"].map(|name| crs.join(name).to_string_lossy().into_owned());
    let options = Options { before, ..Options::default() };
    RuleSet::load(&StdFiles, &names.each_ref().map(String::as_str), &options).expect("loads")
}

struct Request {
    name: &'static str,
    method: &'static str,
    target: &'static str,
    content_type: &'static str,
    cookie: String,
    body: Vec<u8>,
}

fn requests() -> Vec<Request> {
    let get = |name, target| Request {
        name,
        method: "GET",
        target,
        content_type: "",
        cookie: String::new(),
        body: Vec::new(),
    };
    let post = |name, content_type, body: String| Request {
        method: "POST",
        content_type,
        body: body.into_bytes(),
        ..get(name, "/form")
    };
    let part = |head: &str, content: &str| {
        format!("--X\r\nContent-Disposition: form-data; name=\"{head}\r\n\r\n{content}\r\n")
    };
    let items: Vec<String> = (0..48).map(|at| format!("{{\"sku\":\"SKU-{at}\",\"price\":49.95}}")).collect();
    let cookies: Vec<String> = (0..40).map(|at| format!("pref_{at}=v{at}abcdef")).collect();
    let file = part("file\"; filename=\"beach.jpg\"\r\nContent-Type: image/jpeg", &"x\u{7f}y\n".repeat(9000));
    vec![
        get("get", "/index.html"),
        get("five parameters", "/search?q=red+shoes&page=2&sort=price_asc&category=sports&lang=en%20US"),
        get("sqli", "/product?id=1%27%20UNION%20SELECT%20username,password%20FROM%20users--%20-"),
        Request { cookie: cookies.join("; "), ..get("long cookie", "/account") },
        post("form", "application/x-www-form-urlencoded", "user=maria&next=%2Faccount%2Forders&token=8f14".to_owned()),
        post("json", "application/json", format!("{{\"items\":[{}],\"note\":\"a\\u00e9\"}}", items.join(","))),
        post("xml", "text/xml", "<a b='c'><d>text &amp; more</d></a>".to_owned()),
        post("multipart", "multipart/form-data; boundary=X", format!("{}{file}--X--\r\n", part("title\"", "Pictures"))),
    ]
}

fn run(rules: &RuleSet, scratch: &mut Scratch, request: &Request) -> u16 {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let connection = Connection { client: local, client_port: 4711, server: local, server_port: 80, unique_id: "a1b2" };
    let mut host = Host { now_s: 1_750_000_000, elapsed_ms: 0, collections: &mut NoCollections, lookups: &NoLookups };
    let mut transaction: Transaction<'_, '_> = rules.transaction(scratch, &connection);
    transaction.request_line(request.method.as_bytes(), request.target.as_bytes(), b"HTTP/1.1");
    transaction.request_header(b"Host", b"www.example.org");
    transaction
        .request_header(b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0");
    transaction.request_header(b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8");
    for (name, value) in [("Content-Type", request.content_type), ("Cookie", &request.cookie)] {
        if !value.is_empty() {
            transaction.request_header(name.as_bytes(), value.as_bytes());
        }
    }
    let mut ended = transaction.request_headers(&mut host);
    if ended.is_none() {
        let _ = transaction.request_body(&request.body);
        ended = transaction.finish_request(&mut host);
    }
    if ended.is_none() {
        transaction.response_line(200, b"HTTP/1.1");
        transaction.response_header(b"Content-Type", b"text/html");
        let _ = transaction.response_headers(&mut host);
        let _ = transaction.response_body(b"<html><body>Hello</body></html>");
        ended = transaction.finish_response(&mut host);
    }
    transaction.logging(&mut host);
    ended.map_or(0, |ended| ended.status)
}

#[test]
fn a_warm_scratch_allocates_nothing() {
    let mut found = Vec::new();
    for level in [1, 4] {
        let rules = rules(level);
        let mut scratch = Scratch::new();
        let requests = requests();
        // The patterns' caches and the scratch grow until they fit.
        for request in requests.iter().chain(&requests).chain(&requests) {
            run(&rules, &mut scratch, request);
        }
        for request in &requests {
            let mut status = 0;
            let info = allocation_counter::measure(|| status = run(&rules, &mut scratch, request));
            let allowed = match request.name {
                "xml" | "multipart" => 12,
                _ => 0,
            };
            if info.count_total > allowed {
                found.push(format!("{} at paranoia {level}, status {status}: {}", request.name, info.count_total));
            }
        }
    }
    assert!(found.is_empty(), "allocations: {found:#?}");
}
