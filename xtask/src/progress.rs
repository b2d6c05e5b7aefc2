//! Enters: the name of long work. Leaves: a spinner while it runs, on a terminal only, and one line when it is over.
//! It must never write to standard output: that belongs to results.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// One step of long work.
pub struct Step {
    what: String,
    begun: Instant,
    bar: ProgressBar,
}

impl Step {
    /// Begins a step. On a terminal a spinner with the elapsed time appears; elsewhere nothing until its end.
    pub fn begin(what: impl Into<String>) -> Self {
        let what = what.into();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("  {spinner} {msg} {elapsed:.dim}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        bar.set_message(what.clone());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { what, begun: Instant::now(), bar }
    }

    /// Tells more about where the step is.
    pub fn note(&self, note: &str) {
        self.bar.set_message(format!("{}: {note}", self.what));
    }

    /// Seconds since the step began.
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    /// Ends the step well.
    pub fn done(self) {
        let seconds = self.seconds();
        self.bar.finish_and_clear();
        eprintln!("  ✔ {} ({seconds:.1} s)", self.what);
    }

    /// Ends the step badly.
    pub fn failed(self) {
        let seconds = self.seconds();
        self.bar.finish_and_clear();
        eprintln!("  ✘ {} ({seconds:.1} s)", self.what);
    }
}
