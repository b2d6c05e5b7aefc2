//! RouterOS scripts: `/ip firewall address-list add list=… address=… timeout=…`, and what `/export` prints, where the
//! path stands on a line of its own and long lines go on after a backslash.

use std::io::{self, BufRead, Write};

use super::{Each, Entry, duration, lines::LINE_BYTES_MAX, lines::Lines, net_of, one_line, plain::range, short};
use crate::{cli::time::Lasting, decide::Scope};

/// Longest comment that is written, in bytes.
const COMMENT_BYTES_MAX: usize = 255;

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
    if !reader.joined.is_empty() {
        each(last, Err("the last line says that it goes on".into()));
    }
    Ok(())
}

#[derive(Debug, Default)]
struct Reader {
    /// Whether the running path is that of an address list.
    in_list: bool,
    /// A command whose line went on, and where it began.
    joined: String,
    begun: u64,
}

impl Reader {
    fn line(&mut self, number: u64, line: &str, each: &mut Each<'_>) -> bool {
        if self.joined.is_empty() {
            self.begun = number;
        }
        let line = line.trim();
        if let Some(part) = line.strip_suffix('\\') {
            if self.joined.len() + part.len() > LINE_BYTES_MAX {
                self.joined.clear();
                return each(self.begun, Err(format!("the command is longer than {LINE_BYTES_MAX} bytes")));
            }
            self.joined.push_str(part);
            return true;
        }
        let whole = std::mem::take(&mut self.joined) + line;
        match self.command(&whole) {
            Ok(None) => true,
            Ok(Some(entries)) => entries.into_iter().all(|entry| each(self.begun, Ok(entry))),
            Err(why) => each(self.begun, Err(why)),
        }
    }

    /// The entries of an `add` to an address list; `None` for every other command.
    fn command(&mut self, line: &str) -> Result<Option<Vec<Entry>>, String> {
        if line.is_empty() || line.starts_with(['#', ':']) {
            return Ok(None);
        }
        let words = words(line)?;
        let mut rest = words.as_slice();
        if line.starts_with('/') {
            let path = rest.iter().take_while(|(name, value)| value.is_none() && !is_verb(name)).count();
            self.in_list = rest[..path].iter().any(|(name, _)| name.ends_with("address-list"));
            rest = &rest[path..];
        }
        match rest.split_first() {
            Some(((verb, None), arguments)) if verb == "add" && self.in_list => entries(arguments).map(Some),
            _ => Ok(None),
        }
    }
}

fn is_verb(word: &str) -> bool {
    ["add", "remove", "set", "print", "export", "enable", "disable"].contains(&word)
}

fn entries(arguments: &[(String, Option<String>)]) -> Result<Vec<Entry>, String> {
    let value = |name: &str| arguments.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.as_deref());
    if value("disabled") == Some("yes") {
        return Err("the entry is disabled".into());
    }
    let address = value("address").ok_or("the entry has no address")?;
    let nets = if address.contains('-') { range(address)? } else { vec![net_of(address)?] };
    let lasting = value("timeout").filter(|text| *text != "0s").map(duration::parse).transpose()?;
    let reason = value("comment").filter(|comment| !comment.is_empty()).map(str::to_owned);
    Ok(nets.into_iter().map(|net| Entry { lasting, reason: reason.clone(), ..Entry::of(net) }).collect())
}

/// A command's words and its `key=value` pairs.
fn words(line: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let end = rest.find([' ', '\t', '=']).unwrap_or(rest.len());
        let name = rest[..end].to_owned();
        rest = &rest[end..];
        let value = match rest.strip_prefix('=') {
            None => None,
            Some(tail) if tail.starts_with('"') => {
                let (text, tail) = quoted(&tail[1..])?;
                rest = tail;
                Some(text)
            }
            Some(tail) => {
                let end = tail.find([' ', '\t']).unwrap_or(tail.len());
                rest = &tail[end..];
                Some(tail[..end].to_owned())
            }
        };
        words.push((name, value));
        rest = rest.trim_start();
    }
    Ok(words)
}

/// A text in quotes, its first one taken off already, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, escaped @ ('"' | '\\' | '$' | '?'))) => value.push(escaped),
                // `\_` is a blank, `\n` and its like have no place in a comment of one line.
                Some(_) => value.push(' '),
                None => break,
            },
            c => value.push(c),
        }
    }
    Err(format!("a quote is not closed: {}", short(text)))
}

pub(super) fn write(entries: &[Entry], name: &str, out: &mut dyn Write) -> io::Result<()> {
    // An entry that is there already would end `/import`, so each list begins empty.
    for family in ["ip", "ipv6"] {
        writeln!(out, "/{family} firewall address-list remove [find list={name}]")?;
    }
    for entry in entries {
        let family = if entry.net.addr().is_ipv4() { "ip" } else { "ipv6" };
        write!(out, "/{family} firewall address-list add list={name} address={}", Scope(entry.net))?;
        if let Some(lasting @ Lasting(Some(_))) = entry.lasting {
            write!(out, " timeout={}", duration::print(lasting))?;
        }
        if let Some(reason) = entry.reason.as_ref().filter(|reason| !reason.is_empty()) {
            let escaped = one_line(reason, COMMENT_BYTES_MAX).chars().fold(String::new(), |mut text, c| {
                if matches!(c, '"' | '\\' | '$' | '?') {
                    text.push('\\');
                }
                text.push(c);
                text
            });
            write!(out, " comment=\"{escaped}\"")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
