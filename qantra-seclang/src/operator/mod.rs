//! Enters: an operator's name and argument, later a value. Leaves: whether it matches and where. It must never look
//! anything up by itself: what needs the network is asked of the host.

mod address;
mod check;
mod injection;
mod text;

pub(crate) use address::AddressSet;
pub(crate) use text::PmSet;

use std::sync::Arc;

use crate::{
    bytes::ByteSet,
    error::{Reason, cut},
    parse::OperatorAst,
    regex::{Budget, Captures, Pattern, Requirement},
    source::{FileProvider, relative_to},
    template::{Template, TxNames, number},
};

/// Comparisons of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ge,
    Gt,
    Le,
    Lt,
    Ne,
}

impl Comparison {
    pub(crate) const fn holds(self, left: i64, right: i64) -> bool {
        match self {
            Self::Eq => left == right,
            Self::Ge => left >= right,
            Self::Gt => left > right,
            Self::Le => left <= right,
            Self::Lt => left < right,
            Self::Ne => left != right,
        }
    }
}

/// Comparisons of texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextTest {
    BeginsWith,
    Contains,
    ContainsWord,
    EndsWith,
    Equal,
    StrMatch,
    Within,
}

/// Numbers with check digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checked {
    CreditCard,
    Cpf,
    Ssn,
    Svnr,
}

/// What a rule does with a value.
#[derive(Debug)]
pub(crate) enum Operator {
    Always,
    Never,
    Rx(Arc<Pattern>),
    /// A pattern that is not compiled yet: it is not known what its macros stand for, or whether its rule ever runs.
    RxTemplate(Template),
    Pm(PmSet),
    Text(TextTest, Template),
    Number(Comparison, Template),
    /// Matches when a byte is outside of the set.
    ByteRange(ByteSet),
    UrlEncoding,
    Utf8,
    Sqli,
    Xss,
    Address(AddressSet),
    Checked(Checked, Arc<Pattern>),
    /// Asked of the host.
    Geo,
    /// Asked of the host, for this list.
    BlockList(String),
}

/// What operators are made from.
pub(crate) struct OperatorContext<'a> {
    pub(crate) files: &'a dyn FileProvider,
    /// The rule's file: data files are relative to it.
    pub(crate) file: &'a str,
    pub(crate) names: &'a mut TxNames,
    pub(crate) backtrack_limit: usize,
}

