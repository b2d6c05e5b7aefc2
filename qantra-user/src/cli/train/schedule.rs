//! `qantra train --schedule`: the systemd timer that comes with the package, turned on with a calendar, or off.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, anyhow};
use clap::ValueEnum;

use crate::cli::{error::CliError, output::Output};

/// The timer's unit.
const TIMER: &str = "qantra-train.timer";
/// What changes its calendar.
const DROP_IN: &str = "/etc/systemd/system/qantra-train.timer.d";

/// When it trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Schedule {
    /// Every night
    Daily,
    /// Once a week, at night
    Weekly,
    /// Never
    Off,
}

impl Schedule {
    /// Turns the timer on or off.
    pub(super) fn put(self, output: &Output) -> Result<(), CliError> {
        if !Path::new("/run/systemd/system").is_dir() {
            let hint = "without systemd let cron run `nice -n 19 ionice -c 3 qantra train --now`";
            return Err(anyhow!("systemd does not run here; {hint}").into());
        }
        let calendar = match self {
            Self::Daily => Some("*-*-* 03:30:00"),
            Self::Weekly => Some("Sun *-*-* 03:30:00"),
            Self::Off => None,
        };
        let Some(calendar) = calendar else {
            systemctl(&["disable", "--now", TIMER])?;
            return output.text("trains no more by itself\n");
        };
        fs::create_dir_all(DROP_IN).context(DROP_IN)?;
        let file = Path::new(DROP_IN).join("schedule.conf");
        fs::write(&file, drop_in(calendar)).with_context(|| file.display().to_string())?;
        systemctl(&["daemon-reload"])?;
        systemctl(&["enable", "--now", TIMER])?;
        output.text(&format!("trains {calendar}, within the hour; what it makes runs as a shadow\n"))
    }
}

fn drop_in(calendar: &str) -> String {
    // An empty assignment forgets the calendars before it, systemd.timer(5).
    format!("# Written by `qantra train --schedule`.\n[Timer]\nOnCalendar=\nOnCalendar={calendar}\n")
}

fn systemctl(arguments: &[&str]) -> Result<(), CliError> {
    let done = Command::new("systemctl").args(arguments).output().context("systemctl")?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    let line = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing").to_owned();
    Err(anyhow!("systemctl {}: {line}", arguments.join(" ")).into())
}
