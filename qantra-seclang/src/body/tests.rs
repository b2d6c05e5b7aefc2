//! Documents as clients and attackers send them, and random bytes.

use proptest::prelude::*;

use super::{form, json, multipart, xml};
use crate::{compile::RuleSet, store::Store, variable::Variable};

fn store() -> Store {
    let mut store = Store::default();
    store.reset(&RuleSet::from_text("").expect("loads"));
    store
}

fn values(store: &Store, variable: Variable) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let items = store.items(variable).iter();
    items.map(|item| (text(store.get(item.key)), text(store.get(store.node(item.node).span)))).collect()
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

const POST: (Variable, Variable) = (Variable::ArgsPost, Variable::ArgsPostNames);
const LIMITS: multipart::Limits =
    multipart::Limits { arguments: 10, files: 10, no_files_bytes: 1000, keep_files: true, cut: false };

#[test]
fn forms() {
    let mut store = store();
    let broken = form::parse(b"a=1+2&b%20c=%zz&&d&=e", b'&', POST, 10, &mut store);
    assert_eq!(broken, Ok(true));
    assert_eq!(values(&store, Variable::ArgsPost), pairs(&[("a", "1 2"), ("b c", "%zz"), ("d", ""), ("", "e")]));
    assert!(form::parse(b"a=1&b=2", b'&', POST, 5, &mut store).is_err());
}

#[test]
fn json_documents() {
    let mut store = store();
    let text = br#"{"a":{"b":"x\u00e9\n"},"c":[1,-2.5e3,{"d":true}],"e":null}"#;
    assert_eq!(json::parse(text, 5, 10, &mut store), Ok(()));
    let expected = [("json.a.b", "x\u{e9}\n"), ("json.c.array_0", "1"), ("json.c.array_1", "-2.5e3")];
    let more = [("json.c.array_2.d", "true"), ("json.e", "")];
    assert_eq!(values(&store, Variable::ArgsPost), pairs(&[&expected[..], &more[..]].concat()));
    for broken in [&b"{\"a\":1"[..], b"[1,]", b"{} x", b"[\"\n\"]", b"", b"[01x]", b"{1:2}"] {
        assert!(json::parse(broken, 5, 100, &mut store).is_err(), "{}", broken.escape_ascii());
    }
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    assert!(json::parse(&deep, 512, 10, &mut store).is_err());
}

#[test]
fn xml_documents() {
    let mut store = store();
    let text = b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>\
                 <a n=\"1 &lt; 2\"><b>x &x; &#65;</b><![CDATA[<c>]]><d e='f'/></a>";
    assert_eq!(xml::parse(text, 10, &mut store), Ok(()));
    assert_eq!(values(&store, Variable::XmlText), pairs(&[("", "x &x; A<c>")]));
    assert_eq!(values(&store, Variable::XmlAttributes), pairs(&[("", "1 < 2"), ("", "f")]));
    for broken in [&b"<a>"[..], b"<a></b>", b"x<a/>", b"<a/><b/>", b"<a b=c/>", b"", b"<!DOCTYPE"] {
        assert!(xml::parse(broken, 10, &mut store).is_err(), "{}", broken.escape_ascii());
    }
}

#[test]
fn multipart_bodies() {
    let mut store = store();
    let body = b"--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n--X\r\n\
        Content-Disposition: form-data; name=\"f\"; filename=\"x\\\".php\"\r\nContent-Type: text/plain\r\n\r\n<?php\r\n--X--\r\n";
    assert_eq!(multipart::parse(body, b"multipart/form-data; boundary=X", LIMITS, &mut store), Ok(()));
    assert_eq!(values(&store, Variable::ArgsPost), pairs(&[("a", "1\r\n2")]));
    assert_eq!(values(&store, Variable::Files), pairs(&[("f", "x\".php")]));
    assert_eq!(values(&store, Variable::FilesTmpContent), pairs(&[("f", "<?php")]));
    assert_eq!(values(&store, Variable::FilesCombinedSize), pairs(&[("", "5")]));
    assert_eq!(store.first(Variable::MultipartStrictError), b"0");
    assert_eq!(store.items(Variable::MultipartPartHeaders).len(), 3);
}

