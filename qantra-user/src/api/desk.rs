//! Decisions and the allowlist, as people ask about them: over the enforcer and the store.

use std::{net::IpAddr, sync::Arc};

use ipnet::IpNet;

use super::{
    Allow, Allowed, CheckAnswer, Control, ControlError, DecisionList, DecisionState, DecisionView, Deleted,
    Explanation, Hits, NewDecision, Which,
};
use crate::{
    clock::Now,
    config::canonical_net,
    decide::{Decision, DecisionId, Origin, Scope},
    enforce::{AllowEntry, DecisionHits, KernelOutcome, Why},
    store::{StoreError, StoredDecision, Write},
};

/// Most decisions in one listing.
const LIST_MAX: u32 = 10_000;
/// Longest reason or comment.
const TEXT_BYTES_MAX: usize = 512;
/// Most allowlist entries: they stand in the kernel's protected set, which has room for few.
const ALLOW_MAX: usize = 1_024;
/// Longest duration: 100 years; more is a slip of the hand.
const DURATION_S_MAX: u64 = 100 * 365 * 86_400;

/// Decisions in force, or with `all` the ended ones that the store remembers as well; of an address only those that
/// cover it.
pub(super) fn list(control: &dyn Control, all: bool, address: Option<IpAddr>) -> Result<DecisionList, ControlError> {
    // People look at counts to see whether a ban works: they want those of now.
    if let Err(error) = control.enforcer().read_back() {
        tracing::warn!(%error, "what bans stopped could not be read back");
    }
    let covers = |scope: &Scope| address.is_none_or(|address| scope.0.contains(&address.to_canonical()));
    let mut decisions: Vec<DecisionView> = control
        .enforcer()
        .active()
        .iter()
        .filter(|(decision, _)| covers(&decision.scope))
        .map(|(decision, hits)| DecisionView::new(decision, state_in_force(decision), hits))
        .collect();
    if all {
        let in_force: hashbrown::HashSet<DecisionId> = decisions.iter().map(|view| view.id).collect();
        let ended = control.store().newest(LIST_MAX)?;
        decisions.extend(
            ended
                .iter()
                .filter(|kept| covers(&kept.decision.scope) && !in_force.contains(&kept.decision.id))
                .map(|kept| DecisionView::new(&kept.decision, DecisionState::Ended, &kept.hits())),
        );
        decisions.sort_by_key(|view| (std::cmp::Reverse(view.created_unix_ms), view.id));
    }
    let mut warnings = Vec::new();
    if decisions.len() > LIST_MAX as usize {
        warnings.push(format!("{} more are not shown", decisions.len() - LIST_MAX as usize));
        decisions.truncate(LIST_MAX as usize);
    }
    Ok(DecisionList { decisions, warnings })
}

/// Puts a person's decision into effect and waits until it is on disk.
pub(super) fn add(control: &dyn Control, new: NewDecision, now: Now) -> Result<DecisionList, ControlError> {
    let applied = control.apply(decision(new, now)?, now)?;
    let mut warnings = Vec::new();
    match applied.kernel {
        KernelOutcome::Failed(error) => warnings.push(format!("the proxy enforces it alone: {error}")),
        KernelOutcome::Absent => warnings.push("there is no kernel half: the proxy enforces it alone".into()),
        KernelOutcome::Banned | KernelOutcome::NotAsked => {}
    }
    if applied.decision.simulated {
        warnings.push("simulation is on: it is not enforced".into());
    }
    let ended = applied.ended.into_iter().map(|ended| Write::Ended { ended, now });
    let writes = ended.chain([Write::Decision(Arc::clone(&applied.decision))]);
    for write in writes {
        note_lost(control.store().commit(write), "it will not survive a restart", &mut warnings);
    }
    let view = DecisionView::new(&applied.decision, state_in_force(&applied.decision), &DecisionHits::default());
    Ok(DecisionList { decisions: vec![view], warnings })
}

/// A person's decision; nothing is in force yet.
pub(super) fn decision(new: NewDecision, now: Now) -> Result<Decision, ControlError> {
    Ok(Decision {
        id: DecisionId(rand::random()),
        scope: Scope(canonical_net(new.net)),
        direction: new.direction,
        action: new.action,
        class: None,
        origin: Origin::Cli,
        reason: text(new.reason, "the reason")?,
        created_unix_ms: now.unix_ms,
        expires_unix_ms: end(new.duration_s, now)?,
        simulated: false,
        previous_offences: 0,
        findings: Vec::new(),
    })
}

/// Ends decisions and waits until that is on disk.
pub(super) fn delete(control: &dyn Control, which: &Which, now: Now) -> Result<Deleted, ControlError> {
    let in_force = control.enforcer().active();
    let is_meant = |decision: &Decision| match which {
        Which::Id(id) => decision.id == *id,
        Which::Net(net) => decision.scope.0 == canonical_net(*net),
        Which::All => true,
    };
    let ids: Vec<DecisionId> =
        in_force.iter().filter(|(decision, _)| is_meant(decision)).map(|(decision, _)| decision.id).collect();
    match which {
        Which::Id(id) if ids.is_empty() => return Err(ControlError::UnknownDecision(*id)),
        Which::Net(net) if ids.is_empty() => {
            let what = format!("no decision in force is about {}", Scope(*net));
            return Err(ControlError::BadRequest {
                what,
                hint: "`qantra decisions list --ip` shows what covers an address",
            });
        }
        _ => {}
    }
    let mut deleted = Deleted::default();
    let mut last = None;
    for id in ids {
        if let Some(ended) = control.end(id, now) {
            deleted.deleted += 1;
            // One wait for all of them: what is recorded before a commit is on disk with it.
            if let Some(earlier) = last.replace(Write::Ended { ended, now }) {
                control.store().record(earlier);
            }
        }
    }
    if let Some(last) = last {
        note_lost(control.store().commit(last), "it will be back after a restart", &mut deleted.warnings);
    }
    Ok(deleted)
}

