//! The effect of each key. This module is pure.

use backfill::internals::steering::Command;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// The longest rate that can be typed.
const MAX_TYPED: usize = 12;

/// The fraction of the rate by which `+` and `-` change it.
const STEP: f64 = 0.1;

/// What the screen shows. It determines what the keys do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Mode {
    /// The view.
    #[default]
    View,
    /// The help.
    Help,
    /// The operator is typing a rate.
    Rate(String),
}

/// What a key does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Action {
    /// Does nothing except that the mode can change.
    None,
    /// Ends the view.
    Quit,
    /// Suspends this process, as Ctrl-Z does in a shell.
    Suspend,
    /// Sends a command.
    Steer(Command),
    /// Tells the operator why nothing happens.
    Say(&'static str),
}

/// Returns the mode after a key press, and what the key does. `budget` is the table's budget for writes in WCU/s, or
/// the reason why the rate cannot be changed by a factor.
pub(super) fn press(mode: Mode, key: KeyEvent, budget: Result<f64, &'static str>) -> (Mode, Action) {
    if key.kind == KeyEventKind::Release {
        return (mode, Action::None);
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c' | 'C') => (mode, Action::Quit),
            KeyCode::Char('z' | 'Z') => (mode, Action::Suspend),
            _ => (mode, Action::None),
        };
    }
    match mode {
        Mode::View => press_in_view(key.code, budget),
        Mode::Help => match key.code {
            KeyCode::Char('q') => (Mode::Help, Action::Quit),
            _ => (Mode::View, Action::None),
        },
        Mode::Rate(typed) => press_in_rate(typed, key.code),
    }
}

fn press_in_view(code: KeyCode, budget: Result<f64, &'static str>) -> (Mode, Action) {
    let action = match code {
        KeyCode::Char('q') | KeyCode::Esc => Action::Quit,
        KeyCode::Char('?' | 'h') => return (Mode::Help, Action::None),
        KeyCode::Char('w') => return (Mode::Rate(String::new()), Action::None),
        KeyCode::Char('p') => Action::Steer(Command::Pause { reason: None }),
        KeyCode::Char('r') => Action::Steer(Command::Resume),
        KeyCode::Char('+' | '=') => change(budget, 1.0 + STEP),
        KeyCode::Char('-') => change(budget, 1.0 - STEP),
        _ => Action::None,
    };
    (Mode::View, action)
}

/// Changes the rate by a factor, but at least by 1 WCU/s.
fn change(budget: Result<f64, &'static str>, factor: f64) -> Action {
    let budget = match budget {
        Ok(budget) => budget,
        Err(why) => return Action::Say(why),
    };
    let changed = (budget * factor).round();
    let write = if factor > 1.0 { changed.max(budget.floor() + 1.0) } else { changed.min(budget.ceil() - 1.0) };
    if write < 1.0 {
        return Action::Say("the rate is already the lowest possible. Press p to send nothing");
    }
    Action::Steer(Command::Rate { write: Some(write), read: None })
}

fn press_in_rate(mut typed: String, code: KeyCode) -> (Mode, Action) {
    match code {
        KeyCode::Esc => (Mode::View, Action::None),
        KeyCode::Enter if typed.is_empty() => (Mode::View, Action::None),
        KeyCode::Enter => match typed.parse() {
            Ok(write) => (Mode::View, Action::Steer(Command::Rate { write: Some(write), read: None })),
            Err(_) => (Mode::Rate(typed), Action::Say("this is not a number")),
        },
        KeyCode::Backspace => {
            typed.pop();
            (Mode::Rate(typed), Action::None)
        }
        KeyCode::Char(c) if (c.is_ascii_digit() || c == '.') && typed.len() < MAX_TYPED => {
            typed.push(c);
            (Mode::Rate(typed), Action::None)
        }
        _ => (Mode::Rate(typed), Action::None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Result<f64, &str> = Err("the rate is not known");

    fn key(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    fn typed(text: &str) -> (Mode, Action) {
        let start = press(Mode::View, key(KeyCode::Char('w')), NONE);
        text.chars().fold(start, |(mode, _), c| {
            let code = if c == '\n' { KeyCode::Enter } else { KeyCode::Char(c) };
            press(mode, key(code), NONE)
        })
    }

    fn rate(write: f64) -> Action {
        Action::Steer(Command::Rate { write: Some(write), read: None })
    }

    #[test]
    fn a_typed_rate_is_set() {
        assert_eq!(typed("500\n"), (Mode::View, rate(500.0)));
        assert_eq!(typed("a5x0;0.5\n"), (Mode::View, rate(500.5)), "other characters are ignored");
        assert_eq!(typed("\n"), (Mode::View, Action::None));
        assert!(matches!(typed("1.2.3\n"), (Mode::Rate(_), Action::Say(_))));
        assert_eq!(typed("q"), (Mode::Rate(String::new()), Action::None), "q is no digit, and does not quit");
        let (mode, _) = typed("50");
        assert_eq!(press(mode.clone(), key(KeyCode::Backspace), NONE).0, Mode::Rate("5".to_owned()));
        assert_eq!(press(mode, key(KeyCode::Esc), NONE), (Mode::View, Action::None));
        let Mode::Rate(longest) = typed(&"9".repeat(100)).0 else { panic!() };
        assert_eq!(longest.len(), MAX_TYPED);
    }

    #[test]
    fn plus_and_minus_change_the_budget() {
        let pressed = |c, budget| press(Mode::View, key(KeyCode::Char(c)), budget).1;
        assert_eq!([pressed('+', Ok(500.0)), pressed('-', Ok(500.0))], [rate(550.0), rate(450.0)]);
        assert_eq!([pressed('+', Ok(1.0)), pressed('-', Ok(2.5))], [rate(2.0), rate(2.0)]);
        assert!(matches!(pressed('-', Ok(1.0)), Action::Say(_)));
        assert_eq!(pressed('+', NONE), Action::Say("the rate is not known"));
    }

    #[test]
    fn every_listed_key_does_something() {
        for (name, ..) in super::super::view::KEYS {
            let code = KeyCode::Char(name.chars().next().unwrap());
            assert_ne!(press(Mode::View, key(code), Ok(9.0)), (Mode::View, Action::None), "{name}");
        }
        let control = |c| KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL);
        for mode in [Mode::View, Mode::Help, Mode::Rate("5".to_owned())] {
            assert_eq!(press(mode.clone(), control('c'), NONE), (mode.clone(), Action::Quit));
            assert_eq!(press(mode.clone(), control('z'), NONE), (mode, Action::Suspend));
        }
        assert_eq!(press(Mode::View, key(KeyCode::Esc), NONE).1, Action::Quit);
        assert_eq!(press(Mode::Help, key(KeyCode::Esc), NONE), (Mode::View, Action::None));
    }
}
