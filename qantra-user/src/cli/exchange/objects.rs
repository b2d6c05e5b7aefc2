//! JSON as `cscli decisions import` reads it, an array of objects, and as `cscli decisions list -o json` writes it,
//! alerts that hold decisions; objects one after the other (JSON lines) as well. One object is held at a time.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};

use super::{
    Each, Entry, action_name, action_of, columns::check_scope, direction_name, direction_of, duration, net_of,
    one_line, scope_name,
};
use crate::decide::{Action, Direction, Scope};

/// Longest object: an alert of cscli's with some thousands of decisions.
const OBJECT_BYTES_MAX: usize = 1024 * 1024;

#[derive(Debug, Default, Deserialize)]
struct Raw {
    value: Option<String>,
    scope: Option<String>,
    #[serde(rename = "type", alias = "action")]
    kind: Option<String>,
    duration: Option<String>,
    #[serde(alias = "scenario")]
    reason: Option<String>,
    direction: Option<String>,
    decisions: Option<Vec<Raw>>,
}

impl Raw {
    fn entry(&self) -> Result<Entry, String> {
        let text = |text: &'_ Option<String>| text.as_ref().filter(|text| !text.trim().is_empty()).cloned();
        let value = text(&self.value).ok_or("the object has no `value`")?;
        check_scope(text(&self.scope).as_deref())?;
        Ok(Entry {
            net: net_of(&value)?,
            action: text(&self.kind).as_deref().map(action_of).transpose()?,
            direction: text(&self.direction).as_deref().map(direction_of).transpose()?,
            lasting: text(&self.duration).as_deref().map(duration::parse).transpose()?,
            reason: text(&self.reason),
        })
    }

    fn tell(&self, line: u64, each: &mut Each<'_>) -> bool {
        match &self.decisions {
            Some(decisions) if self.value.is_none() => decisions.iter().all(|decision| decision.tell(line, each)),
            _ => each(line, self.entry()),
        }
    }
}

/// Cuts a stream into the objects at its top, inside an array or not.
#[derive(Debug)]
struct Cutter {
    line: u64,
    begun: u64,
    depth: u32,
    in_text: bool,
    is_escaped: bool,
    is_long: bool,
    is_lost: bool,
    object: Vec<u8>,
}

/// What one byte made whole.
enum Cut {
    Nothing,
    Object,
    TooLong,
    /// Something that is no object, where one was expected; said once for each such stretch.
    Stray(char),
}

impl Cutter {
    fn byte(&mut self, byte: u8) -> Cut {
        self.line += u64::from(byte == b'\n');
        if self.depth == 0 {
            return self.between(byte);
        }
        self.is_long |= self.object.len() >= OBJECT_BYTES_MAX;
        if !self.is_long {
            self.object.push(byte);
        }
        if self.in_text {
            self.in_text = self.is_escaped || byte != b'"';
            self.is_escaped = !self.is_escaped && byte == b'\\';
            return Cut::Nothing;
        }
        match byte {
            b'"' => self.in_text = true,
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth -= 1,
            _ => {}
        }
        match (self.depth, self.is_long) {
            (0, false) => Cut::Object,
            (0, true) => Cut::TooLong,
            _ => Cut::Nothing,
        }
    }

    fn between(&mut self, byte: u8) -> Cut {
        match byte {
            b'{' => {
                self.object.clear();
                self.object.push(byte);
                (self.depth, self.begun, self.is_lost, self.is_long) = (1, self.line, false, false);
                Cut::Nothing
            }
            b'[' | b']' | b',' | b' ' | b'\t' | b'\r' | b'\n' | 0xef | 0xbb | 0xbf => Cut::Nothing,
            _ if self.is_lost => Cut::Nothing,
            other => {
                self.is_lost = true;
                Cut::Stray(char::from(other))
            }
        }
    }
}

pub(super) fn read(input: &mut dyn BufRead, each: &mut Each<'_>) -> io::Result<()> {
    let mut cutter = Cutter {
        line: 1,
        begun: 1,
        depth: 0,
        in_text: false,
        is_escaped: false,
        is_long: false,
        is_lost: false,
        object: Vec::new(),
    };
    loop {
        let chunk = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        if chunk.is_empty() {
            break;
        }
        let length = chunk.len();
        for byte in chunk {
            let goes_on = match cutter.byte(*byte) {
                Cut::Nothing => true,
                Cut::Object => object(&cutter, each),
                Cut::TooLong => each(cutter.begun, Err(format!("the object is longer than {OBJECT_BYTES_MAX} bytes"))),
                Cut::Stray(found) => each(cutter.line, Err(format!("expected an object, found {found:?}"))),
            };
            if !goes_on {
                return Ok(());
            }
        }
        input.consume(length);
    }
    if cutter.depth > 0 {
        each(cutter.begun, Err("the object that begins here is not closed".into()));
    }
    Ok(())
}

fn object(cutter: &Cutter, each: &mut Each<'_>) -> bool {
    match serde_json::from_slice::<Raw>(&cutter.object) {
        Ok(raw) => raw.tell(cutter.begun, each),
        Err(error) => {
            let text = error.to_string();
            let said = text.rsplit_once(" at line ").map_or(text.as_str(), |(said, _)| said);
            each(cutter.begun + (error.line() as u64).saturating_sub(1), Err(said.to_owned()))
        }
    }
}

#[derive(Debug, Serialize)]
struct Printed<'a> {
    duration: Option<String>,
    scope: &'static str,
    value: String,
    #[serde(rename = "type")]
    kind: &'static str,
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<&'static str>,
}

pub(super) fn write(entries: &[Entry], out: &mut dyn Write) -> io::Result<()> {
    for (i, entry) in entries.iter().enumerate() {
        let reason = entry.reason.as_ref().map(|reason| one_line(reason, 512));
        let printed = Printed {
            duration: entry.lasting.map(duration::print),
            scope: scope_name(&entry.net),
            value: Scope(entry.net).to_string(),
            kind: action_name(entry.action.unwrap_or(Action::Block)),
            reason: reason.as_deref(),
            direction: entry.direction.filter(|d| *d != Direction::Source).map(direction_name),
        };
        out.write_all(if i == 0 { b"[\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, &printed)?;
    }
    out.write_all(if entries.is_empty() { b"[]\n" } else { b"\n]\n" })
}