impl Operator {
    pub(crate) fn compile(ast: &OperatorAst, context: &mut OperatorContext<'_>) -> Result<Self, Reason> {
        let argument = ast.argument.as_str();
        let text = |test, context: &mut OperatorContext<'_>| {
            Ok(Self::Text(test, Template::parse(argument.trim_end(), context.names)?))
        };
        let compare = |comparison, context: &mut OperatorContext<'_>| {
            Ok(Self::Number(comparison, Template::parse(argument, context.names)?))
        };
        let checked = |kind, context: &mut OperatorContext<'_>| {
            Ok(Self::Checked(kind, Arc::new(Pattern::compile(argument, false, context.backtrack_limit)?)))
        };
        match ast.name.to_ascii_lowercase().as_str() {
            "rx" | "rxglobal" => {
                if argument.contains("%{") {
                    return Ok(Self::RxTemplate(Template::parse(argument, context.names)?));
                }
                // A pattern of a rule that never runs is checked, and not compiled.
                Pattern::check(argument)?;
                Ok(Self::RxTemplate(Template::text(argument)))
            }
            "pm" => Ok(Self::Pm(PmSet::words(argument)?)),
            "pmf" | "pmfromfile" => Ok(Self::Pm(PmSet::lines(&read_all(argument, context)?)?)),
            "beginswith" => text(TextTest::BeginsWith, context),
            "contains" => text(TextTest::Contains, context),
            "containsword" => text(TextTest::ContainsWord, context),
            "endswith" => text(TextTest::EndsWith, context),
            "streq" => text(TextTest::Equal, context),
            "strmatch" => text(TextTest::StrMatch, context),
            "within" => text(TextTest::Within, context),
            "eq" => compare(Comparison::Eq, context),
            "ge" => compare(Comparison::Ge, context),
            "gt" => compare(Comparison::Gt, context),
            "le" => compare(Comparison::Le, context),
            "lt" => compare(Comparison::Lt, context),
            "ne" => compare(Comparison::Ne, context),
            "validatebyterange" => Ok(Self::ByteRange(byte_range(argument)?)),
            "validateurlencoding" => Ok(Self::UrlEncoding),
            "validateutf8encoding" => Ok(Self::Utf8),
            "detectsqli" => {
                crate::libinjection::prepare();
                Ok(Self::Sqli)
            }
            "detectxss" => Ok(Self::Xss),
            "ipmatch" => Ok(Self::Address(AddressSet::list(argument)?)),
            "ipmatchf" | "ipmatchfromfile" => Ok(Self::Address(AddressSet::lines(&read_all(argument, context)?)?)),
            "verifycc" => checked(Checked::CreditCard, context),
            "verifycpf" => checked(Checked::Cpf, context),
            "verifyssn" => checked(Checked::Ssn, context),
            "verifysvnr" => checked(Checked::Svnr, context),
            "unconditionalmatch" => Ok(Self::Always),
            "nomatch" => Ok(Self::Never),
            "geolookup" => Ok(Self::Geo),
            "rbl" => Ok(Self::BlockList(argument.to_owned())),
            other => Err(refused(other)),
        }
    }

    /// What a value must contain to match. Patterns tell it when they are compiled; word lists give theirs away.
    pub(crate) fn requirement(&mut self) -> Requirement {
        match self {
            Self::Pm(set) => Requirement::Literals(std::mem::take(&mut set.literals)),
            Self::Text(
                TextTest::BeginsWith
                | TextTest::Contains
                | TextTest::ContainsWord
                | TextTest::EndsWith
                | TextTest::Equal
                | TextTest::StrMatch,
                template,
            ) => match template.constant() {
                Some(text) if !text.is_empty() => Requirement::Literals(vec![text.to_ascii_lowercase()]),
                _ => Requirement::Nothing,
            },
            Self::ByteRange(allowed) => Requirement::Bytes(allowed.inverted()),
            Self::UrlEncoding => Requirement::Bytes(ByteSet::of(b"%")),
            Self::Utf8 => Requirement::Bytes(ByteSet::range(0x80, 0xff)),
            // Tags need `<`, and attributes are judged with their values only.
            Self::Xss => Requirement::Bytes(ByteSet::of(b"<=")),
            Self::Sqli => Requirement::Bytes(injection::beyond_words()),
            _ => Requirement::Nothing,
        }
    }

    /// The text to expand before a value is looked at.
    pub(crate) fn template(&self) -> Option<&Template> {
        match self {
            Self::Text(_, template) | Self::Number(_, template) => Some(template),
            _ => None,
        }
    }

    /// Whether it reads the value alone, and at a cost that is worth to be spared when it is known to find nothing.
    pub(crate) const fn is_search(&self) -> bool {
        matches!(self, Self::Rx(_) | Self::Pm(_) | Self::Sqli | Self::Xss | Self::Checked(..))
    }

    /// Whether a value matches, and where. `argument` is the expanded template. `None` when a limit ended the search.
    pub(crate) fn test(
        &self,
        value: &[u8],
        argument: &[u8],
        capture: bool,
        budget: &mut Budget,
    ) -> Option<Option<Captures>> {
        let yes = |matches: bool| Some(matches.then(|| Captures::whole(0, value.len())));
        match self {
            Self::Always => yes(true),
            Self::Never | Self::RxTemplate(_) | Self::Geo | Self::BlockList(_) => yes(false),
            Self::Rx(pattern) if capture => pattern.captures(value, budget),
            Self::Rx(pattern) => {
                let found = pattern.is_match_within(value, budget)?;
                yes(found)
            }
            Self::Pm(set) => Some(set.find(value)),
            Self::Text(test, _) => yes(test.holds(value, argument)),
            Self::Number(comparison, _) => yes(comparison.holds(number(value), number(argument))),
            Self::ByteRange(allowed) => yes(value.iter().any(|byte| !allowed.has(*byte))),
            Self::UrlEncoding => yes(!crate::transform::is_well_encoded(value)),
            Self::Utf8 => yes(std::str::from_utf8(value).is_err()),
            Self::Sqli => Some(injection::sqli(value)),
            Self::Xss => yes(injection::xss(value)),
            Self::Address(set) => yes(set.contains(value)),
            Self::Checked(kind, pattern) => Some(check::find(*kind, pattern, value, budget)),
        }
    }
}

fn refused(name: &str) -> Reason {
    let why = match name {
        "inspectfile" => "the engine starts no programs",
        "fuzzyhash" => "the engine has no ssdeep",
        "gsblookup" => "Google's database is gone",
        "rsub" | "validatehash" => "the engine does not change bodies",
        "validatedtd" | "validateschema" => "schemas are not read",
        _ => return Reason::Unknown { kind: "operator", name: cut(name) },
    };
    Reason::Unsupported { kind: "operator", name: name.to_owned(), why }
}

fn read_all(names: &str, context: &OperatorContext<'_>) -> Result<Vec<u8>, Reason> {
    let mut all = Vec::new();
    for name in names.split_whitespace() {
        let name = relative_to(context.file, name);
        all.extend(context.files.read(&name).map_err(|why| Reason::File { name, why })?);
        all.push(b'\n');
    }
    Ok(all)
}

/// Ranges such as `9,10,32-126`.
fn byte_range(text: &str) -> Result<ByteSet, Reason> {
    let mut set = ByteSet::EMPTY;
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.trim().parse::<u8>(), last.trim().parse::<u8>()) {
            (Ok(first), Ok(last)) if first <= last => set = set.union(&ByteSet::range(first, last)),
            _ => return Err(Reason::Invalid { what: "byte range", value: cut(part), expected: "range from 0 to 255" }),
        }
    }
    Ok(set)
}

#[cfg(test)]
mod tests;
