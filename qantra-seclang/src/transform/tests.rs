//! Vectors written from the ModSecurity reference, and properties that hold for every input.

use proptest::prelude::*;

use super::Transform;

fn apply(name: &str, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    Transform::parse(name).expect("known").apply(input, &mut out);
    out
}

#[track_caller]
fn check(name: &str, cases: &[(&[u8], &[u8])]) {
    for (input, expected) in cases {
        let got = apply(name, input);
        assert_eq!(got, *expected, "{name} of {:?} gave {:?}", input.escape_ascii(), got.escape_ascii());
    }
}

#[test]
fn url() {
    check("urlDecode", &[(b"a%20b+c%zz%4", b"a b c%zz%4"), (b"%00%ff", b"\0\xff")]);
    check("urlDecodeUni", &[(b"%u0041%uff1c%u00e9", b"A<\xe9"), (b"%u12%41%U0042", b"%u12AB"), (b"%", b"%")]);
    check("urlEncode", &[(b"a b/c*", b"a+b%2fc*")]);
    check("utf8toUnicode", &[("é’😀".as_bytes(), b"%u00e9%u2019%u1f600"), (b"a\xff\xc3", b"a\xff\xc3")]);
}

#[test]
fn escapes() {
    check("jsDecode", &[(br"\x41\u0042\u0uff\103\n\q", b"ABu0uffC\nq"), (br"\uff1e", b">"), (b"a\\", b"a\\")]);
    check("cssDecode", &[(br"\41 b\000042\ff1c", b"AbB<"), (b"a\\\nb\\zc\\", b"abzc"), (br"\7", b"\x07")]);
    check("escapeSeqDecode", &[(br"\x41\101\t\\\?\z", b"AA\t\\?z")]);
    check("htmlEntityDecode", &[(b"&lt;a&#62;&#x41&amp&nbsp;&foo;&", b"<a>A&\xa0&foo;&"), (b"&#;", b"&#;")]);
}

#[test]
fn paths() {
    check(
        "normalizePath",
        &[
            (b"/dir/foo//bar", b"/dir/foo/bar"),
            (b"dir/foo//bar/", b"dir/foo/bar/"),
            (b"dir/../foo", b"foo"),
            (b"dir/../../foo", b"../foo"),
            (b"dir/./.././../../foo/bar/./", b"../../foo/bar/"),
            (b"dir/subdir/subsubdir/../..", b"dir"),
            (b"/a/../../../etc/passwd", b"/etc/passwd"),
            (b"/", b"/"),
            (b"", b""),
        ],
    );
    check("normalizePathWin", &[(br"dir\foo\\bar\..\", b"dir/foo/")]);
}

#[test]
fn text() {
    check("cmdLine", &[(b"C^OMM\"AND, /c DIR;  (x", b"command/c dir(x")]);
    check("compressWhitespace", &[(b" a \t\xa0\x0b b ", b" a b ")]);
    check("removeWhitespace", &[(b" a \t\xa0b ", b"ab")]);
    check("trim", &[(b" \ta b\n", b"a b")]);
    check("removeNulls", &[(b"a\0b", b"ab")]);
    check("replaceNulls", &[(b"a\0b", b"a b")]);
    check("lowercase", &[(b"AbZ\xc9", b"abz\xc9")]);
    check("replaceComments", &[(b"a/**/b/*c", b"a b "), (b"a*/b", b"a*/b")]);
    check("removeComments", &[(b"a/*x*/b<!--c-->d--e", b"abd"), (b"a#b", b"a")]);
    check("removeCommentsChar", &[(b"a/*x*/b--c#d", b"axbcd")]);
}

#[test]
fn encodings() {
    check("base64Decode", &[(b"VGVzdENhc2U=", b"TestCase"), (b"VGVz.dENh", b"Tes")]);
    check("base64DecodeExt", &[(b"VGV z.dENhc2U=", b"TestCase")]);
    check("base64Encode", &[(b"TestCase", b"VGVzdENhc2U="), (b"ab", b"YWI="), (b"abc", b"YWJj")]);
    check("hexEncode", &[(b"\x00Az", b"00417a")]);
    check("hexDecode", &[(b"00417a7", b"\x00Az")]);
    check("sqlHexDecode", &[(b"x 0x414243 0xzz", b"x ABC 0xzz")]);
    check("length", &[(b"", b"0"), (b"12345678901", b"11")]);
    check("sha1", &[(b"", b"\xda\x39\xa3\xee\x5e\x6b\x4b\x0d\x32\x55\xbf\xef\x95\x60\x18\x90\xaf\xd8\x07\x09")]);
    check("md5", &[(b"", b"\xd4\x1d\x8c\xd9\x8f\x00\xb2\x04\xe9\x80\x09\x98\xec\xf8\x42\x7e")]);
    check("parityEven7bit", &[(b"ac", b"\xe1c")]);
    check("parityOdd7bit", &[(b"ac", b"a\xe3")]);
}

proptest! {
    /// No transformation panics, grows without bound, or changes a value that lacks its trigger bytes.
    #[test]
    fn bounded_and_true_to_their_triggers(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        let present = crate::bytes::ByteSet::present(&input);
        for transform in Transform::ALL {
            let mut out = Vec::new();
            transform.apply(&input, &mut out);
            prop_assert!(out.len() <= 4 * input.len() + 20, "{}", transform.name());
            if transform.trigger().is_some_and(|trigger| !trigger.meets(&present)) {
                prop_assert_eq!(&out, &input, "{}", transform.name());
            }
        }
    }

    #[test]
    fn decoding_undoes_encoding(input in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert_eq!(apply("base64Decode", &apply("base64Encode", &input)), input.clone());
        prop_assert_eq!(apply("hexDecode", &apply("hexEncode", &input)), input.clone());
        prop_assert_eq!(apply("urlDecode", &apply("urlEncode", &input)), input);
    }

    #[test]
    fn normal_paths_stay(input in "[a-c./]{0,24}") {
        let once = apply("normalizePath", input.as_bytes());
        prop_assert_eq!(apply("normalizePath", &once), once);
    }
}