#[test]
fn multipart_counts_what_is_no_file() {
    let part =
        |head: &str, content: &str| format!("--X\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n");
    let long = "a".repeat(1000);
    for (body, fits) in [
        (part("name=\"f\"; filename=\"g\"", &long), true),
        (part("name=\"f\"", &long), false),
        (part(&format!("name=\"f\"\r\nX: {long}"), ""), false),
        (part("name=\"f\"", "").repeat(9), true),
        (part(&format!("name=\"f\"{}", "\r\n a".repeat(300)), ""), false),
    ] {
        let mut store = store();
        let body = format!("{body}--X--\r\n");
        let done = multipart::parse(body.as_bytes(), b"multipart/form-data; boundary=X", LIMITS, &mut store);
        assert_eq!(done, if fits { Ok(()) } else { Err(super::TOO_LONG) }, "{body}");
    }
}

#[test]
fn multipart_oddities_are_flagged() {
    let ok = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--X--\r\n";
    let cases: [(&str, &str, Variable); 8] = [
        ("multipart/form-data; boundary=\"X\"", ok, Variable::MultipartBoundaryQuoted),
        ("multipart/form-data; boundary =X", ok, Variable::MultipartBoundaryWhitespace),
        ("multipart/form-data boundary=X", ok, Variable::MultipartMissingSemicolon),
        ("multipart/form-data; boundary=X", &format!("x\r\n{ok}"), Variable::MultipartDataBefore),
        ("multipart/form-data; boundary=X", &format!("{ok}x"), Variable::MultipartDataAfter),
        ("multipart/form-data; boundary=X", &ok.replace("\r\n", "\n"), Variable::MultipartLfLine),
        ("multipart/form-data; boundary=X", &ok.replace("1\r\n", "--Y\r\n"), Variable::MultipartUnmatchedBoundary),
        ("multipart/form-data; boundary=X", &ok.replace("\"a\"", "'a'"), Variable::MultipartInvalidQuoting),
    ];
    for (content_type, body, flag) in cases {
        let mut store = store();
        let _ = multipart::parse(body.as_bytes(), content_type.as_bytes(), LIMITS, &mut store);
        assert_eq!(store.first(flag), b"1", "{content_type} {body}");
    }
    let (name, value) = (ok.replace("\"a\"", "\"a\";b\"; c=\"d\""), ok.replace("\"a\"", "\"a\"; c=d\"e\""));
    for broken in [
        name.as_str(),
        &value,
        "",
        "--X\r\n",
        "--X--\r\n",
        &ok[..ok.len() - 7],
        &ok.replace("--X--", "--Xy"),
        &ok.replace(": form", " form"),
    ] {
        let mut store = store();
        let done = multipart::parse(broken.as_bytes(), b"multipart/form-data; boundary=X", LIMITS, &mut store);
        assert!(done.is_err(), "{broken:?}");
        assert_eq!(store.first(Variable::MultipartStrictError), b"1");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut store = store();
        let _ = form::parse(&body, b'&', POST, 10, &mut store);
        let _ = json::parse(&body, 8, 10, &mut store);
        let _ = xml::parse(&body, 10, &mut store);
        let _ = multipart::parse(&body, &body, LIMITS, &mut store);
    }

    #[test]
    fn random_documents_never_panic(body in "[-X\r\n:;=\"a<>/&!\\[\\]{},0-9' u]{0,200}") {
        let mut store = store();
        let _ = json::parse(body.as_bytes(), 8, 10, &mut store);
        let _ = xml::parse(body.as_bytes(), 10, &mut store);
        let _ = multipart::parse(body.as_bytes(), b"multipart/form-data; boundary=X", LIMITS, &mut store);
    }
}
