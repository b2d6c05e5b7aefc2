//! The verdicts of libinjection's own C test data. The data is not committed: it is looked for at `../shared/data` or
//! `QANTRA_DATA`, and the test says so when it skips.

use std::{fs, path::PathBuf};

use libinjectionrs::detect_sqli;

fn data() -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let folder = std::env::var_os("QANTRA_DATA").map_or_else(beside, PathBuf::from).join("libinjection/tests");
    folder.is_dir().then_some(folder)
}

#[test]
fn verdicts_are_those_of_the_c_library() {
    let Some(folder) = data() else {
        println!("skipped: no libinjection data; set QANTRA_DATA");
        return;
    };
    let mut wrong = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir(folder).expect("lists") {
        let path = entry.expect("reads").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with("test-sqli-") {
            continue;
        }
        let text = fs::read(&path).expect("reads");
        let text = String::from_utf8_lossy(&text).into_owned();
        let parts = text.split_once("--INPUT--").and_then(|(_, rest)| rest.split_once("--EXPECTED--"));
        let (input, expected) = parts.unwrap_or_else(|| panic!("{name} has other parts"));
        let expected = expected.trim();
        let result = detect_sqli(input.trim().as_bytes());
        let found =
            result.fingerprint.as_ref().filter(|_| result.is_injection()).map(|print| print.as_str().to_owned());
        count += 1;
        if found.unwrap_or_default() != expected {
            wrong.push(format!("{name}: {input:?} {expected:?}"));
        }
    }
    assert!(count >= 50, "{count}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
