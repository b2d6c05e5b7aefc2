//! The screen: draws each snapshot, obeys keys, and leaves the terminal as it was.

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crossbeam_channel::{Receiver, TryRecvError, bounded};
use crossterm::{
    cursor::{Hide, MoveTo, Show},
    event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    queue,
    style::{Attribute, Print, SetAttribute},
    terminal::{
        self, BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
        LeaveAlternateScreen,
    },
};

use super::{
    super::{daemon::Daemon, error::CliError, output::clean},
    LINE_BYTES_MAX,
    page::{Page, Sort},
};
use crate::api::TopSnapshot;

/// How soon a key or a new size is seen.
const PATIENCE: Duration = Duration::from_millis(50);

/// The terminal in its other state, for as long as it lives.
struct Screen;

impl Screen {
    fn enter() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let screen = Self;
        queue!(io::stdout(), EnterAlternateScreen, Hide)?;
        io::stdout().flush()?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Whatever fails here, there is nothing left to tell it with.
        let _ = queue!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = io::stdout().flush();
        let _ = terminal::disable_raw_mode();
    }
}

/// What the person chose, and what is shown.
struct View {
    sort: Sort,
    is_paused: bool,
    shown: Option<TopSnapshot>,
}

/// What a key asks for.
enum Wish {
    Quit,
    Redraw,
    Nothing,
}

pub(super) fn run(
    daemon: &Daemon,
    path: &str,
    sort: Sort,
    count: Option<u64>,
    note: Option<&str>,
) -> Result<(), CliError> {
    let (send, snapshots) = bounded::<TopSnapshot>(1);
    let (daemon, path) = (daemon.clone(), path.to_owned());
    // Not joined when the person quits: the daemon may not speak again before a minute is over.
    let stream = std::thread::spawn(move || {
        let mut sent = 0;
        daemon.stream_lines(&path, LINE_BYTES_MAX, |snapshot| {
            let Some(snapshot) = snapshot else { return true };
            sent += 1;
            send.send(snapshot).is_ok() && count.is_none_or(|count| sent < count)
        })
    });
    if watch(&snapshots, sort, note)? {
        return Ok(());
    }
    stream.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the reader of the daemon's answer failed").into()))
}

/// Whether the person ended it; else the daemon did, or the count was reached.
fn watch(snapshots: &Receiver<TopSnapshot>, sort: Sort, note: Option<&str>) -> io::Result<bool> {
    let killed = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&killed))?;
    }
    let mut view = View { sort, is_paused: false, shown: None };
    let mut screen = None;
    loop {
        let mut is_new = match snapshots.try_recv() {
            Ok(_) if view.is_paused => false,
            Ok(snapshot) => {
                view.shown = Some(snapshot);
                true
            }
            Err(TryRecvError::Empty) => false,
            Err(TryRecvError::Disconnected) => return Ok(false),
        };
        // Not before the daemon has answered: its refusal belongs on the ordinary screen.
        if is_new && screen.is_none() {
            screen = Some(Screen::enter()?);
        }
        if screen.is_none() {
            if killed.load(Ordering::Relaxed) {
                return Ok(true);
            }
            std::thread::sleep(PATIENCE);
            continue;
        }
        if event::poll(PATIENCE)? {
            match view.event(&event::read()?) {
                Wish::Quit => return Ok(true),
                Wish::Redraw => is_new = true,
                Wish::Nothing => {}
            }
        }
        if killed.load(Ordering::Relaxed) {
            return Ok(true);
        }
        if is_new {
            view.draw(note)?;
        }
    }
}

impl View {
    fn event(&mut self, event: &Event) -> Wish {
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => self.key(*key),
            Event::Resize(..) => Wish::Redraw,
            _ => Wish::Nothing,
        }
    }

    fn key(&mut self, key: KeyEvent) -> Wish {
        match key.code {
            KeyCode::Char('q') | KeyCode::Esc => Wish::Quit,
            KeyCode::Char('c' | 'd') if key.modifiers.contains(KeyModifiers::CONTROL) => Wish::Quit,
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                Wish::Redraw
            }
            KeyCode::Char('p' | ' ') => {
                self.is_paused = !self.is_paused;
                Wish::Redraw
            }
            _ => Wish::Nothing,
        }
    }

    fn draw(&self, note: Option<&str>) -> io::Result<()> {
        let Some(snapshot) = &self.shown else { return Ok(()) };
        // Some terminals (a serial line, `script`) do not know their size.
        let (columns, rows) = terminal::size().ok().filter(|size| size.0 > 0 && size.1 > 0).unwrap_or((80, 24));
        let size = (usize::from(columns), usize::from(rows.saturating_sub(1)));
        let lines = Page::new(snapshot, self.sort).lines(Some(size));
        let mut out = io::stdout().lock();
        queue!(out, BeginSynchronizedUpdate, MoveTo(0, 0))?;
        for line in &lines {
            if line.is_heading {
                queue!(out, SetAttribute(Attribute::Reverse), Print(&line.text), SetAttribute(Attribute::Reset))?;
            } else {
                queue!(out, Print(&line.text))?;
            }
            queue!(out, Clear(ClearType::UntilNewLine), Print("\r\n"))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        let paused = if self.is_paused { "  PAUSED" } else { "" };
        let note = note.map(|note| format!("  {}", clean(note))).unwrap_or_default();
        let footer = format!("q quit  s sort: {}  p pause{paused}{note}", self.sort.as_str());
        let footer: String = footer.chars().take(size.0).collect();
        queue!(out, MoveTo(0, rows.saturating_sub(1)), SetAttribute(Attribute::Dim), Print(footer))?;
        queue!(out, SetAttribute(Attribute::Reset), EndSynchronizedUpdate)?;
        out.flush()
    }
}
