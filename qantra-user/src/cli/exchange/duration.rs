//! Durations as other tools write them: Go's `3h59m1.5s`, nftables' `1d2h3m4s500ms`, RouterOS' `1w2d03:04:05`.

use super::super::time::{self, Lasting};

/// What stands for ever where a format has no word for it: 100 years, the longest decision.
const FOR_EVER_S: u64 = 100 * 365 * 86_400;

/// In ns, so that fractions add up exactly. Longer names first: `ms` is not `m`.
const UNITS: [(&str, u128); 9] = [
    ("ms", 1_000_000),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("ns", 1),
    ("w", 604_800_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
];

/// Reads any of them, rounded up to whole seconds.
pub(super) fn parse(text: &str) -> Result<Lasting, String> {
    let text = text.trim();
    let bad = || format!("`{}` is no duration: write 30m, 4h, 7d, 1h30m or forever", super::short(text));
    if let Ok(lasting) = time::lasting(text) {
        return Ok(for_ever_beyond(lasting.0.unwrap_or(FOR_EVER_S)));
    }
    let mut total_ns: u128 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        if let Some(clock_s) = clock(rest) {
            total_ns += u128::from(clock_s) * 1_000_000_000;
            break;
        }
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(digits);
        let (unit, unit_ns) = UNITS.iter().find(|(name, _)| tail.starts_with(name)).ok_or_else(bad)?;
        total_ns = total_ns.checked_add(amount(number, *unit_ns).ok_or_else(bad)?).ok_or_else(bad)?;
        rest = &tail[unit.len()..];
    }
    let seconds = u64::try_from(total_ns.div_ceil(1_000_000_000)).map_err(|_| bad())?;
    if seconds == 0 { Err(bad()) } else { Ok(for_ever_beyond(seconds)) }
}

/// As cscli, nftables and people write it: `3h59m1s`.
pub(super) fn print(lasting: Lasting) -> String {
    let seconds = lasting.0.unwrap_or(FOR_EVER_S);
    let parts = [(seconds / 3_600, 'h'), (seconds / 60 % 60, 'm'), (seconds % 60, 's')];
    let text: String = parts.iter().filter(|(n, _)| *n > 0).map(|(n, unit)| format!("{n}{unit}")).collect();
    if text.is_empty() { "0s".into() } else { text }
}

const fn for_ever_beyond(seconds: u64) -> Lasting {
    if seconds >= FOR_EVER_S { Lasting(None) } else { Lasting(Some(seconds)) }
}

/// `1.5` of a unit; at most nine digits behind the point count.
fn amount(number: &str, unit_ns: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole: u128 = if whole.is_empty() && !fraction.is_empty() { 0 } else { whole.parse().ok()? };
    let mut ns = whole.checked_mul(unit_ns)?;
    let mut place_ns = unit_ns;
    for digit in fraction.bytes().take(9) {
        place_ns /= 10;
        ns += u128::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?) * place_ns;
    }
    Some(ns)
}

/// `03:04:05` or `04:05`, to the text's end.
fn clock(text: &str) -> Option<u64> {
    let parts: Vec<u64> = text.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    match parts[..] {
        [hours @ 0..=23, minutes @ 0..=59, seconds @ 0..=59] => Some(hours * 3_600 + minutes * 60 + seconds),
        [minutes @ 0..=59, seconds @ 0..=59] => Some(minutes * 60 + seconds),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_tools_durations_are_read() {
        for (text, seconds) in [
            ("3h59m1.5s", 14_342),
            ("0.5h", 1_800),
            ("4h0m0s", 14_400),
            ("1d2h3m4s500ms", 93_785),
            ("1w2d03:04:05", 788_645),
            ("00:05:00", 300),
            ("1ns", 1),
            ("90s", 90),
            ("1.9999999999999s", 2),
        ] {
            assert_eq!(parse(text), Ok(Lasting(Some(seconds))), "{text}");
        }
        for text in ["876000h", "876000h0m0s", "forever", "999999999h"] {
            assert_eq!(parse(text), Ok(Lasting(None)), "{text}");
        }
        for text in ["", "h", "4", "-4h", "4x", "0s", "0h0m", "1:2:3:4", "25:00:00", ".s", "1.x5s", "4h 3m", "\u{b5}"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"9".repeat(60)).is_err() && parse(&format!("{}w", "9".repeat(38))).is_err());
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read(seconds in prop::option::of(1..FOR_EVER_S)) {
            prop_assert_eq!(parse(&print(Lasting(seconds))), Ok(Lasting(seconds)));
        }

        #[test]
        fn nothing_panics(text in "[0-9a-z.:\u{b5} ]{0,24}") {
            let _ = parse(&text);
        }
    }
}
