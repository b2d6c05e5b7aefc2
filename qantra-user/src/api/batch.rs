//! Many decisions at once: in by [`import`], out by [`export`].

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{
    Control, ControlError, DecisionView, Imported, NewDecisions, NotTaken,
    desk::{self, note_lost, state_in_force},
};
use crate::{
    clock::Now,
    decide::Action,
    enforce::{EndReason, EnforceError, KernelOutcome},
    store::Write,
};

/// Bytes of a listing that are sent at once.
const PIECE_BYTES: usize = 64 * 1024;

/// Puts many of a person's decisions into effect and waits until they are on disk. What cannot be taken is listed; it
/// keeps none of the others out.
pub(super) fn import(control: &dyn Control, new: NewDecisions, now: Now) -> Result<Imported, ControlError> {
    if new.decisions.len() > NewDecisions::MAX {
        let what = format!("{} decisions in one request", new.decisions.len());
        return Err(ControlError::BadRequest { what, hint: "send at most 2,000 at once" });
    }
    let mut done = Imported::default();
    let (mut decisions, mut places) = (Vec::new(), Vec::new());
    for (index, new) in new.decisions.into_iter().enumerate() {
        let net = new.net;
        match desk::decision(new, now) {
            Ok(decision) => {
                decisions.push(decision);
                places.push((index, net));
            }
            Err(error) => done.refused.push(NotTaken { index, net, why: error.to_string() }),
        }
    }
    if new.dry_run {
        for (decision, (index, net)) in decisions.into_iter().zip(places) {
            let protection = control.enforcer().protection(&net).filter(|_| decision.action != Action::Observe);
            match protection.map(|protection| EnforceError::Protected { scope: decision.scope, protection }) {
                Some(error) => done.refused.push(NotTaken { index, net, why: error.to_string() }),
                None => done.taken += 1,
            }
        }
        return Ok(done);
    }

    let mut writes = Vec::new();
    let (mut failed, mut failure, mut absent) = (0, None, false);
    for (outcome, (index, net)) in control.apply_all(decisions, now).into_iter().zip(places) {
        let applied = match outcome {
            Ok(applied) => applied,
            Err(error) => {
                done.refused.push(NotTaken { index, net, why: error.to_string() });
                continue;
            }
        };
        done.taken += 1;
        done.replaced += usize::from(applied.ended.iter().any(|ended| ended.reason == EndReason::Replaced));
        match applied.kernel {
            KernelOutcome::Failed(error) => {
                failed += 1;
                failure = failure.or(Some(error));
            }
            KernelOutcome::Absent => absent = true,
            KernelOutcome::Banned | KernelOutcome::NotAsked => {}
        }
        writes.extend(applied.ended.into_iter().map(|ended| Write::Ended { ended, now }));
        writes.push(Write::Decision(Arc::clone(&applied.decision)));
    }
    done.refused.sort_by_key(|refused| refused.index);
    if let Some(error) = failure {
        done.warnings.push(format!("of {failed} the proxy enforces each alone: {error}"));
    }
    if absent {
        done.warnings.push("there is no kernel half: the proxy enforces them alone".into());
    }
    if control.enforcer().is_simulation() {
        done.warnings.push("simulation is on: they are not enforced".into());
    }
    if !writes.is_empty() {
        note_lost(control.store().commit(Write::Many(writes)), "they will not survive a restart", &mut done.warnings);
    }
    Ok(done)
}

/// Every decision in force, one JSON object a line, handed out in pieces; `send` says whether to go on.
pub(super) fn export(control: &dyn Control, mut send: impl FnMut(Bytes) -> bool) {
    let mut piece = BytesMut::with_capacity(PIECE_BYTES + 1_024);
    for (decision, hits) in control.enforcer().active() {
        let view = DecisionView::new(&decision, state_in_force(&decision), &hits);
        // Numbers and texts: serde_json cannot fail at them.
        if let Ok(line) = serde_json::to_vec(&view) {
            piece.put_slice(&line);
            piece.put_u8(b'\n');
        }
        if piece.len() >= PIECE_BYTES && !send(piece.split().freeze()) {
            return;
        }
    }
    if !piece.is_empty() {
        send(piece.freeze());
    }
}
