//! One value that matches and one that does not, for every operator.

use std::sync::Arc;

use super::{Operator, OperatorContext};
use crate::{
    parse::OperatorAst,
    regex::{Budget, Pattern},
    source::MemoryFiles,
    template::TxNames,
};

fn compile(text: &str) -> Result<Operator, String> {
    let files = MemoryFiles::new().with("words.data", "# c\nfoo bar\n\nbaz\n").with("nets.data", "10.0.0.0/8 # c\n");
    let mut names = TxNames::default();
    let mut context = OperatorContext { files: &files, file: "rules.conf", names: &mut names, backtrack_limit: 1000 };
    let compiled = Operator::compile(&OperatorAst::parse(text), &mut context).map_err(|reason| reason.to_string())?;
    // The loader compiles patterns when it knows which rules run.
    Ok(match &compiled {
        Operator::RxTemplate(template) => {
            let text = String::from_utf8_lossy(template.constant().expect("no macros")).into_owned();
            Operator::Rx(Arc::new(Pattern::compile(&text, false, 1000).expect("compiles")))
        }
        _ => compiled,
    })
}

#[track_caller]
fn check(operator: &str, matches: &[&str], others: &[&str]) {
    let operator = compile(operator).expect("compiles");
    let argument = operator.template().and_then(|template| template.constant()).unwrap_or_default().to_vec();
    let test = |value: &str| {
        operator.test(value.as_bytes(), &argument, true, &mut Budget::default()).expect("in limits").is_some()
    };
    for value in matches {
        assert!(test(value), "{operator:?} should match {value:?}");
    }
    for value in others {
        assert!(!test(value), "{operator:?} should not match {value:?}");
    }
}

#[test]
fn texts() {
    check("@rx ^a+$", &["aa"], &["ab", ""]);
    check("@pm foo |41|b", &["xFOO", "ab"], &["fo"]);
    check("@pmFromFile words.data", &["a foo bar", "BAZ"], &["foo", "# c"]);
    check("@beginsWith ab", &["abc"], &["cab"]);
    check("@endsWith bc", &["abc"], &["bca"]);
    check("@contains b", &["abc"], &["ac", "B"]);
    check("@containsWord ab", &["x ab,", "ab"], &["abc", "_ab"]);
    check("@streq ab", &["ab"], &["abc"]);
    check("@within GET HEAD", &["GET", "", "T H"], &["PUT"]);
    check("@strmatch ab", &["xabx"], &["a b"]);
}

#[test]
fn numbers() {
    check("@eq 3", &["3", "3x"], &["4", ""]);
    check("@ge 3", &["3", "4"], &["2"]);
    check("@gt 3", &["4"], &["3"]);
    check("@le 3", &["3"], &["4"]);
    check("@lt 3", &["2", "x"], &["3"]);
}

#[test]
fn encodings() {
    check("@validateByteRange 32-126,9", &["a\n"], &["a\tb"]);
    check("@validateUrlEncoding", &["%zz", "%4", "%"], &["%41", "a"]);
    check("@validateUtf8Encoding", &[], &["é", "a"]);
    assert!(
        compile("@validateUtf8Encoding")
            .expect("compiles")
            .test(b"\xff", b"", false, &mut Budget::default())
            .flatten()
            .is_some()
    );
}

#[test]
fn injections() {
    check("@detectSQLi", &["1' OR '1'='1", "1 union select 2"], &["hello", "12", "it is"]);
    check("@detectXSS", &["<script>alert(1)</script>", "x onerror=alert(1)"], &["hello", "a<b"]);
}

#[test]
fn addresses_and_check_digits() {
    check("@ipMatch 10.0.0.0/8,::1", &["10.1.2.3", "::1", "::ffff:10.0.0.1"], &["11.0.0.1", "x"]);
    check("@ipMatchFromFile nets.data", &["10.9.9.9"], &["9.9.9.9"]);
    check("@verifyCC \\d{13,16}", &["4111111111111111"], &["4111111111111112"]);
    check("@verifySSN \\d{3}-?\\d{2}-?\\d{4}", &["123-46-6789"], &["000-12-3456", "666-12-3456"]);
    check("@verifyCPF [0-9.-]{11,14}", &["529.982.247-25"], &["529.982.247-26"]);
    check("@verifySVNR \\d{10}", &["1237010180"], &["1238010180"]);
}

#[test]
fn refusals_name_the_operator() {
    for (text, said) in [
        ("@inspectFile x", "operator `inspectfile` is not supported"),
        ("@nope x", "unknown operator `nope`"),
        ("@pmFromFile none.data", "cannot read `none.data`"),
        ("@rx (", "does not compile"),
        ("@ipMatch 1.2.3", "network `1.2.3`"),
    ] {
        let error = compile(text).expect_err("refused");
        assert!(error.contains(said), "{text}: {error}");
    }
}
