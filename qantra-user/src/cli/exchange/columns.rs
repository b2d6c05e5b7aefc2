//! Columns with a heading (RFC 4180), as `cscli decisions import` reads them and `cscli decisions list -o raw` writes
//! them. A record never spans lines: a stray quote must not swallow what follows it.

use std::io::{self, BufRead, Write};

use csv::{QuoteStyle, ReaderBuilder, StringRecord, WriterBuilder};

use super::{
    Each, Entry, action_name, action_of, direction_name, direction_of, duration, lines::Lines, net_of, one_line,
    scope_name, short,
};
use crate::decide::{Action, Direction};

const HEADING: [&str; 6] = ["duration", "scope", "value", "type", "reason", "direction"];

/// Where each column is.
#[derive(Debug, Default)]
struct Columns {
    duration: Option<usize>,
    scope: Option<usize>,
    value: Option<usize>,
    kind: Option<usize>,
    reason: Option<usize>,
    direction: Option<usize>,
}

impl Columns {
    fn of(heading: &StringRecord) -> Result<Self, String> {
        let mut columns = Self::default();
        for (index, name) in heading.iter().enumerate() {
            let column = match name.trim().to_ascii_lowercase().as_str() {
                "duration" | "expiration" => &mut columns.duration,
                "scope" => &mut columns.scope,
                "value" | "ip" => &mut columns.value,
                "type" | "action" => &mut columns.kind,
                "reason" | "scenario" => &mut columns.reason,
                "direction" => &mut columns.direction,
                _ => continue,
            };
            *column = Some(index);
        }
        match columns.value {
            Some(_) => Ok(columns),
            None => Err("there is no column `value`; the first line names the columns, such as \
                         duration,scope,value,type,reason"
                .into()),
        }
    }

    fn entry(&self, record: &StringRecord) -> Result<Entry, String> {
        let cell = |column: Option<usize>| column.and_then(|i| record.get(i)).map(str::trim).filter(|t| !t.is_empty());
        let value = cell(self.value).ok_or("there is no value")?;
        check_scope(cell(self.scope))?;
        Ok(Entry {
            net: net_of(value)?,
            action: cell(self.kind).map(action_of).transpose()?,
            direction: cell(self.direction).map(direction_of).transpose()?,
            lasting: cell(self.duration).map(duration::parse).transpose()?,
            reason: cell(self.reason).map(str::to_owned),
        })
    }
}

/// Only addresses and ranges can be decided about; cscli knows countries and user names as well.
pub(super) fn check_scope(scope: Option<&str>) -> Result<(), String> {
    match scope {
        Some(other) if !["ip", "range"].iter().any(|known| other.trim().eq_ignore_ascii_case(known)) => {
            Err(format!("scope `{}` cannot be enforced here: only ip and range can", short(other)))
        }
        _ => Ok(()),
    }
}

pub(super) fn read(input: &mut dyn BufRead, each: &mut Each<'_>) -> io::Result<()> {
    let mut lines = Lines::new(input);
    let mut columns: Option<Columns> = None;
    while let Some((number, line)) = lines.next()? {
        let record = match line {
            Ok(line) if line.trim().is_empty() => continue,
            Ok(line) => record(line),
            Err(why) => Err(why),
        };
        let entry = match (record, &columns) {
            (Ok(record), None) => match Columns::of(&record) {
                Ok(found) => {
                    columns = Some(found);
                    continue;
                }
                Err(why) => {
                    // Without a heading no further line can be read.
                    each(number, Err(why));
                    return Ok(());
                }
            },
            (Ok(record), Some(columns)) => columns.entry(&record),
            (Err(why), _) => Err(why),
        };
        if !each(number, entry) {
            return Ok(());
        }
    }
    Ok(())
}

fn record(line: &str) -> Result<StringRecord, String> {
    if !line.bytes().filter(|byte| *byte == b'"').count().is_multiple_of(2) {
        return Err("a quote is not closed on its line".into());
    }
    let mut reader = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .buffer_capacity(line.len().max(1))
        .from_reader(line.as_bytes());
    let mut record = StringRecord::new();
    match reader.read_record(&mut record) {
        Ok(_) => Ok(record),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn write(entries: &[Entry], out: &mut dyn Write) -> io::Result<()> {
    let mut writer = WriterBuilder::new().quote_style(QuoteStyle::Necessary).from_writer(out);
    writer.write_record(HEADING)?;
    for entry in entries {
        writer.write_record([
            entry.lasting.map(duration::print).unwrap_or_default().as_str(),
            scope_name(&entry.net),
            &crate::decide::Scope(entry.net).to_string(),
            action_name(entry.action.unwrap_or(Action::Block)),
            &one_line(entry.reason.as_deref().unwrap_or_default(), 512),
            direction_name(entry.direction.unwrap_or(Direction::Source)),
        ])?;
    }
    writer.flush()
}
