//! Enters: bytes and the name of a transformation. Leaves: the bytes transformed, as ModSecurity v3 does it. It must never
//! fail, and never write more than four times what it reads (`urlEncode` and `utf8toUnicode` are the widest).

mod comment;
mod encode;
mod escape;
mod path;
mod text;
mod url;

#[cfg(test)]
mod tests;

pub(crate) use url::{UnicodeMap, decode as url_decode, is_well_encoded};

use std::io::Write as _;

use crate::bytes::ByteSet;

macro_rules! transforms {
    ($($variant:ident $($name:literal)|+),* $(,)?) => {
        /// What is done to a value before an operator looks at it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each is named in the ModSecurity reference")]
        pub enum Transform { $($variant),* }

        impl Transform {
            /// Every transformation.
            pub const ALL: &'static [Transform] = &[$(Transform::$variant),*];

            /// Finds one by its name in any case.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                $($(if name.eq_ignore_ascii_case($name) { return Some(Self::$variant); })+)*
                None
            }

            /// Its name in rules.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => first(&[$($name),+])),* }
            }
        }
    };
}

const fn first(names: &[&'static str]) -> &'static str {
    names[0]
}

transforms! {
    Base64Decode "base64Decode",
    Base64DecodeExt "base64DecodeExt",
    Base64Encode "base64Encode",
    CmdLine "cmdLine",
    CompressWhitespace "compressWhitespace",
    CssDecode "cssDecode",
    EscapeSeqDecode "escapeSeqDecode",
    HexDecode "hexDecode",
    HexEncode "hexEncode",
    HtmlEntityDecode "htmlEntityDecode",
    JsDecode "jsDecode",
    Length "length",
    Lowercase "lowercase",
    Md5 "md5",
    NormalizePath "normalizePath" | "normalisePath",
    NormalizePathWin "normalizePathWin" | "normalisePathWin",
    ParityEven7bit "parityEven7bit",
    ParityOdd7bit "parityOdd7bit",
    ParityZero7bit "parityZero7bit",
    RemoveComments "removeComments",
    RemoveCommentsChar "removeCommentsChar",
    RemoveNulls "removeNulls",
    RemoveWhitespace "removeWhitespace",
    ReplaceComments "replaceComments",
    ReplaceNulls "replaceNulls",
    Sha1 "sha1",
    SqlHexDecode "sqlHexDecode",
    Trim "trim",
    TrimLeft "trimLeft",
    TrimRight "trimRight",
    Uppercase "uppercase",
    UrlDecode "urlDecode",
    UrlDecodeUni "urlDecodeUni",
    UrlEncode "urlEncode",
    Utf8ToUnicode "utf8toUnicode",
}

/// White space of C's `isspace`.
pub(crate) const SPACES: &[u8] = b" \t\n\r\x0b\x0c";

impl Transform {
    /// The bytes without which it changes nothing; `None`: it always may.
    pub(crate) fn trigger(self) -> Option<ByteSet> {
        let set = match self {
            Self::UrlDecode | Self::UrlDecodeUni => ByteSet::of(b"%+"),
            Self::Lowercase => ByteSet::range(b'A', b'Z'),
            Self::Uppercase => ByteSet::range(b'a', b'z'),
            Self::RemoveNulls | Self::ReplaceNulls => ByteSet::of(b"\0"),
            Self::JsDecode | Self::CssDecode | Self::EscapeSeqDecode => ByteSet::of(b"\\"),
            Self::HtmlEntityDecode => ByteSet::of(b"&"),
            Self::Utf8ToUnicode | Self::ParityZero7bit => ByteSet::range(0x80, 0xff),
            Self::ReplaceComments => ByteSet::of(b"/"),
            Self::RemoveComments | Self::RemoveCommentsChar => ByteSet::of(b"/*-#<"),
            Self::RemoveWhitespace | Self::CompressWhitespace => ByteSet::of(SPACES).with(b"\xa0"),
            Self::Trim | Self::TrimLeft | Self::TrimRight => ByteSet::of(SPACES),
            Self::NormalizePath => ByteSet::of(b"/."),
            Self::NormalizePathWin => ByteSet::of(b"/.\\"),
            Self::CmdLine => ByteSet::range(b'A', b'Z').with(b"\\\"'^ ,;\t\r\n"),
            Self::SqlHexDecode => ByteSet::of(b"xX"),
            _ => return None,
        };
        Some(set)
    }

    /// Writes the transformed bytes into `out`, which is cleared first.
    pub fn apply(self, input: &[u8], out: &mut Vec<u8>) {
        self.apply_mapped(input, None, out);
    }

    /// Whether it may change a text: `false` is certain, and spares the work.
    #[must_use]
    pub fn may_change(self, input: &[u8]) -> bool {
        self.trigger().is_none_or(|trigger| trigger.meets(&ByteSet::present(input)))
    }

    /// As [`Transform::apply`], with the code page of `SecUnicodeMapFile`.
    pub(crate) fn apply_mapped(self, input: &[u8], map: Option<&UnicodeMap>, out: &mut Vec<u8>) {
        out.clear();
        match self {
            Self::Base64Decode => encode::base64_decode(input, false, out),
            Self::Base64DecodeExt => encode::base64_decode(input, true, out),
            Self::Base64Encode => encode::base64_encode(input, out),
            Self::CmdLine => text::cmd_line(input, out),
            Self::CompressWhitespace => text::compress_whitespace(input, out),
            Self::CssDecode => escape::css(input, out),
            Self::EscapeSeqDecode => escape::ansi_c(input, out),
            Self::HexDecode => encode::hex_decode(input, out),
            Self::HexEncode => encode::hex_encode(input, out),
            Self::HtmlEntityDecode => escape::html(input, out),
            Self::JsDecode => escape::js(input, out),
            Self::Length => {
                let _ = write!(out, "{}", input.len());
            }
            Self::Lowercase => out.extend(input.iter().map(u8::to_ascii_lowercase)),
            Self::Uppercase => out.extend(input.iter().map(u8::to_ascii_uppercase)),
            Self::Md5 => encode::md5(input, out),
            Self::Sha1 => encode::sha1(input, out),
            Self::NormalizePath => path::normalize(input, false, out),
            Self::NormalizePathWin => path::normalize(input, true, out),
            Self::ParityEven7bit => out.extend(input.iter().map(|b| encode::parity(*b, 0))),
            Self::ParityOdd7bit => out.extend(input.iter().map(|b| encode::parity(*b, 1))),
            Self::ParityZero7bit => out.extend(input.iter().map(|b| b & 0x7f)),
            Self::RemoveComments => comment::remove(input, out),
            Self::RemoveCommentsChar => comment::remove_signs(input, out),
            Self::ReplaceComments => comment::replace(input, out),
            Self::RemoveNulls => out.extend(input.iter().filter(|b| **b != 0)),
            Self::ReplaceNulls => out.extend(input.iter().map(|b| if *b == 0 { b' ' } else { *b })),
            Self::RemoveWhitespace => out.extend(input.iter().filter(|b| !text::is_space_or_nbsp(**b))),
            Self::SqlHexDecode => encode::sql_hex_decode(input, out),
            Self::Trim => out.extend_from_slice(text::trim_left(text::trim_right(input))),
            Self::TrimLeft => out.extend_from_slice(text::trim_left(input)),
            Self::TrimRight => out.extend_from_slice(text::trim_right(input)),
            Self::UrlDecode => url::decode(input, out),
            Self::UrlDecodeUni => url::decode_unicode(input, map, out),
            Self::UrlEncode => url::encode(input, out),
            Self::Utf8ToUnicode => url::utf8_to_unicode(input, out),
        }
    }
}

/// The value of a hexadecimal digit.
pub(crate) const fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The byte that two hexadecimal digits stand for.
pub(crate) fn hex_pair(input: &[u8], at: usize) -> Option<u8> {
    let high = hex_digit(*input.get(at)?)?;
    let low = hex_digit(*input.get(at + 1)?)?;
    Some(high << 4 | low)
}
