//! Enters: memories of transactions that are over. Leaves: the same for those to come, so that in the steady state a
//! transaction allocates nothing. Each thread has its own; it must never keep what one large request has grown.

use std::cell::RefCell;

use qantra_seclang::Scratch;

/// Memories that a thread keeps: as many as requests that wait for their responses at once, within the bytes below.
const KEPT_MAX: usize = 256;
/// What all that a thread keeps may hold together.
const KEPT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A memory that a large request has grown beyond this is given back.
const SCRATCH_BYTES_MAX: usize = 512 * 1024;

/// A transaction takes the box itself: it goes to other threads with it.
#[derive(Default)]
struct Kept {
    #[expect(clippy::vec_box, reason = "a transaction takes the box itself, and goes to other threads with it")]
    scratches: Vec<Box<Scratch>>,
    bytes: usize,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// A warm memory, or a new one.
pub(super) fn take() -> Box<Scratch> {
    KEPT.with_borrow_mut(|kept| {
        let scratch = kept.scratches.pop().unwrap_or_default();
        kept.bytes = kept.bytes.saturating_sub(scratch.held_bytes());
        scratch
    })
}

/// Keeps a memory for the next transaction, where there is room.
pub(super) fn give(scratch: Box<Scratch>) {
    let bytes = scratch.held_bytes();
    if bytes > SCRATCH_BYTES_MAX {
        return;
    }
    KEPT.with_borrow_mut(|kept| {
        if kept.scratches.len() < KEPT_MAX && kept.bytes + bytes <= KEPT_BYTES_MAX {
            kept.scratches.push(scratch);
            kept.bytes += bytes;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_bounded() {
        for _ in 0..2 * KEPT_MAX {
            give(Box::default());
        }
        let kept = KEPT.with_borrow(|kept| (kept.scratches.len(), kept.bytes));
        assert!(kept.0 <= KEPT_MAX && kept.1 <= KEPT_BYTES_MAX, "{kept:?}");
        for _ in 0..2 * KEPT_MAX {
            let _ = take();
        }
        assert_eq!(KEPT.with_borrow(|kept| (kept.scratches.len(), kept.bytes)), (0, 0));
    }
}
