//! Enters: the name of long work. Leaves: a spinner or a bar while it runs, on a terminal only, and one line when it is over.
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

/// Long work that says how much of it is done.
pub struct Bar {
    begun: Instant,
    bar: ProgressBar,
}

impl Bar {
    /// Begins with nothing done. On a terminal a bar appears; elsewhere each step is a line.
    pub fn begin(what: impl Into<String>) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        let style =
            ProgressStyle::with_template("  {spinner} [{bar:30}] {pos}/{len} {msg} {elapsed:.dim} (about {eta} left)");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(what.into());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { begun: Instant::now(), bar }
    }

    /// So much of it is done, and what was done last.
    pub fn at(&self, done: u64, total: u64, last: &str) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        if self.bar.is_hidden() {
            eprintln!("  {done}/{total} {last}");
        } else {
            self.bar.set_message(last.to_owned());
        }
    }

    /// A line that stays on the screen.
    pub fn line(&self, text: &str) {
        self.bar.suspend(|| eprintln!("  {text}"));
    }

    /// Ends it and says how long it took.
    pub fn end(self, text: &str) {
        let seconds = self.begun.elapsed().as_secs_f64();
        self.bar.finish_and_clear();
        eprintln!("  {text} ({seconds:.0} s)");
    }
}
