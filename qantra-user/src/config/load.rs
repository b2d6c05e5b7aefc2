//! Enters: a path or a text. Leaves: a checked [`Config`], or every problem that was found.

use std::{fs, path::Path};

use super::{Config, ConfigErrors, Problem, position::Positions, validate::validate};

/// Largest configuration file that is read: a guard against pointing `-c` at a device or a log.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Reads and checks a configuration file.
///
/// # Errors
/// The file cannot be read, is not TOML, has keys or values that are not known, or contradicts itself.
pub fn load(path: &Path) -> Result<Config, ConfigErrors> {
    let whole_file = |reason: String, hint: String| {
        ConfigErrors(vec![Problem { file: path.to_owned(), line: None, key: String::new(), reason, hint }])
    };
    let size = fs::metadata(path).map(|meta| meta.len()).unwrap_or(0);
    if size > FILE_BYTES_MAX {
        return Err(whole_file(
            format!("the file has {size} bytes, more than {FILE_BYTES_MAX}"),
            "is it the right file?".into(),
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => "name the file with `-c FILE`",
            std::io::ErrorKind::PermissionDenied => "run as root, or make the file readable",
            std::io::ErrorKind::InvalidData => "save it as UTF-8",
            _ => "name another file with `-c FILE`",
        };
        whole_file(format!("cannot be read: {error}"), hint.into())
    })?;
    parse(&text, path)
}

/// Checks the text of a configuration file; `path` is for messages only.
///
/// # Errors
/// As [`load`], but for reading.
pub fn parse(text: &str, path: &Path) -> Result<Config, ConfigErrors> {
    let positions = Positions::new(text);
    let config: Config = toml::from_str(text).map_err(|error| ConfigErrors(vec![explain(&error, &positions, path)]))?;
    let problems = validate(&config, &positions, path);
    if problems.is_empty() { Ok(config) } else { Err(ConfigErrors(problems)) }
}

/// Turns the parser's message into one that says what to do.
fn explain(error: &toml::de::Error, positions: &Positions<'_>, path: &Path) -> Problem {
    let message = error.message().trim().replace('\n', ", ");
    let byte = error.span().map(|span| span.start);
    let mut key = byte.map(|byte| positions.key_at(byte)).unwrap_or_default();
    let (reason, hint) = if let Some((unknown, known)) = unknown_name(&message, "unknown field `") {
        let hint = nearest(&unknown, &known)
            .map_or_else(|| format!("known here: {}", known.join(", ")), |near| format!("did you mean `{near}`?"));
        if key.is_empty() {
            key.clone_from(&unknown);
        }
        (format!("unknown key `{unknown}`"), hint)
    } else if let Some((unknown, known)) = unknown_name(&message, "unknown variant `") {
        let hint = nearest(&unknown, &known).map_or_else(
            || format!("write one of {}", known.join(", ")),
            |near| format!("did you mean `{near}`? Known: {}", known.join(", ")),
        );
        (format!("unknown value `{unknown}`"), hint)
    } else if let Some(missing) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        (format!("`{missing}` is missing"), format!("add `{missing} = …` to this table"))
    } else {
        let hint = hint_for(&message);
        (message, hint.into())
    };
    Problem { file: path.to_owned(), line: byte.map(|byte| positions.line_of_byte(byte)), key, reason, hint }
}

/// Advice for what the parser and the value types complain about.
fn hint_for(message: &str) -> &'static str {
    if message.contains("socket address") {
        "write an address and a port, such as `0.0.0.0:443` or `[::]:443`"
    } else if message.contains("invalid type") {
        "write a value of the expected type; text goes in quotes, numbers and true/false do not"
    } else if message.contains("invalid value") {
        "write a number within the range; `qantra config schema` lists every key"
    } else if message.contains("is neither an address nor a prefix") {
        "write it as `203.0.113.7` or `203.0.113.0/24`"
    } else if message.contains("duplicate key") {
        "keep one of them; lists of tables are written `[[site]]`"
    } else {
        "mend the TOML at this line; `qantra config schema` lists every key"
    }
}

/// Takes apart serde's ``unknown field `x`, expected one of `a`, `b` ``.
fn unknown_name(message: &str, prefix: &str) -> Option<(String, Vec<String>)> {
    let (name, expected) = message.strip_prefix(prefix)?.split_once('`')?;
    let known = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((name.to_owned(), known))
}

/// The known name that was probably meant.
fn nearest<'a>(typed: &str, known: &'a [String]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(typed, name), name.as_str()))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4 || name.contains(typed) || typed.contains(name))
        .min()
        .map(|(_, name)| name)
}
