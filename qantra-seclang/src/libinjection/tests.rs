//! The verdicts of the C library's own test data, and of the crate libinjectionrs on random values. The data is not
//! committed: it is looked for at `../shared/data` or `QANTRA_DATA`, and the test says so when it skips.

use std::{fs, path::PathBuf, time::Instant};

use proptest::prelude::*;

use super::*;

fn data() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("QANTRA_DATA").map_or_else(beside, PathBuf::from).join("libinjection/tests");
    folder.is_dir().then_some(folder)
}

fn print_of(value: &[u8]) -> String {
    sqli(value).map(|found| String::from_utf8_lossy(found.as_bytes()).into_owned()).unwrap_or_default()
}

/// Input and expectation of each file of the C library's tests of a kind.
fn cases(kind: &str) -> Option<Vec<(String, Vec<u8>, String)>> {
    let mut cases = Vec::new();
    for entry in fs::read_dir(data()?).expect("lists") {
        let path = entry.expect("reads").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with(kind) {
            continue;
        }
        // Some inputs are no UTF-8.
        let text = fs::read(&path).expect("reads");
        let after = |mark: &[u8]| memchr::memmem::find(&text, mark).map(|at| (at, at + mark.len()));
        let (Some((_, begin)), Some((end, after))) = (after(b"--INPUT--"), after(b"--EXPECTED--")) else {
            panic!("{name} has other parts");
        };
        let expected = String::from_utf8_lossy(text[after..].trim_ascii()).into_owned();
        cases.push((name, text[begin..end].trim_ascii().to_vec(), expected));
    }
    Some(cases)
}

#[test]
fn verdicts_are_those_of_the_c_library() {
    let Some(cases) = cases("test-sqli-") else {
        println!("skipped: no libinjection data; set QANTRA_DATA");
        return;
    };
    assert!(cases.len() >= 50, "{}", cases.len());
    for (name, input, expected) in cases {
        assert_eq!(print_of(&input), expected, "{name}");
    }
}

/// A line of the C library's tests says the kind of a token and its text, with the quotes that it has.
fn written(token: &Token<'_>) -> String {
    let quote = |quote: u8| if quote == 0 { String::new() } else { char::from(quote).to_string() };
    let text = String::from_utf8_lossy(token.text);
    let kind = char::from(token.kind);
    match token.kind {
        kind::STRING | kind::VARIABLE => format!("{kind} {}{text}{}", quote(token.open), quote(token.close)),
        _ => format!("{kind} {text}"),
    }
}

#[test]
fn tokens_are_those_of_the_c_library() {
    for (kind, folds) in [("test-tokens-", false), ("test-folding-", true)] {
        let Some(cases) = cases(kind) else {
            println!("skipped: no libinjection data; set QANTRA_DATA");
            return;
        };
        let mut wrong = Vec::new();
        assert!(cases.len() >= 100, "{kind}: {}", cases.len());
        for (name, input, expected) in &cases {
            let reading = Reading { quote: None, mysql: name.contains("mysql") };
            let words = Words::get();
            let found: Vec<String> = if folds {
                fold::fold(input, reading, words).tokens().iter().map(written).collect()
            } else {
                let mut reader = token::Reader::new(input, reading, words);
                std::iter::from_fn(|| reader.next()).map(|token| written(&token)).collect()
            };
            // The sign before a quoted name is no part of the token.
            let same = |text: &str| {
                text.replace('@', "").to_ascii_lowercase().split_whitespace().collect::<Vec<_>>().join(" ")
            };
            if same(&found.join("\n")) != same(expected) {
                wrong.push(format!("{name}: {:?} {found:?} {expected:?}", String::from_utf8_lossy(input)));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test is about time")]
fn hostile_values_cost_time_in_proportion() {
    for unit in ["'", "$a", "q'(", "/*", "a.b", "\\", "\\'", "@`", "#-", "1,", "((", "x'0", "$a$", "`"] {
        let value = unit.repeat(64 * 1024 / unit.len());
        let begin = Instant::now();
        let _ = sqli(value.as_bytes());
        // A millisecond where nothing else runs; a quadratic search would take many seconds.
        assert!(begin.elapsed().as_millis() < 1000, "{unit}");
    }
}

/// Where the crate and the C library differ, the C library is followed: INTO in small letters, two words that are a name,
/// and `sp_password` or `_` in values that are no UTF-8.
fn follows_c(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value).to_ascii_lowercase();
    text.contains("into") || text.contains("in boolean") || std::str::from_utf8(value).is_err()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]
    #[test]
    fn verdicts_are_those_of_the_crate(
        value in "(select|union|all|from|where|or|and|not|like|in|user|null|if|sleep|into|outfile|collate|int|x|1|0x1f|1e5|1.|\\.|'|\"|`|\\\\|#|--|-|/\\*|\\*/|!|@|@@|\\(|\\)|\\{|\\}|,|;|=|<=>|<|::|:|&&|\\|\\||\\+|%|\\$|\\$a\\$|q'\\[|\\]'|u&'|n'|e'|x'0'|b'|\\[|\\]|\n| |\\?|é){0,14}",
    ) {
        let theirs = libinjectionrs::detect_sqli(value.as_bytes());
        let ours = sqli(value.as_bytes());
        if !follows_c(value.as_bytes()) {
            prop_assert_eq!(ours.is_some(), theirs.is_injection(), "{}", value);
        }
    }
}
