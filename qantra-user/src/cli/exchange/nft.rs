//! Sets of nftables: what `nft list set` and files for `nft -f` say. Written are sets of single addresses and sets of
//! prefixes apart: an interval set refuses an element that lies inside another.

use std::io::{self, BufRead, Write};

use ipnet::IpNet;

use super::{Each, Entry, duration, lines::Lines, net_of, one_line, plain::range, short};
use crate::{cli::time::Lasting, decide::Scope};

/// Longest comment that nftables takes, in bytes.
const COMMENT_BYTES_MAX: usize = 124;
/// Most tokens that one element can have.
const TOKENS_MAX: usize = 32;

/// Where the reader is in the file's grammar, of which it knows as much as it needs.
#[derive(Debug, Default)]
struct Reader {
    /// The running statement's words, of which only the newest matter.
    before: Vec<String>,
    /// The running element's words, while inside `elements = { … }`.
    element: Option<Vec<String>>,
}

pub(super) fn read(input: &mut dyn BufRead, each: &mut Each<'_>) -> io::Result<()> {
    let mut lines = Lines::new(input);
    let mut reader = Reader::default();
    let mut last = 0;
    while let Some((number, line)) = lines.next()? {
        last = number;
        let goes_on = match line {
            Ok(line) => reader.line(number, line, each),
            Err(why) => each(number, Err(why)),
        };
        if !goes_on {
            return Ok(());
        }
    }
    if reader.element.is_some() {
        each(last, Err("the file ends inside the elements of a set".into()));
    }
    Ok(())
}

impl Reader {
    fn line(&mut self, number: u64, line: &str, each: &mut Each<'_>) -> bool {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '#' => return true,
                '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
                '{' | '}' | ',' | ';' | '=' => 1,
                _ => rest.find([' ', '\t', '{', '}', ',', ';', '=', '#', '"']).unwrap_or(rest.len()).max(1),
            };
            let (token, tail) = rest.split_at(length);
            if !self.token(number, token, each) {
                return false;
            }
            rest = tail.trim_start();
        }
        true
    }

    fn token(&mut self, number: u64, token: &str, each: &mut Each<'_>) -> bool {
        let Some(element) = &mut self.element else {
            self.outside(token);
            return true;
        };
        match token {
            "," | "}" => {
                let words = std::mem::take(element);
                if token == "}" {
                    self.element = None;
                }
                words.is_empty() || tell(number, &words, each)
            }
            word => {
                // A hostile element cannot grow: what is beyond the limit is no element anyway.
                if element.len() < TOKENS_MAX {
                    element.push(word.to_owned());
                }
                true
            }
        }
    }

    /// Finds where elements begin: `elements = {`, `define name = {` and `add element inet table set {`.
    fn outside(&mut self, token: &str) {
        match token {
            "{" => {
                let words: Vec<&str> = self.before.iter().map(String::as_str).collect();
                let begins =
                    matches!(words[..], [.., "elements", "="] | [.., "define", _, "="]) || words.contains(&"element");
                self.before.clear();
                if begins {
                    self.element = Some(Vec::new());
                }
            }
            "}" | ";" => self.before.clear(),
            word => {
                if self.before.len() >= 8 {
                    self.before.remove(0);
                }
                self.before.push(word.to_owned());
            }
        }
    }
}

/// One element: an address, a prefix or a range, then what is known of it.
fn tell(number: u64, words: &[String], each: &mut Each<'_>) -> bool {
    match element(words) {
        Ok((nets, lasting, reason)) => {
            nets.into_iter().all(|net| each(number, Ok(Entry { lasting, reason: reason.clone(), ..Entry::of(net) })))
        }
        Err(why) => each(number, Err(why)),
    }
}

type Element = (Vec<IpNet>, Option<Lasting>, Option<String>);

fn element(words: &[String]) -> Result<Element, String> {
    let (value, facts) = words.split_first().ok_or("an empty element")?;
    let nets = if value.contains('-') { range(value)? } else { vec![net_of(value)?] };
    let (mut timeout, mut expires, mut reason) = (None, None, None);
    let mut facts = facts.iter();
    while let Some(name) = facts.next() {
        let mut value = || facts.next().map(String::as_str).ok_or_else(|| format!("`{}` without a value", short(name)));
        match name.as_str() {
            "timeout" => timeout = Some(duration::parse(value()?)?),
            "expires" => expires = Some(duration::parse(value()?)?),
            "comment" => reason = Some(value()?.trim_matches('"').to_owned()),
            // `counter packets 5 bytes 300` is what the other firewall saw.
            "counter" => {}
            "packets" | "bytes" => drop(value()?),
            other => return Err(format!("`{}` is not understood in an element", short(other))),
        }
    }
    // What is left of it is truer than what it began with.
    Ok((nets, expires.or(timeout), reason.filter(|reason| !reason.is_empty())))
}

pub(super) fn write(entries: &[Entry], name: &str, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "#!/usr/sbin/nft -f")?;
    writeln!(out, "# Sets only; a rule uses them like `ip saddr @banned_v4 drop`.")?;
    writeln!(out, "add table inet {name}")?;
    let is_single = |entry: &&Entry| Scope(entry.net).single().is_some();
    let is_v4 = |entry: &&Entry| entry.net.addr().is_ipv4();
    for (set, kind, singles, v4) in [
        ("banned_v4", "ipv4_addr", true, true),
        ("banned_v6", "ipv6_addr", true, false),
        ("banned_prefixes_v4", "ipv4_addr", false, true),
        ("banned_prefixes_v6", "ipv6_addr", false, false),
    ] {
        let members: Vec<&Entry> = entries.iter().filter(|e| is_single(e) == singles && is_v4(e) == v4).collect();
        let flags = if singles { "timeout" } else { "interval, timeout" };
        writeln!(out, "add set inet {name} {set} {{ type {kind}; flags {flags}; size 262144; }}")?;
        writeln!(out, "flush set inet {name} {set}")?;
        if !members.is_empty() {
            writeln!(out, "add element inet {name} {set} {{")?;
            for entry in members {
                write_element(entry, out)?;
            }
            writeln!(out, "}}")?;
        }
    }
    Ok(())
}

fn write_element(entry: &Entry, out: &mut dyn Write) -> io::Result<()> {
    write!(out, "\t{}", Scope(entry.net))?;
    if let Some(lasting @ Lasting(Some(_))) = entry.lasting {
        write!(out, " timeout {}", duration::print(lasting))?;
    }
    if let Some(reason) = entry.reason.as_ref().filter(|reason| !reason.is_empty()) {
        // nftables knows no way to write a quote inside a comment.
        write!(out, " comment \"{}\"", one_line(&reason.replace('"', "'"), COMMENT_BYTES_MAX))?;
    }
    writeln!(out, ",")
}
