//! Chains of transformations. The first byte tells how many follow, each of them one transformation; the rest is the value.
#![no_main]

use libfuzzer_sys::fuzz_target;
use qantra_seclang::Transform;

/// Chains of more than these say no more.
const LENGTH_MAX: usize = 8;

fuzz_target!(|bytes: &[u8]| {
    let Some((count, rest)) = bytes.split_first() else { return };
    let count = (usize::from(*count) % (LENGTH_MAX + 1)).min(rest.len());
    let (chain, value) = rest.split_at(count);
    let mut value = value.to_vec();
    let mut out = Vec::new();
    for number in chain {
        let transform = Transform::ALL[usize::from(*number) % Transform::ALL.len()];
        transform.apply(&value, &mut out);
        assert!(out.len() <= 4 * value.len() + 64, "{} grew {} to {} bytes", transform.name(), value.len(), out.len());
        assert!(transform.may_change(&value) || out == value, "{} changed what it should not", transform.name());
        std::mem::swap(&mut value, &mut out);
        if value.len() > 1 << 16 {
            return;
        }
    }
});
