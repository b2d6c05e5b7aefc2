//! Enters: what browsers and programs honestly send, and attacks out of the Core Rule Set's own cases. Leaves: whether the
//! real daemon with that rule set tells them apart. It must never pass where no rule set is installed.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use qantra_tests::{client::Client, daemon::Daemon, leaky::Leaky};

/// The rule sets that are here: a release beside this checkout, and Debian's.
fn rule_sets() -> Result<Vec<String>> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/crs");
    let here = |dir: &&str| Path::new(dir).join("rules").is_dir();
    let found: Vec<_> =
        [beside, "/usr/share/modsecurity-crs"].iter().copied().filter(here).map(str::to_owned).collect();
    ensure!(!found.is_empty(), "no Core Rule Set is installed: `apt install modsecurity-crs`");
    Ok(found)
}

const CHROME: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36";
const SAFARI: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) \
                      Version/18.0 Mobile/15E148 Safari/604.1";
const FIREFOX: &str = "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:143.0) Gecko/20100101 Firefox/143.0";

/// What people do in a shop, a blog and an application: (method, target, more fields, body).
const HONEST: [(&str, &str, &str, &str); 38] = [
    ("GET", "/", "", ""),
    ("GET", "/index.html", "", ""),
    ("GET", "/favicon.ico", "", ""),
    ("GET", "/robots.txt", "", ""),
    ("GET", "/static/app.3f2a9c.js?v=1.2.3", "", ""),
    ("GET", "/static/style.css?ver=6.4.2", "Referer: https://shop.example/\r\n", ""),
    ("GET", "/images/2026/beach-sunset_1024x768.jpg", "Range: bytes=0-65535\r\n", ""),
    ("GET", "/search?q=blue+running+shoes&page=2&sort=price_asc", "", ""),
    ("GET", "/search?q=caf%C3%A9+%26+bar", "", ""),
    ("GET", "/search?q=O%27Brien", "", ""),
    ("GET", "/search?q=rock+and+roll", "", ""),
    ("GET", "/search?q=how+to+select+a+good+union+representative", "", ""),
    ("GET", "/search?q=50%25+off", "", ""),
    ("GET", "/products?category=1&price[min]=10&price[max]=99.95", "", ""),
    ("GET", "/blog/2026/11/what-s-new-in-rust-1-95", "", ""),
    ("GET", "/wiki/C%2B%2B", "", ""),
    ("GET", "/user/maria.lopez@example.org/orders", "", ""),
    ("GET", "/maps?ll=52.520008,13.404954&z=12", "", ""),
    ("GET", "/login?next=%2Faccount%2Forders", "", ""),
    ("GET", "/a/b/c/?utm_source=newsletter&utm_medium=email&utm_campaign=autumn-2026", "", ""),
    (
        "GET",
        "/",
        "Cookie: session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; _ga=GA1.2.123456789.1700000000\r\n",
        "",
    ),
    ("GET", "/", "Cookie: consent=eyJuZWNlc3NhcnkiOnRydWV9; lang=de-DE\r\n", ""),
    ("GET", "/", "If-None-Match: \"33a64df551425fcc55e4d42a148795d9f25f89d4\"\r\n", ""),
    ("GET", "/api/items?fields=id,name,price&limit=50&offset=100", "X-Requested-With: XMLHttpRequest\r\n", ""),
    ("GET", "/api/me", "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl\r\n", ""),
    ("HEAD", "/download/release-1.2.tar.gz", "", ""),
    ("OPTIONS", "/api/items", "Origin: https://app.example\r\nAccess-Control-Request-Method: POST\r\n", ""),
    (
        "POST",
        "/login",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "user=maria.lopez&password=correct-horse-battery&remember=1",
    ),
    ("POST", "/login", "Content-Type: application/x-www-form-urlencoded\r\n", "user=maria&password=Tr0ub4dor%263%21"),
    (
        "POST",
        "/cart",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "sku=SKU-00042&quantity=2&csrf=8f14e45fceea167a",
    ),
    (
        "POST",
        "/checkout",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "name=Se%C3%A1n+O%27Connor&street=12+St.+Mary%27s+Road&city=Dublin+4&note=Ring+twice%2C+please.",
    ),
    (
        "POST",
        "/comments",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "text=Great+article%21+I+would+update+the+section+on+tables+though%3B+see+you+at+5%3A30.",
    ),
    (
        "POST",
        "/api/orders",
        "Content-Type: application/json\r\n",
        r#"{"customer":{"name":"Maria Lopez","email":"maria@example.org"},"items":[{"sku":"A-1","quantity":2,"price":49.95}]}"#,
    ),
    (
        "POST",
        "/api/orders",
        "Content-Type: application/json; charset=utf-8\r\n",
        r#"{"note":"Bitte beim Nachbarn abgeben","express":false,"coupon":null}"#,
    ),
    (
        "POST",
        "/upload",
        "Content-Type: multipart/form-data; boundary=----WebKitFormBoundaryAbC123\r\n",
        "------WebKitFormBoundaryAbC123\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nHoliday pictures\r\n------WebKitFormBoundaryAbC123\r\nContent-Disposition: form-data; name=\"file\"; filename=\"beach.jpg\"\r\nContent-Type: image/jpeg\r\n\r\nJFIF\r\n------WebKitFormBoundaryAbC123--\r\n",
    ),
    (
        "POST",
        "/contact",
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "subject=Invoice+%234711&message=Hello%2C%0D%0A%0D%0Aplease+send+it+again.%0D%0A%0D%0AThanks%2C%0D%0AMaria",
    ),
    ("POST", "/newsletter", "Content-Type: application/x-www-form-urlencoded\r\n", "email=maria%2Bnews%40example.org"),
    ("GET", "/calendar?from=2026-11-01T00:00:00Z&to=2026-11-30T23:59:59Z", "", ""),
];

