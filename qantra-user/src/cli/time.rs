//! Durations and moments as people write and read them.

use std::fmt::Write as _;

/// How long something lasts; `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lasting(pub(super) Option<u64>);

const UNITS: [(char, u64); 5] = [('w', 604_800), ('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

/// Reads `90s`, `30m`, `4h`, `7d`, `2w`, `1h30m` or `forever`.
pub(super) fn lasting(text: &str) -> Result<Lasting, String> {
    if ["forever", "permanent", "never"].contains(&text) {
        return Ok(Lasting(None));
    }
    let bad = || {
        format!("`{}` is no duration: write 30m, 4h, 7d, 1h30m or forever", text.chars().take(40).collect::<String>())
    };
    let mut seconds: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let count: u64 = rest[..digits].parse().map_err(|_| bad())?;
        let mut tail = rest[digits..].chars();
        let letter = tail.next().ok_or_else(bad)?;
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == letter).ok_or_else(bad)?;
        seconds = count.checked_mul(*unit).and_then(|more| seconds.checked_add(more)).ok_or_else(bad)?;
        rest = tail.as_str();
    }
    if seconds == 0 { Err(bad()) } else { Ok(Lasting(Some(seconds))) }
}

/// `3d4h`, `59m`, `0s`: the two largest units.
pub(super) fn short(mut seconds: u64) -> String {
    let mut text = String::new();
    let mut parts = 0;
    for (name, unit) in UNITS {
        if seconds >= unit && parts < 2 {
            let _ = write!(text, "{}{name}", seconds / unit);
            seconds %= unit;
            parts += 1;
        } else if parts > 0 {
            break;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

/// `2026-11-21 03:01:40 UTC`.
pub(super) fn moment(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (year, month, day) = civil(seconds / 86_400);
    let second = seconds % 86_400;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
}

/// Year, month and day of a day number since 1970-01-01. After Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms", `civil_from_days`.
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

/// `4.2 MB`.
pub(super) fn bytes(count: u64) -> String {
    let mut value = count as f64;
    let mut unit = "B";
    for next in ["kB", "MB", "GB", "TB", "PB"] {
        if value < 1_000.0 {
            break;
        }
        value /= 1_000.0;
        unit = next;
    }
    if unit == "B" { format!("{count} B") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        for (text, seconds) in
            [("90s", 90), ("30m", 1_800), ("4h", 14_400), ("7d", 604_800), ("1h30m", 5_400), ("2w", 1_209_600)]
        {
            assert_eq!(lasting(text), Ok(Lasting(Some(seconds))), "{text}");
        }
        assert_eq!(lasting("forever"), Ok(Lasting(None)));
        for text in
            ["", "4", "h", "4x", "-1h", "0s", "1.5h", "4h ", "99999999999999999999h", "9999999999999999w", "4\u{fc}"]
        {
            assert!(lasting(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_written() {
        for (seconds, text) in
            [(0, "0s"), (59, "59s"), (3_600, "1h"), (3_660, "1h1m"), (3_601, "1h"), (90_061, "1d1h"), (700_000, "1w1d")]
        {
            assert_eq!(short(seconds), text);
        }
    }

    #[test]
    fn moments_are_written() {
        // Checked with `date -u -d @…`.
        for (unix_s, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(moment(unix_s * 1_000), text);
        }
        assert!(!moment(u64::MAX).is_empty());
    }

    #[test]
    fn sizes_are_written() {
        assert_eq!((bytes(999), bytes(1_000), bytes(4_200_000)), ("999 B".into(), "1.0 kB".into(), "4.2 MB".into()));
    }
}
