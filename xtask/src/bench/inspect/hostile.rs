//! Enters: nothing. Leaves: requests that are made to cost time: deep and wide documents, heads and bodies beyond every
//! limit, thousands of values, baits for patterns. It must never hold what a server would refuse for its form alone.

use super::requests::{Case, get, post};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const MULTIPART: &str = "multipart/form-data; boundary=X";

/// Words that patterns of every kind of attack begin with, so that most of them run.
const WORDS: &str = "select union from where alert(1) <script> ../../etc/passwd ${jndi:ldap} ; cat /etc/passwd | nc -e sh \
                     <?php system('x') ?> onload= javascript: 1=1 -- or 'a'='a' ";

/// As long a body as is read when it has no files, nearly.
const READ_BYTES: usize = 120_000;
/// A body beyond every limit of what is read.
const LONG_BYTES: usize = 10_000_000;

/// Repeats a text up to a length.
fn fill(text: &str, length: usize) -> String {
    text.chars().cycle().take(length).collect()
}

fn list(count: usize, separator: &str, item: impl Fn(usize) -> String) -> String {
    (0..count).map(item).collect::<Vec<_>>().join(separator)
}

fn part(head: &str, content: &str) -> String {
    format!("--X\r\nContent-Disposition: form-data; name=\"p\"{head}\r\n\r\n{content}\r\n")
}

fn multipart(name: &'static str, parts: &str) -> Case {
    post(name, "/upload", MULTIPART, format!("{parts}--X--\r\n").into_bytes())
}

fn form(name: &'static str, body: String) -> Case {
    post(name, "/form", FORM, body.into_bytes())
}

fn json(name: &'static str, body: String) -> Case {
    post(name, "/api", JSON, body.into_bytes())
}

fn with_headers(name: &'static str, headers: impl Iterator<Item = (String, String)>) -> Case {
    let mut case = get(name, "/");
    case.headers.extend(headers);
    case
}

/// All requests.
pub(super) fn all() -> Vec<Case> {
    let attack = fill(WORDS, READ_BYTES);
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let bait = |text: &str| format!("a={}", fill(text, READ_BYTES));
    let numbered = |count: usize| (0..count).map(|at| (format!("X-{at}"), format!("value {at}")));
    let headers = list(60, "", |at| format!("\r\nX-{at}: {}", "a".repeat(100)));
    vec![
        json("json_nested_10mb", nested(LONG_BYTES / 2)),
        json("json_nested_120kb", nested(READ_BYTES / 2)),
        json("json_900_keys", format!("{{{}}}", list(900, ",", |at| format!("\"k{at}\":\"v{at}\"")))),
        json("json_attack_120kb", format!("{{\"a\":\"{attack}\"}}")),
        form("form_attack_120kb", format!("a={attack}")),
        form("form_plain_120kb", bait("lorem ipsum dolor sit amet ")),
        form("form_10mb", format!("a={}", fill(WORDS, LONG_BYTES))),
        form("form_10000_parameters", list(10_000, "&", |at| format!("p{at}=v{at}"))),
        form("form_900_attacks", list(900, "&", |at| format!("p{at}=1 union select {at} from t -- "))),
        form("form_quotes_120kb", bait("'")),
        form("form_letters_120kb", bait("a")),
        form("form_spaces_120kb", bait(" ")),
        form("form_escapes_120kb", bait("%25")),
        form("form_backslashes_120kb", bait("\\x5c")),
        form("form_ampersands_120kb", bait("%26amp;")),
        form("form_path_120kb", bait("../")),
        form("form_comments_120kb", bait("/*/**")),
        get("query_10000_parameters", &format!("/?{}", list(10_000, "&", |at| format!("p{at}=v{at}")))),
        multipart("multipart_50000_parts", &part("", "v").repeat(50_000)),
        multipart("multipart_54000_headers", &part(&headers, "v").repeat(900)),
        multipart("multipart_header_10mb", &part(&format!("\r\nX: {}", "a".repeat(LONG_BYTES)), "v")),
        multipart("multipart_field_10mb", &part("", &fill(WORDS, LONG_BYTES))),
        multipart("multipart_file_10mb", &part("; filename=\"f\"", &fill(WORDS, LONG_BYTES))),
        multipart("multipart_dashes_10mb", &part("; filename=\"f\"", &fill("--\n", LONG_BYTES))),
        with_headers("headers_5000", numbered(5000)),
        with_headers("headers_900", numbered(900)),
        with_headers("header_100kb", std::iter::once(("X".to_owned(), fill(WORDS, 100_000)))),
        with_headers("cookie_1mb", std::iter::once(("Cookie".to_owned(), format!("a={}", fill(WORDS, 1_000_000))))),
        with_headers(
            "cookies_900",
            std::iter::once(("Cookie".to_owned(), list(900, "; ", |at| format!("c{at}=v{at}")))),
        ),
        post("xml_nested", "/", "text/xml", "<a>".repeat(READ_BYTES / 3).into_bytes()),
        post("xml_ampersands", "/", "text/xml", format!("<a>{}</a>", "&".repeat(READ_BYTES)).into_bytes()),
        post(
            "xml_900_attributes",
            "/",
            "text/xml",
            format!("<a {}/>", list(900, " ", |at| format!("a{at}='v'"))).into_bytes(),
        ),
    ]
}
