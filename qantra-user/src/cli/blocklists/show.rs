//! Feeds as people and programs read them.

use crate::{
    cli::{
        error::CliError,
        output::{Format as Printed, Output, clean, warn},
        time,
    },
    clock::Now,
    decide::Scope,
    intel::{FeedCheck, FeedList, FeedStatus, Listing, Phase, list::Complaint},
};

const HEADING: &[&str] =
    &["NAME", "ENTRIES", "REJECTED", "SURE", "SIDE", "CURRENT SINCE", "NEXT IN", "PACKETS", "REQUESTS", "SOURCE"];

pub(super) fn list(list: &FeedList, output: Output) -> Result<(), CliError> {
    warn(&list.warnings);
    if output.format == Printed::Json {
        return output.json(list);
    }
    let now_ms = Now::read().unix_ms;
    let of = |feed: &FeedStatus| if output.format == Printed::Raw { raw(feed) } else { row(feed, now_ms) };
    let rows: Vec<Vec<String>> = list.feeds.iter().map(of).collect();
    output.rows(&list.feeds, HEADING, &rows, "There are no feeds; `qantra blocklists add` adds one.")
}

fn row(feed: &FeedStatus, now_ms: u64) -> Vec<String> {
    let next = match feed.phase {
        Phase::Waiting => time::short(feed.next_unix_ms.saturating_sub(now_ms) / 1_000),
        busy => busy.as_str().into(),
    };
    let ago = |at_ms: u64| format!("{} ago", time::short(now_ms.saturating_sub(at_ms) / 1_000));
    let since = feed.current_unix_ms.map_or("never".into(), ago);
    vec![
        feed.spec.name.clone(),
        feed.report.entries.to_string(),
        feed.report.rejected.to_string(),
        feed.spec.confidence.to_string(),
        feed.spec.direction.as_str().into(),
        if feed.problem.is_some() { format!("{since} (failing)") } else { since },
        next,
        feed.hits.packets.to_string(),
        feed.hits.requests.to_string(),
        feed.spec.source.clone(),
    ]
}

pub(super) fn raw(feed: &FeedStatus) -> Vec<String> {
    vec![
        feed.spec.name.clone(),
        feed.spec.source.clone(),
        feed.read_as.unwrap_or(feed.spec.format).to_string(),
        feed.spec.direction.as_str().into(),
        feed.spec.confidence.to_string(),
        feed.spec.refresh_s.to_string(),
        feed.report.entries.to_string(),
        feed.report.rejected.to_string(),
        feed.ranges.to_string(),
        feed.current_unix_ms.map_or("-".into(), |at| at.to_string()),
        feed.next_unix_ms.to_string(),
        feed.hits.packets.to_string(),
        feed.hits.requests.to_string(),
        feed.problem.clone().unwrap_or_else(|| "-".into()),
    ]
}

/// What came of a fetch that went well.
pub(super) fn sentence(feed: &FeedStatus) -> String {
    let report = &feed.report;
    let read_as = feed.read_as.map_or(String::new(), |format| format!(" as {format}"));
    let mut text = format!(
        "{}: {} entries in {} ranges, {} lines read{read_as}",
        feed.spec.name, report.entries, feed.ranges, report.lines
    );
    let why: Vec<String> =
        report.by_reason.iter().map(|(reason, count)| format!("{count} {}", reason.as_str())).collect();
    if !why.is_empty() {
        text.push_str(&format!(", {} rejected ({})", report.rejected, why.join(", ")));
        text.push_str(&format!("; `qantra blocklists rejected {}` lists them", feed.spec.name));
    }
    text
}

/// One line that is not in force.
pub(super) fn complaint(complaint: &Complaint, is_first: bool, output: Output) -> Result<(), CliError> {
    match output.format {
        Printed::Human => output.text(&clean(&complaint.to_string())),
        Printed::Raw => {
            let Complaint { line, text, reason, why } = complaint;
            output.text(&format!("{line}\t{}\t{}\t{}", reason.as_str(), clean(text), clean(why)))
        }
        Printed::Json => {
            let json = serde_json::to_string(complaint).map_err(anyhow::Error::from)?;
            output.piece(&format!("{}\n  {json}", if is_first { "[" } else { "," }))
        }
    }
}

pub(super) fn check(check: &FeedCheck, output: Output) -> Result<(), CliError> {
    let side = |listing: &Listing| match (listing.inbound, listing.outbound) {
        (true, true) => "both",
        (false, true) => "out",
        _ => "in",
    };
    match output.format {
        Printed::Json => output.json(check),
        Printed::Raw => {
            let row = |listing: &Listing| {
                vec![
                    listing.feed.clone(),
                    listing.confidence.to_string(),
                    side(listing).into(),
                    listing.first.to_string(),
                    listing.last.to_string(),
                ]
            };
            output.rows(&check.listings, &[], &check.listings.iter().map(row).collect::<Vec<_>>(), "")
        }
        Printed::Human => {
            let mut text = sentence_of(check);
            for listing in &check.listings {
                let range = match listing.first == listing.last {
                    true => listing.first.to_string(),
                    false => format!("{}-{}", listing.first, listing.last),
                };
                let Listing { feed, confidence, .. } = listing;
                text.push_str(&format!("\n  {feed} lists {range} ({confidence} % sure, {})", side(listing)));
            }
            let hits = &check.hits;
            if let Some(last) = hits.last_unix_ms {
                let (packets, requests) = (hits.packets, hits.requests);
                text.push_str(&format!(
                    "\n  stopped: {packets} packets, {requests} requests, last {}",
                    time::moment(last)
                ));
            }
            let lines: Vec<String> = text.lines().map(clean).collect();
            output.text(&lines.join("\n"))
        }
    }
}

fn sentence_of(check: &FeedCheck) -> String {
    let address = check.address;
    let blocked = match (check.blocked_inbound, check.blocked_outbound) {
        (true, true) => "is blocked as source and as destination",
        (true, false) => "is blocked as source",
        (false, true) => "is blocked as destination",
        (false, false) if check.listings.is_empty() => "is on no list",
        (false, false) => "is listed but not blocked",
    };
    match &check.protection {
        Some(protection) => format!("{address} is protected by {}: {}", Scope(protection.net), protection.why),
        None => format!("{address} {blocked}"),
    }
}