/// All of a decision.
pub(super) fn explain(control: &dyn Control, id: DecisionId, now: Now) -> Result<Explanation, ControlError> {
    let stored = control.store().decision(id);
    if let (Some(decision), Some(hits)) = (control.enforcer().get(id), control.enforcer().hits(id)) {
        let mut hits = Hits::live(&hits, now);
        if let Ok(Some(stored)) = stored {
            // The store remembers drops of before a reboot.
            let first = stored.first_drop_unix_ms.into_iter().chain(hits.first_unix_ms).min();
            hits = Hits { first_unix_ms: first, last_unix_ms: hits.last_unix_ms.or(stored.last_drop_unix_ms), ..hits };
        }
        let state = state_in_force(&decision);
        return Ok(Explanation {
            decision: Decision::clone(&decision),
            state,
            hits: hits.with_rate(),
            ended_unix_ms: None,
            end_reason: None,
        });
    }
    let stored: StoredDecision = stored?.ok_or(ControlError::UnknownDecision(id))?;
    Ok(Explanation {
        state: DecisionState::Ended,
        hits: Hits::stored(&stored).with_rate(),
        ended_unix_ms: stored.ended_unix_ms.or(stored.decision.expires_unix_ms),
        end_reason: stored.end_reason,
        decision: stored.decision,
    })
}

/// The allowlist.
pub(super) fn allowlist(control: &dyn Control) -> Allowed {
    Allowed { entries: control.enforcer().allowlist(), warnings: Vec::new() }
}

/// Adds an entry, or replaces that of the same prefix.
pub(super) fn allow(control: &dyn Control, new: Allow, now: Now) -> Result<Allowed, ControlError> {
    let entry = AllowEntry {
        net: canonical_net(new.net),
        comment: text(new.comment, "the comment")?,
        created_unix_ms: now.unix_ms,
        expires_unix_ms: end(new.duration_s, now)?,
    };
    if entry.net.prefix_len() == 0 {
        let what = format!("{} would protect every address", entry.net);
        return Err(ControlError::BadRequest { what, hint: "to enforce nothing use `qantra simulation on`" });
    }
    let mut entries = control.enforcer().allowlist();
    entries.retain(|old| old.net != entry.net);
    if entries.len() >= ALLOW_MAX {
        let what = format!("the allowlist is full ({ALLOW_MAX} entries)");
        return Err(ControlError::BadRequest { what, hint: "delete some, or use a wider prefix" });
    }
    entries.push(entry.clone());
    let mut warnings = publish(control, entries, now);
    note_lost(control.store().commit(Write::Allow(entry.clone())), "it will not survive a restart", &mut warnings);
    Ok(Allowed { entries: vec![entry], warnings })
}

/// Takes an entry off.
pub(super) fn disallow(control: &dyn Control, net: IpNet, now: Now) -> Result<Deleted, ControlError> {
    let net = canonical_net(net);
    let mut entries = control.enforcer().allowlist();
    let before = entries.len();
    entries.retain(|entry| entry.net != net);
    if entries.len() == before {
        return Err(ControlError::UnknownAllow(net));
    }
    let mut warnings = publish(control, entries, now);
    note_lost(control.store().commit(Write::Disallow(net)), "it will be back after a restart", &mut warnings);
    if let Some(other) = control.enforcer().protection(&net)
        && !matches!(other.why, Why::Allowlist(_))
    {
        warnings.push(format!("it stays protected all the same: {} is {}", other.net, other.why));
    }
    Ok(Deleted { deleted: 1, warnings })
}

/// What is known of an address.
pub(super) fn check(control: &dyn Control, address: IpAddr) -> Result<CheckAnswer, ControlError> {
    let protection = control.enforcer().protection(&IpNet::from(address.to_canonical()));
    Ok(CheckAnswer { protection, decisions: list(control, false, Some(address))?.decisions })
}

fn publish(control: &dyn Control, entries: Vec<AllowEntry>, now: Now) -> Vec<String> {
    let told = control.enforcer().set_allowlist(entries, now);
    control.protection_changed(now);
    told.err().map(|error| format!("in the proxy only: {error}")).into_iter().collect()
}

pub(super) const fn state_in_force(decision: &Decision) -> DecisionState {
    if decision.simulated { DecisionState::Simulated } else { DecisionState::Active }
}

pub(super) fn note_lost(done: Result<(), StoreError>, consequence: &str, warnings: &mut Vec<String>) {
    if let Err(error) = done {
        warnings.push(format!("{error}: {consequence}"));
    }
}

fn end(duration_s: Option<u64>, now: Now) -> Result<Option<u64>, ControlError> {
    match duration_s {
        None => Ok(None),
        Some(seconds @ 1..=DURATION_S_MAX) => Ok(Some(now.unix_ms + seconds * 1_000)),
        Some(seconds) => Err(ControlError::BadRequest {
            what: format!("{seconds} s is no duration"),
            hint: "use 1s to 100 years, or `forever`",
        }),
    }
}

fn text(text: String, name: &str) -> Result<String, ControlError> {
    if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
        let what = format!("{name} is longer than {TEXT_BYTES_MAX} bytes or has control characters");
        return Err(ControlError::BadRequest { what, hint: "use one short line" });
    }
    Ok(text)
}
