//! Enters: numbers that a pattern finds. Leaves: whether their check digits are right.

use super::Checked;
use crate::regex::{Budget, Captures, Pattern};

/// Candidates looked at in one value.
const CANDIDATES_MAX: usize = 64;

pub(super) fn find(kind: Checked, pattern: &Pattern, value: &[u8], budget: &mut Budget) -> Option<Captures> {
    let mut from = 0;
    for _ in 0..CANDIDATES_MAX {
        let found = pattern.captures(value.get(from..)?, budget).flatten()?;
        let (begin, end) = found.spans[0]?;
        let (begin, end) = (from + begin as usize, from + end as usize);
        let digits: Vec<u32> =
            value[begin..end].iter().filter(|b| b.is_ascii_digit()).map(|b| u32::from(b - b'0')).collect();
        let valid = match kind {
            Checked::CreditCard => luhn(&digits),
            Checked::Cpf => cpf(&digits),
            Checked::Ssn => ssn(&digits),
            Checked::Svnr => svnr(&digits),
        };
        if valid {
            return Some(Captures::whole(begin, end));
        }
        from = end.max(begin + 1);
    }
    None
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| if at % 2 == 0 { *digit } else { digit * 2 / 10 + digit * 2 % 10 })
        .sum();
    digits.len() > 1 && sum.is_multiple_of(10)
}

/// Brazil: two check digits, modulo 11.
fn cpf(digits: &[u32]) -> bool {
    let [rest @ .., first, second] = digits else { return false };
    if rest.len() != 9 || digits.iter().all(|digit| *digit == digits[0]) {
        return false;
    }
    let check = |part: &[u32]| {
        let sum: u32 = part.iter().rev().zip(2..).map(|(digit, weight)| digit * weight).sum();
        match sum % 11 {
            0 | 1 => 0,
            other => 11 - other,
        }
    };
    check(rest) == *first && check(&digits[..10]) == *second
}

/// United States: no part is all zeros, and some areas were never given out.
fn ssn(digits: &[u32]) -> bool {
    if digits.len() != 9 {
        return false;
    }
    let number = |part: &[u32]| part.iter().fold(0, |value, digit| value * 10 + digit);
    let (area, group, serial) = (number(&digits[..3]), number(&digits[3..5]), number(&digits[5..]));
    let run = digits.windows(2).all(|pair| pair[1] == pair[0]) || digits.windows(2).all(|pair| pair[1] == pair[0] + 1);
    area != 0 && area != 666 && area < 740 && group != 0 && serial != 0 && !run
}

/// Austria: the fourth digit checks the others.
fn svnr(digits: &[u32]) -> bool {
    const WEIGHTS: [u32; 10] = [3, 7, 9, 0, 5, 8, 4, 2, 1, 6];
    if digits.len() != 10 || digits[0] == 0 {
        return false;
    }
    let sum: u32 = digits.iter().zip(WEIGHTS).map(|(digit, weight)| digit * weight).sum();
    sum % 11 == digits[3]
}