fn request(method: &str, target: &str, agent: &str, more: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!(
        "{method} {target} HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: {agent}\r\n\
         Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.7\r\n\
         Accept-Encoding: gzip, deflate, br\r\n{more}{length}\r\n{body}"
    )
}

/// A site for `shop.example` with a rule set at paranoia 1, refusing.
fn start(origin: &Leaky, crs_dir: &str, more: &str) -> Result<Daemon> {
    let inspect = format!("ruleset = \"crs\"\ncrs_dir = \"{crs_dir}\"\nparanoia = 1\ndeadline_ms = 5000");
    Daemon::start("", &inspect, &format!("{}{more}", origin.sites(&[("shop.example", "")])))
}

#[test]
fn ordinary_browsing_is_not_refused_at_paranoia_1() -> Result<()> {
    let origin = Leaky::start()?;
    for crs_dir in rule_sets()? {
        let daemon = start(&origin, &crs_dir, "")?;
        let mut refused = Vec::new();
        for agent in [CHROME, SAFARI, FIREFOX] {
            for (method, target, more, body) in HONEST {
                let mut client = Client::connect(daemon.address)?;
                client.send(request(method, target, agent, more, body).as_bytes())?;
                // Of an answer to HEAD there is no body to read.
                let status = match method {
                    "HEAD" => client.read_until("\r\n\r\n")?.split(' ').nth(1).unwrap_or_default().parse()?,
                    _ => client.answer()?.status,
                };
                if status != 200 {
                    refused.push(format!("{status} {method} {target} {body}"));
                }
            }
        }
        ensure!(refused.is_empty(), "{crs_dir} refuses {}:\n{}", refused.len(), refused.join("\n"));
    }
    Ok(())
}

/// Out of CRS's regression cases: (rule, target, more fields, body).
const ATTACKS: [(u64, &str, &str, &str); 11] = [
    (930_100, "/get?arg=../../../etc/passwd&foo=var", "", ""),
    (930_120, "/?file=/etc/shadow", "", ""),
    (931_100, "/wp-content/x.php?abspath=http://66.240.183.75/crash.txt", "", ""),
    (932_160, "/?cmd=/bin/bash", "", ""),
    (933_100, "/?foo=%3C?php+exec(system(id));", "", ""),
    (941_100, "/?var=%3Cscript%3Ealert(1)%3C/script%3E", "", ""),
    (941_160, "/?x=%3Cimg%20src=x%20onerror=alert(1)%3E", "", ""),
    (942_100, "/?id=1%27%20or%20%271%27=%271%27--%20-", "", ""),
    (942_190, "/?var=1+union+select+1,2,3", "", ""),
    (942_100, "/login", "Content-Type: application/x-www-form-urlencoded\r\n", "user=x%27+OR+1%3D1--+-&password=y"),
    (944_100, "/?test=java.lang.Runtime", "", ""),
];

#[test]
fn attacks_are_refused_and_their_rules_are_named() -> Result<()> {
    let origin = Leaky::start()?;
    for crs_dir in rule_sets()? {
        // Every finding becomes a decision, so that its evidence can be read.
        let daemon = start(&origin, &crs_dir, "[policy]\nconfidence = 0.1\n")?;
        for (n, (rule, target, more, body)) in ATTACKS.iter().enumerate() {
            let method = if body.is_empty() { "GET" } else { "POST" };
            let client = format!("203.0.113.{}", n + 1);
            let more = format!("{more}X-Forwarded-For: {client}\r\n");
            let answer = daemon.ask(request(method, target, CHROME, &more, body).as_bytes())?;
            assert_eq!(answer.status, 403, "{crs_dir}: {target} {body}");
            let decisions = daemon.json(&["decisions", "list", "--ip", &client])?;
            let id = decisions[0]["id"].as_str().with_context(|| format!("a decision about {target}"))?.to_owned();
            let explained = daemon.json(&["explain", &id])?;
            let rules = &explained["decision"]["findings"][0]["evidence"]["rules"];
            let named = rules.as_array().into_iter().flatten().any(|found| found["id"] == *rule);
            assert!(named, "{crs_dir}: {rule} is not named for {target} {body}: {rules}");
        }
        assert!(origin.heads().is_empty(), "an attack reached the origin");
    }
    Ok(())
}
