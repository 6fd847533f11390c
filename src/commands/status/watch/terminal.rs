//! Takes over the terminal, and later restores its state.

use std::io::{Stdout, stdout};
use std::sync::Once;

use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};

use crate::commands::shared::output;

/// The terminal while the view fills it. When this value is dropped, the terminal returns to its earlier state and
/// shows the text that this process has stored for stderr.
pub(super) struct Screen {
    /// The terminal to draw on.
    pub terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes over the terminal.
    ///
    /// # Errors
    ///
    /// Fails if the terminal cannot be switched. The terminal then keeps its earlier state.
    pub(super) fn enter() -> std::io::Result<Screen> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            // A panic's message must not disappear with the alternate screen.
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                output::release_stderr();
                before(info);
            }));
        });
        output::hold_stderr();
        let entered = switch().and_then(|()| Terminal::new(CrosstermBackend::new(stdout())));
        match entered {
            Ok(terminal) => Ok(Screen { terminal }),
            Err(error) => {
                restore();
                output::release_stderr();
                Err(error)
            }
        }
    }

    /// Takes over the terminal again after a suspension.
    ///
    /// # Errors
    ///
    /// Fails if the terminal cannot be switched.
    pub(super) fn reenter(&mut self) -> std::io::Result<()> {
        switch()?;
        self.terminal.hide_cursor()?;
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
        output::release_stderr();
    }
}

fn switch() -> std::io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen)
}

/// Restores the terminal. Does not report errors, because the caller could not handle them.
pub(super) fn restore() {
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, ratatui::crossterm::cursor::Show);
}
