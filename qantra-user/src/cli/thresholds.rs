//! `qantra model thresholds`: from which confidence on a request is an attack, by site and endpoint.

use super::{
    daemon::Daemon,
    error::CliError,
    output::{Format, Output, warn},
    time,
};
use crate::api::{Learned, LearnedPlace};

/// Show from which confidence on a request is an attack, by site and endpoint, and what that rests on
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  qantra model thresholds
  qantra model thresholds --site shop
  qantra model thresholds -o json

An endpoint that was not seen enough has the threshold of its site; a site, that of the models.")]
pub(super) struct Args {
    /// Of this site alone
    #[arg(long)]
    site: Option<String>,
}

pub(super) fn run(args: &Args, daemon: &Daemon, output: &Output) -> Result<(), CliError> {
    let mut learned: Learned = daemon.get("/v1/learned")?;
    learned.places.retain(|place| args.site.as_ref().is_none_or(|site| *site == place.site));
    warn(&learned.warnings);
    let row = |place: &LearnedPlace| {
        let threshold = match place.threshold {
            Some(threshold) if threshold > 1.0 => "none is enough".into(),
            Some(threshold) => format!("{threshold:.4}"),
            None => "as shipped".into(),
        };
        let endpoint = place.endpoint.clone().unwrap_or_else(|| "(whole site)".into());
        let since = place.since_unix_ms.map_or_else(|| "-".into(), time::moment);
        vec![place.site.clone(), endpoint, place.requests.to_string(), place.sources.to_string(), since, threshold]
    };
    let rows: Vec<Vec<String>> = learned.places.iter().map(row).collect();
    let header = ["SITE", "ENDPOINT", "REQUESTS", "SOURCES", "SINCE", "ATTACK FROM"];
    output.rows(&learned, &header, &rows, "Nothing was learnt yet.")?;
    if output.format == Format::Human {
        output.text(&format!(
            "{} parameters known; a threshold rests on {} requests of {} networks\n",
            learned.known_parameters, learned.requests_min, learned.sources_min
        ))?;
    }
    Ok(())
}
