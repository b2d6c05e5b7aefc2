//! Enters: a field. Leaves: an excerpt that is fit for evidence and logs. It must never let a secret through that it
//! can know: values of fields named like one, long tokens and card numbers are masked.

use super::Field;

/// Parts of names whose values are secrets.
const SECRET_NAMES: [&str; 16] = [
    "pass", "pwd", "secret", "token", "auth", "session", "sess", "sid", "csrf", "xsrf", "key", "card", "cvv", "otp",
    "pin", "jwt",
];

/// Shortest run of letters and digits, both in it, that is taken for a token.
const TOKEN_BYTES_MIN: usize = 20;

/// At most `bytes_max` bytes of a field's value, printable, beginning near `from`.
#[must_use]
pub fn excerpt(field: &Field<'_>, from: usize, bytes_max: usize) -> String {
    let from = from.min(field.value.len());
    // A little of what stands before, so that the reader sees how the value was left.
    let start = from.saturating_sub(16);
    let end = field.value.len().min(start + bytes_max);
    let value = &field.value[start..end];
    let is_secret = is_secret_name(field.name);
    let mut text = String::with_capacity(value.len() + 3);
    let mut at = 0;
    while at < value.len() {
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let run = value[at..].iter().take_while(|byte| is_word(byte)).count();
        if run == 0 {
            let byte = value[at];
            let letter = letter_at(&value[at..]).filter(|_| !is_secret);
            let plain = if byte == b' ' || byte.is_ascii_graphic() { char::from(byte) } else { '.' };
            text.push(letter.unwrap_or(plain));
            at += letter.map_or(1, char::len_utf8);
            continue;
        }
        push_word(&mut text, &value[at..at + run], is_secret);
        at += run;
    }
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

/// A letter beyond ASCII: it can be read, and moves no cursor.
fn letter_at(value: &[u8]) -> Option<char> {
    let chunk = value[..value.len().min(4)].utf8_chunks().next()?;
    chunk.valid().chars().next().filter(|letter| !letter.is_ascii() && letter.is_alphanumeric())
}

fn push_word(text: &mut String, word: &[u8], is_secret: bool) {
    let digits = word.iter().filter(|byte| byte.is_ascii_digit()).count();
    let is_token = word.len() >= TOKEN_BYTES_MIN && digits > 0 && digits < word.len();
    let is_number = digits == word.len() && (13..=19).contains(&digits);
    if is_secret {
        text.extend(word.iter().map(|_| '*'));
    } else if is_token || is_number {
        text.extend(word[..4].iter().map(|byte| char::from(*byte)));
        text.push_str("***");
    } else {
        text.extend(word.iter().map(|byte| char::from(*byte)));
    }
}

fn is_secret_name(name: &str) -> bool {
    let contains =
        |part: &str| name.as_bytes().windows(part.len()).any(|window| window.eq_ignore_ascii_case(part.as_bytes()));
    SECRET_NAMES.iter().copied().any(contains)
}

#[cfg(test)]
mod tests {
    use super::excerpt;
    use crate::inspect::{Field, FieldKind};

    fn check(name: &str, value: &str, expected: &str) {
        let field = Field { kind: FieldKind::Value, name, value: value.as_bytes() };
        assert_eq!(excerpt(&field, 0, 120), expected);
    }

    #[test]
    fn secrets_are_masked_and_attacks_stay_readable() {
        check("query.id", "1' OR '1'='1", "1' OR '1'='1");
        check("form.password", "hunter2' or 1=1", "*******' ** *=*");
        check("header.x", "Bearer abc123def456ghi789jkl0", "Bearer abc1***");
        check("form.number", "4111111111111111", "4111***");
        check("query.q", "a\u{0}\nb", "a..b");
        check("query.q", "größe \u{202e}x", "größe ...x");
        check("form.password", "größe", "**....*");
    }

    #[test]
    fn an_excerpt_is_short_and_starts_near_the_match() {
        let value = format!("{}<script>", "x ".repeat(500));
        let field = Field { kind: FieldKind::Value, name: "query.q", value: value.as_bytes() };
        let text = excerpt(&field, 1000, 120);
        assert!(text.len() <= 120 && text.ends_with("<script>"), "{text}");
    }
}
